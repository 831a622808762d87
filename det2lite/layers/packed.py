"""Convolutions and fully connected layers of predictions on the CPU, with weights that oneDNN need not prepare again.

torch casts weights under autocast, and reorders them to the order that the processor is fastest in, in every call; of a
prediction that is a tenth. Here both happen once, for as long as the weights stay what they are.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import nn
from torch._C._functorch import is_functorch_wrapped_tensor
from torch.autograd import forward_ad
from torch.nn.modules.utils import _pair
from torch.utils._python_dispatch import _get_current_dispatch_mode

__all__ = [
    "KeepsMade",
    "convolve",
    "has_operators",
    "multiply",
    "pack_convolution",
    "pack_linear",
]

_OPERATORS = torch.ops.mkldnn
NUM_SAMPLES = 32  # elements by which a change is seen that torch does not count
_NAMES = ("_convolution_pointwise", "_linear_pointwise", "_reorder_linear_weight", "_is_mkldnn_bf16_supported")


class Kept(NamedTuple):
    """What was made of some tensors, and how these were then."""

    state: list
    tensors: list[torch.Tensor]  # as long as they are held, no other tensor comes to lie at their address
    samples: list[tuple[torch.Tensor, torch.Tensor]]  # views of some of their elements, and the values then
    made: Any


_KEPT: WeakKeyDictionary[nn.Module, Kept] = WeakKeyDictionary()  # beside the layers: copies and files go without


class KeepsMade(nn.Module):
    """A layer with `weight` and `bias` that keeps what it made of them, until they change or might have.

    It sees whatever torch counts as a change, and on the CPU whatever changes a whole tensor. Who writes single
    elements through `.data`, or from elsewhere, calls `eval()` or `train()` then.
    """

    def keep(self, sources: Sequence[torch.Tensor | None], about: Any, make: Callable[[], Any]) -> Any:
        """What `make()` returned last, if since then the sources are unchanged and `about` is equal."""
        tensors = [t.detach() for t in sources if t is not None]
        # nobody counts changes of tensors that were made in inference mode
        if _get_current_dispatch_mode() is not None or any(t.is_inference() for t in tensors):
            return make()
        # what is made in inference mode cannot serve training later
        about = (about, torch.is_inference_mode_enabled())
        state = [about, *((t.data_ptr(), t._version, t.dtype, t.device, t.shape, t.stride()) for t in tensors)]
        kept = _KEPT.get(self)
        # fused optimizers and collectives are not counted; a look at values in a GPU would wait for it
        if kept is None or kept.state != state or not all(torch.equal(*sample) for sample in kept.samples):
            views = [_some_elements(t) for t in tensors if t.device.type == "cpu"]
            kept = _KEPT[self] = Kept(state, tensors, [(view, view.clone()) for view in views], make())
        return kept.made

    def drop(self) -> None:
        """Frees what is kept."""
        _KEPT.pop(self, None)

    def precision_to_pack(self, x: torch.Tensor) -> torch.dtype | None:
        """The type to compute in with packed weights; None where torch's own operator is to be used.

        That is where gradients are wanted, off the CPU, in exports, where operators are counted, replaced or
        transformed (`torch.func`), and where a parameter is none of its own, such as one that a parametrisation makes.
        What is kept is dropped where the weight is about to be trained.
        """
        if not torch.is_grad_enabled():
            return _packed_precision(x, self.weight, self.bias)
        if self.weight.requires_grad and not torch.compiler.is_compiling():
            self.drop()
        return None

    def train(self, mode: bool = True) -> "KeepsMade":
        self.drop()
        return super().train(mode)

    def _apply(self, *args: Any, **kwargs: Any) -> "KeepsMade":
        self.drop()
        return super()._apply(*args, **kwargs)


def _some_elements(t: torch.Tensor) -> torch.Tensor:
    """A view of NUM_SAMPLES elements or up to twice as many, from all over `t`."""
    if t.dim() == 4 and t.is_contiguous(memory_format=torch.channels_last):
        t = t.movedim(1, -1)
    t = t.reshape(-1)
    return t[:: max(1, len(t) // NUM_SAMPLES)]


def _packed_precision(x: torch.Tensor, *parameters: torch.Tensor | None) -> torch.dtype | None:
    if (
        forward_ad._current_level >= 0
        or torch.jit.is_tracing()
        or torch.compiler.is_compiling()
        or _get_current_dispatch_mode() is not None
    ):
        return None
    plain = type(x) is torch.Tensor and not is_functorch_wrapped_tensor(x) and x.device.type == "cpu"
    if not plain or x.numel() == 0 or not has_operators():
        return None
    for parameter in parameters:
        own = type(parameter) is nn.Parameter and not parameter.is_inference()
        if parameter is not None and not (own and parameter.dtype == torch.float32 and parameter.device == x.device):
            return None
    if torch.is_autocast_enabled("cpu"):
        fast = torch.get_autocast_dtype("cpu") == torch.bfloat16 and x.dtype in (torch.float32, torch.bfloat16)
        return torch.bfloat16 if fast and _OPERATORS._is_mkldnn_bf16_supported() else None
    return x.dtype if x.dtype == torch.float32 else None


def has_operators() -> bool:
    """Whether torch's own operators for oneDNN are there, and faster than what torch calls by itself."""
    # MKL stands for x86: other processors have kernels of their own behind torch's operators
    mkldnn = torch.backends.mkldnn
    return torch.backends.mkl.is_available() and mkldnn.enabled and all(hasattr(_OPERATORS, name) for name in _NAMES)


def pack_convolution(
    conv: nn.Conv2d, weight: torch.Tensor, bias: torch.Tensor | None, dtype: torch.dtype, shape: Sequence[int]
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """weight, bias: in place of those of `conv`, whose other settings count. shape: of an input, (N, C, H, W)."""
    with torch.no_grad():
        opaque = weight.detach().to(dtype).to_mkldnn()
        packed = torch._C._nn.mkldnn_reorder_conv2d_weight(opaque, *_settings(conv), shape)
        return packed, None if bias is None else bias.detach().to(dtype)


def convolve(conv: nn.Conv2d, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """`conv(x)` by what `pack_convolution` returned, in channels-last order."""
    # without the ReLU that the operator offers, which makes 0 of NaN
    return _OPERATORS._convolution_pointwise(x, weight, bias, *_settings(conv), "none", [], "")


def _settings(conv: nn.Conv2d) -> tuple:
    return _pair(conv.padding), _pair(conv.stride), _pair(conv.dilation), conv.groups


def pack_linear(linear: nn.Linear, dtype: torch.dtype, rows: int) -> tuple[torch.Tensor, torch.Tensor | None]:
    """rows: of an input (rows, K)."""
    with torch.no_grad():
        weight = _OPERATORS._reorder_linear_weight(linear.weight.detach().to(dtype), rows)
        return weight, None if linear.bias is None else linear.bias.detach().to(dtype)


def multiply(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """x `(R, K)` times weight `(N, K)` transposed, packed or not, plus bias."""
    return _OPERATORS._linear_pointwise(x, weight, bias, "none", [], "")
