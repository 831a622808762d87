"""A GPU that is pretended: tensors that say they are on `cuda:0` and are computed by the CPU.

`with pretended_gpu():` lets the branches for GPUs run where there is none, and an operation on tensors of two devices
raises as it would there. What it cannot show: kernels, streams, speed, and autocast's rules for `cuda`.
"""

import contextlib

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter, tree_map_only

GPU = torch.device("cuda", 0)
BY_CPU_INDEX = ("index", "index_put", "index_put_", "_index_put_impl_")  # indices of the CPU are copied to the GPU
BETWEEN_DEVICES = ("copy_", "_foreach_copy_")


class OnGpu(torch.Tensor):
    """Wraps a tensor of the CPU. For PyTorch's own C++ code it is one of the CPU, for Python it is on the GPU."""

    device = property(lambda self: GPU)
    is_cuda = property(lambda self: True)
    is_cpu = property(lambda self: False)

    @staticmethod
    def __new__(cls, inner):
        layout = {"strides": inner.stride(), "storage_offset": inner.storage_offset()}
        self = torch.Tensor._make_wrapper_subclass(cls, inner.size(), dtype=inner.dtype, device="cpu", **layout)
        self.inner = inner
        return self

    def __repr__(self, **_):
        return f"OnGpu({self.inner})"

    def __reduce_ex__(self, protocol):
        return self.inner.__reduce_ex__(protocol)

    def numpy(self, *_, **__):
        raise TypeError("can't convert cuda:0 device type tensor to numpy; copy it to the CPU first")

    __array__ = numpy

    def get_device(self):
        return 0

    def tolist(self):
        return self.inner.tolist()

    def cpu(self, *_, **__):
        return Move.apply(self, False)

    def new_tensor(self, data, dtype=None, device=GPU, **_):
        return torch.tensor(data, dtype=dtype or self.dtype, device=device)

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if func in (torch.Tensor.to, torch.Tensor.type_as):
            return _to(*args, **(kwargs or {}))
        return super().__torch_function__(func, types, args, kwargs or {})

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})


class Move(torch.autograd.Function):
    """A copy on the other device; its gradient comes back."""

    @staticmethod
    def forward(ctx, x, to_gpu):
        ctx.to_gpu = to_gpu
        return OnGpu(x.clone()) if to_gpu else x.inner.clone()

    @staticmethod
    def backward(ctx, gradient):
        return (gradient.inner if ctx.to_gpu else OnGpu(gradient)), None


def _to(x, *args, device=None, dtype=None, copy=False, memory_format=torch.preserve_format, **_):
    """`Tensor.to` in all its forms, where the tensor or the one to follow is on the GPU."""
    for arg in args:
        if isinstance(arg, torch.Tensor):
            device, dtype = arg.device, arg.dtype
        elif isinstance(arg, torch.dtype):
            dtype = arg
        elif isinstance(arg, str | torch.device):
            device = arg
    on_gpu = isinstance(x, OnGpu)
    to_gpu = on_gpu if device is None else torch.device(device).type == "cuda"
    moved = x if on_gpu == to_gpu else Move.apply(x, to_gpu)
    kwargs = {"dtype": x.dtype if dtype is None else dtype, "copy": copy, "memory_format": memory_format}
    with torch._C.DisableTorchFunctionSubclass():
        return torch.Tensor.to(moved, **kwargs)


def _inside_own_backward():
    """None outside of a backward pass; whether the running node is a Python function."""
    node = torch._C._current_autograd_node()
    return None if node is None else isinstance(node, torch.autograd.function.BackwardCFunction)


def _check(func, args, tensors):
    """Raises RuntimeError for an operation that a GPU refuses. A number (no dimensions) of the CPU may join."""
    name = func.overloadpacket.__name__
    strangers = [x for x in tensors if not isinstance(x, OnGpu) and x.dim() > 0]
    if name in BY_CPU_INDEX and isinstance(args[0], OnGpu):
        values = args[2] if len(args) > 2 else args[0]
        strangers = [] if isinstance(values, OnGpu) or values.dim() == 0 else [values]
    if strangers and name not in BETWEEN_DEVICES:
        shapes = [(tuple(x.shape), x.device.type) for x in tensors]
        raise RuntimeError(f"{func}: tensors on two devices: {shapes}")


def _run(func, args, kwargs):
    tensors = [x for x in tree_iter((args, kwargs)) if isinstance(x, torch.Tensor)]
    on_gpu = any(isinstance(x, OnGpu) for x in tensors)
    if _inside_own_backward() is not False:  # C++ nodes make their tensors where they believe the inputs to be
        if on_gpu:
            _check(func, args, tensors)
        if func.overloadpacket.__name__ in BETWEEN_DEVICES:
            on_gpu = isinstance(tensors[0], OnGpu)
        elif kwargs.get("device") is not None:
            on_gpu = kwargs["device"].type == "cuda"
    if kwargs.get("device") is not None:
        kwargs = {**kwargs, "device": torch.device("cpu"), "pin_memory": False}
    args, kwargs = tree_map_only(OnGpu, lambda x: x.inner, (args, kwargs))
    results = func(*args, **kwargs)
    if not on_gpu:
        return results
    known = {id(x.inner): x for x in tensors if isinstance(x, OnGpu)}  # what changed in place is itself
    return tree_map_only(torch.Tensor, lambda x: known[id(x)] if id(x) in known else OnGpu(x), results)


class _Mode(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})


@contextlib.contextmanager
def pretended_gpu(monkeypatch):
    """Tensors asked for on `cuda` are pretended ones within."""
    with monkeypatch.context() as patch:
        patch.setattr(torch.cuda, "_lazy_init", lambda: None)
        patch.setattr(torch.cuda, "device_count", lambda: 1)
        patch.setattr(torch.cuda, "current_stream", lambda device=None: contextlib.nullcontext())
        overwrites = torch.__future__.get_overwrite_module_params_on_conversion()
        torch._C._ensureCUDADeviceGuardSet()
        torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor(..., device="cuda") reaches the mode
        torch.__future__.set_overwrite_module_params_on_conversion(True)
        try:
            with _Mode():
                yield
        finally:
            torch.__future__.set_overwrite_module_params_on_conversion(overwrites)
            torch._C._set_only_lift_cpu_tensors(False)
