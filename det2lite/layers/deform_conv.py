"""Deformable convolutions, on torchvision's operator."""

import math

import torch
from torch import nn
from torch.nn.modules.utils import _pair
from torchvision.ops import deform_conv2d

__all__ = ["DeformConv", "ModulatedDeformConv", "deform_conv", "modulated_deform_conv"]

FAR = 60000.0  # cells; float16 holds it


def deform_conv(
    input, offset, weight, stride=1, padding=0, dilation=1, groups=1, deformable_groups=1, im2col_step=64
) -> torch.Tensor:
    """Deformable convolution of `input (N, C, H, W)` as a function; see `DeformConv`.

    How many groups there are the shapes of `weight` and `offset` say. im2col_step: of no use to torchvision's operator.
    """
    return _deform_conv(input, offset, weight, None, None, (stride, padding, dilation))


def modulated_deform_conv(
    input, offset, mask, weight, bias=None, stride=1, padding=0, dilation=1, groups=1, deformable_groups=1
) -> torch.Tensor:
    """`deform_conv` with weighted sampling points; see `ModulatedDeformConv`."""
    return _deform_conv(input, offset, weight, bias, mask, (stride, padding, dilation))


def _deform_conv(input, offset, weight, bias, mask, settings) -> torch.Tensor:
    """settings: stride, padding, dilation. Half precision is computed in float32 on the CPU, as by autocast on CUDA."""
    dtype = input.dtype
    if input.device.type == "cpu":
        input, offset, weight, bias, mask = map(_at_least_float32, (input, offset, weight, bias, mask))
    return deform_conv2d(input, _readable(offset), weight, bias, *map(_pair, settings), mask).to(dtype)


def _at_least_float32(tensor: torch.Tensor | None) -> torch.Tensor | None:
    return None if tensor is None else tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def _readable(offset: torch.Tensor) -> torch.Tensor:
    """Offsets with points far outside, which count as 0, in place of NaN: torchvision's operator would read there.

    A training that diverges then ends with an error about its loss, not with the process.
    """
    return offset.nan_to_num(nan=FAR, posinf=FAR, neginf=-FAR)


class _DeformConvBase(nn.Module):
    """What the two versions share: parameters, initialisation, empty input, norm and activation."""

    def __init__(self, in_channels, out_channels, kernel_size, groups, deformable_groups, bias, norm, activation):
        super().__init__()
        assert in_channels % groups == 0, f"in_channels {in_channels} cannot be divisible by groups {groups}"
        assert out_channels % groups == 0, f"out_channels {out_channels} cannot be divisible by groups {groups}"
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = _pair(kernel_size)
        self.groups = groups
        self.deformable_groups = deformable_groups
        self.with_bias = bias
        self.norm = norm
        self.activation = activation
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels // groups, *self.kernel_size))
        if bias:
            self.bias = nn.Parameter(torch.zeros(out_channels))
        else:
            self.bias = None

    def _convolve(self, x, offset, mask):
        size = [
            (length + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
            for length, padding, dilation, kernel, stride in zip(
                x.shape[-2:],
                _pair(self.padding),
                _pair(self.dilation),
                self.kernel_size,
                _pair(self.stride),
                strict=True,
            )
        ]
        if min(size) <= 0:
            raise ValueError(
                f"convolution input is too small (output would be {x.shape[0]}x{self.out_channels}x{size[0]}x{size[1]})"
            )
        if x.numel() == 0:
            # the operator takes no empty batch; the sum of the parameters keeps them in the graph
            unused = sum(parameter.view(-1)[0] * 0.0 for parameter in self.parameters())
            return x.new_zeros(x.shape[0], self.out_channels, *size) + unused + x.sum()
        x = _deform_conv(x, offset, self.weight, self.bias, mask, (self.stride, self.padding, self.dilation))
        if self.norm is not None:
            x = self.norm(x)
        if self.activation is not None:
            x = self.activation(x)
        return x

    def extra_repr(self):
        return (
            f"in_channels={self.in_channels}, out_channels={self.out_channels}, kernel_size={self.kernel_size}, "
            f"stride={self.stride}, padding={self.padding}, dilation={self.dilation}, groups={self.groups}, "
            f"deformable_groups={self.deformable_groups}, bias={self.with_bias}"
        )


class DeformConv(_DeformConvBase):
    """Convolution whose sampling points are moved by learnt offsets. arXiv 1703.06211.

    deformable_groups: parts of the input channels with offsets of their own. norm, activation: as in `Conv2d`.
    """

    def __init__(
        self,
        in_channels,
        out_channels,
        kernel_size,
        stride=1,
        padding=0,
        dilation=1,
        groups=1,
        deformable_groups=1,
        bias=False,
        norm=None,
        activation=None,
    ):
        assert not bias, "DeformConv has no bias"
        super().__init__(in_channels, out_channels, kernel_size, groups, deformable_groups, bias, norm, activation)
        self.stride = _pair(stride)
        self.padding = _pair(padding)
        self.dilation = _pair(dilation)
        nn.init.kaiming_uniform_(self.weight, nonlinearity="relu")

    def forward(self, x, offset):
        """x: (N, C, H, W). offset: (N, 2 * deformable_groups * kernel area, H', W'), y before x, in input cells."""
        return self._convolve(x, offset, None)


class ModulatedDeformConv(_DeformConvBase):
    """Deformable convolution whose sampling points are weighted too. Deformable ConvNets v2, arXiv 1811.11168."""

    def __init__(
        self,
        in_channels,
        out_channels,
        kernel_size,
        stride=1,
        padding=0,
        dilation=1,
        groups=1,
        deformable_groups=1,
        bias=True,
        norm=None,
        activation=None,
    ):
        super().__init__(in_channels, out_channels, kernel_size, groups, deformable_groups, bias, norm, activation)
        self.stride = stride
        self.padding = padding
        self.dilation = dilation
        bound = 1 / math.sqrt(in_channels * math.prod(self.kernel_size))
        nn.init.uniform_(self.weight, -bound, bound)

    def forward(self, x, offset, mask):
        """x, offset: as of DeformConv. mask: (N, deformable_groups * kernel area, H', W') weights."""
        return self._convolve(x, offset, mask)
