"""PyTorch's basic modules and functions, where detection asks for a little more."""

from collections.abc import Callable
from typing import List, Optional, Tuple  # noqa: UP035 - TorchScript reads the annotations

import torch
from torch.nn import functional as F

from det2lite.layers.batch_norm import FrozenBatchNorm2d
from det2lite.layers.packed import KeepsMade, convolve, pack_convolution
from det2lite.structures.image_list import move_device_like, shapes_to_tensor

__all__ = [
    "BatchNorm2d",
    "Conv2d",
    "ConvTranspose2d",
    "Linear",
    "cat",
    "cross_entropy",
    "empty_input_loss_func_wrapper",
    "fast_for_convolutions",
    "interpolate",
    "move_device_like",
    "nonzero_of_count",
    "nonzero_tuple",
    "shapes_to_tensor",
]

BatchNorm2d = torch.nn.BatchNorm2d
ConvTranspose2d = torch.nn.ConvTranspose2d
Linear = torch.nn.Linear
interpolate = torch.nn.functional.interpolate


def cat(tensors: List[torch.Tensor], dim: int = 0):  # noqa: UP006
    """`torch.cat` that hands on a single tensor without copying it."""
    assert isinstance(tensors, (list, tuple)), type(tensors)
    if len(tensors) == 1:
        return tensors[0]
    return torch.cat(tensors, dim)


def check_if_dynamo_compiling() -> bool:
    """Whether `torch.compile` is reading the code that asks."""
    return torch.compiler.is_compiling()


def empty_input_loss_func_wrapper(loss_func: Callable) -> Callable:
    """A mean-reduced loss that is 0, not NaN, for an empty target; the 0 depends on the input for the graph's sake."""

    def wrapped_loss_func(input, target, *, reduction="mean", **kwargs):
        if target.numel() == 0 and reduction == "mean":
            return input.sum() * 0.0
        return loss_func(input, target, reduction=reduction, **kwargs)

    return wrapped_loss_func


cross_entropy = empty_input_loss_func_wrapper(F.cross_entropy)


def _memory_format(weight: torch.Tensor) -> torch.memory_format:
    channels_last = weight.is_contiguous(memory_format=torch.channels_last) and not weight.is_contiguous()
    return torch.channels_last if channels_last else torch.contiguous_format


def fold_norm(
    weight: torch.Tensor,
    bias: Optional[torch.Tensor],  # noqa: UP045
    scale: torch.Tensor,
    shift: torch.Tensor,
) -> Tuple[torch.Tensor, torch.Tensor]:  # noqa: UP006
    """Weight and bias of a convolution whose output is multiplied by `scale (C,)` and shifted by `shift (C,)`."""
    moved = shift if bias is None else bias * scale + shift
    return (weight * scale.view(-1, 1, 1, 1)).to(weight.dtype), moved.to(weight.dtype)


class Conv2d(KeepsMade, torch.nn.Conv2d):
    """`torch.nn.Conv2d` with a normalisation and an activation behind it.

    norm: a Module, registered as `norm`; a FrozenBatchNorm2d is folded into the weights on the fly, which
        spares two passes over the feature map. activation: any callable; plain functions hold no parameters.
    folds_norm: False keeps the frozen norm apart in float32 on the CPU, where no gradient is wanted.
    """

    folds_norm = True

    def __init__(self, *args, **kwargs):
        norm = kwargs.pop("norm", None)
        activation = kwargs.pop("activation", None)
        super().__init__(*args, **kwargs)
        self.norm = norm
        self.activation = activation

    def forward(self, x):
        if not torch.jit.is_scripting():
            apart = not self.folds_norm and not torch.is_grad_enabled() and _is_float32_on_cpu(x)
            precision = self.precision_to_pack(x)
            if precision is not None and not apart and self._is_plain(x):
                return self._forward_packed(x, precision)
            if type(self.norm) is FrozenBatchNorm2d and not apart:
                x = self._conv_forward(x, *self._folded())
                return x if self.activation is None else self.activation(x)
            if self.training and x.numel() == 0:
                assert not isinstance(self.norm, torch.nn.SyncBatchNorm), "SyncBatchNorm does not support empty inputs!"
        weight, bias = self.weight, self.bias
        if torch.jit.is_scripting():
            if self.norm is not None:
                if hasattr(self.norm, "scale_and_shift"):  # how TorchScript tells a frozen norm from others
                    weight, bias = fold_norm(weight, bias, *self.norm.scale_and_shift())
        x = F.conv2d(x, weight, bias, self.stride, self.padding, self.dilation, self.groups)
        if self.norm is not None:
            if not torch.jit.is_scripting() or not hasattr(self.norm, "scale_and_shift"):
                x = self.norm(x)
        if self.activation is not None:
            x = self.activation(x)
        return x

    def _folded(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Weight and bias of convolution and norm in one; kept while no gradient is wanted and nothing changes."""
        norm, weight = self.norm, self.weight
        if torch.jit.is_tracing() or torch.compiler.is_compiling():
            # as operators on the parameters: constants would not follow to another device, or to other weights
            return fold_norm(weight, self.bias, *norm.scale_and_shift())
        if torch.is_grad_enabled() and weight.requires_grad:
            scale, shift = norm.scale_and_shift()  # (C,), (C,)
            bias = shift if self.bias is None else self.bias * scale + shift
            return weight * scale.to(weight.dtype).view(-1, 1, 1, 1), bias.to(weight.dtype)
        return self.keep((weight, self.bias, *norm.buffers()), norm.eps, self._fold)

    @torch.no_grad()
    def _fold(self) -> tuple[torch.Tensor, torch.Tensor]:
        weight, bias = fold_norm(self.weight, self.bias, *self.norm.scale_and_shift())
        return weight.contiguous(memory_format=_memory_format(self.weight)), bias

    def _is_plain(self, x: torch.Tensor) -> bool:
        """Whether this is a convolution as oneDNN knows it, of a map in the order that it is fastest in."""
        plain = type(self) is Conv2d and self.padding_mode == "zeros" and not isinstance(self.padding, str)
        return plain and x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last)

    def _forward_packed(self, x: torch.Tensor, precision: torch.dtype) -> torch.Tensor:
        folds = type(self.norm) is FrozenBatchNorm2d
        sources = (self.weight, self.bias, *(self.norm.buffers() if folds else ()))
        about = (precision, folds and self.norm.eps)

        def pack() -> tuple[torch.Tensor, torch.Tensor | None]:
            weight, bias = self._fold() if folds else (self.weight, self.bias)
            return pack_convolution(self, weight, bias, precision, x.shape)

        x = convolve(self, x.to(precision), *self.keep(sources, about, pack))
        if self.norm is not None and not folds:
            x = self.norm(x)
        return x if self.activation is None else self.activation(x)


def fast_for_convolutions(x: torch.Tensor) -> torch.Tensor:
    """`x (N, C, H, W)` with the same values, laid out in memory as convolutions of its device are fastest.

    On the CPU that is channels last, which oneDNN otherwise reorders to for every layer; what follows keeps it. On CUDA
    it is what the matrix units take in half precision.
    """
    if x.device.type == "cpu":
        return x.contiguous(memory_format=torch.channels_last)
    if not torch.jit.is_scripting():
        if x.device.type == "cuda" and torch.is_autocast_enabled("cuda"):
            return x.contiguous(memory_format=torch.channels_last)
    return x


def channels_first_in_float32(x: torch.Tensor) -> torch.Tensor:
    """`x (N, C, H, W)` laid out channels first, where it is float32 on the CPU and stays that; else `x`."""
    if not torch.jit.is_scripting():
        if _is_float32_on_cpu(x):
            return x.contiguous()
    return x


def _is_float32_on_cpu(x: torch.Tensor) -> bool:
    """Whether what is computed from x is, too."""
    return x.device.type == "cpu" and not torch.is_autocast_enabled("cpu") and x.dtype == torch.float32


def nonzero_of_count(mask: torch.Tensor, count: int) -> torch.Tensor:
    """Indices `(count,)` where `mask (R,)` holds. Who knows how many there are need not wait for the device."""
    if mask.device.type == "mps":  # has no such operator
        return torch.nonzero(mask).squeeze(1)
    return torch.nonzero_static(mask, size=count).squeeze(1)


def nonzero_tuple(x: torch.Tensor):
    """`x.nonzero(as_tuple=True)` that TorchScript takes too: one index tensor per dimension."""
    if torch.jit.is_scripting():
        if x.dim() == 0:
            return x.unsqueeze(0).nonzero().unbind(1)
        return x.nonzero().unbind(1)
    return x.nonzero(as_tuple=True)
