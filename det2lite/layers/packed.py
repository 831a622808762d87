"""Convolutions and fully connected layers of predictions on the CPU, with weights that oneDNN need not prepare again.

torch casts weights under autocast, and reorders them to the order that the processor is fastest in, in every call; of a
prediction that is a tenth. Here both happen once, for as long as the weights stay what they are.
"""

import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch._C._functorch import is_functorch_wrapped_tensor
from torch.autograd import forward_ad
from torch.utils._python_dispatch import _get_current_dispatch_mode

__all__ = [
    "Kept",
    "convolve",
    "has_operators",
    "multiply",
    "pack_convolution",
    "pack_linear",
    "packed_precision",
]

_OPERATORS = torch.ops.mkldnn
_NAMES = ("_convolution_pointwise", "_linear_pointwise", "_reorder_linear_weight", "_is_mkldnn_bf16_supported")


class Kept:
    """What was made from some tensors, until one of these changes. Copies and files of it begin empty."""

    def __init__(self) -> None:
        self._kept: tuple | None = None

    def get(self, sources: Sequence[torch.Tensor | None], about: Any, make: Callable[[], Any]) -> Any:
        """What `make()` returned last, if since then the sources are the same, unchanged, and `about` is equal."""
        tensors = [t for t in sources if t is not None]
        if any(t.is_inference() for t in tensors):  # nobody counts their changes
            return make()
        # by themselves, since another tensor may come to lie at the address of one that is gone
        state = [(t.data_ptr(), t._version, t.dtype, t.device) for t in tensors]
        kept = self._kept
        same = kept is not None and kept[1:3] == (state, about) and all(map(operator.is_, kept[0], tensors))
        if not same:
            kept = self._kept = tensors, state, about, make()
        return kept[3]

    def drop(self) -> None:
        """Frees it; for when the sources may have been written to behind torch's back (`.data`)."""
        self._kept = None

    def __deepcopy__(self, memo: dict) -> "Kept":
        return Kept()

    def __reduce__(self) -> tuple:
        return Kept, ()


def packed_precision(x: torch.Tensor, *parameters: torch.Tensor | None) -> torch.dtype | None:
    """The type that a layer computes in with packed weights; None where torch's own operator is to be used.

    That is where gradients are wanted, off the CPU, in exports, where operators are counted, replaced or transformed
    (`torch.func`), and where a parameter is none of its own, such as one that a parametrisation makes.
    """
    if torch.is_grad_enabled() or forward_ad._current_level >= 0:
        return None
    if torch.jit.is_tracing() or torch.compiler.is_compiling() or _get_current_dispatch_mode() is not None:
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
    settings = conv.padding, conv.stride, conv.dilation, conv.groups
    with torch.no_grad():
        packed = torch._C._nn.mkldnn_reorder_conv2d_weight(weight.detach().to(dtype).to_mkldnn(), *settings, shape)
        return packed, None if bias is None else bias.detach().to(dtype)


def convolve(conv: nn.Conv2d, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """`conv(x)` by what `pack_convolution` returned, in channels-last order."""
    settings = conv.padding, conv.stride, conv.dilation, conv.groups
    # without the ReLU that the operator offers, which makes 0 of NaN
    return _OPERATORS._convolution_pointwise(x, weight, bias, *settings, "none", [], "")


def pack_linear(linear: nn.Linear, dtype: torch.dtype, rows: int) -> tuple[torch.Tensor, torch.Tensor | None]:
    """rows: of an input (rows, K)."""
    with torch.no_grad():
        weight = _OPERATORS._reorder_linear_weight(linear.weight.detach().to(dtype), rows)
        return weight, None if linear.bias is None else linear.bias.detach().to(dtype)


def multiply(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """x `(R, K)` times weight `(N, K)` transposed, packed or not, plus bias."""
    return _OPERATORS._linear_pointwise(x, weight, bias, "none", [], "")
