"""Fully connected layers as fast as the CPU's convolutions."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd.function import once_differentiable

__all__ = ["FastLinear"]

PAYS_FROM = 10**8  # multiplications; below, the call costs more than it gains


class FastLinear(nn.Linear):
    """`torch.nn.Linear` that multiplies large float32 matrices on x86 by oneDNN, twice as fast there as by MKL on AMD.

    The same numbers up to rounding. Under autocast, on other devices and in exports it is `torch.nn.Linear`.
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if not torch.jit.is_scripting():
            if _pays(input, self.weight, self.bias):
                return _Linear.apply(input, self.weight, self.bias)
        return F.linear(input, self.weight, self.bias)

    def _get_name(self) -> str:
        return "Linear"


def _pays(input: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> bool:
    if torch.jit.is_tracing() or torch.compiler.is_compiling() or torch.is_autocast_enabled("cpu"):
        return False
    plain = all(t.device.type == "cpu" and t.dtype == torch.float32 for t in (input, weight, bias) if t is not None)
    if not plain or input.dim() != 2 or input.shape[0] * weight.numel() < PAYS_FROM:
        return False
    # MKL stands for x86: other processors have kernels of their own behind torch.nn.Linear
    return torch.backends.mkl.is_available() and torch.backends.mkldnn.enabled and hasattr(_OPERATORS, _NAME)


_OPERATORS, _NAME = torch.ops.mkldnn, "_linear_pointwise"


def _product(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """x `(R, K)` times weight `(N, K)` transposed, plus bias."""
    return getattr(_OPERATORS, _NAME)(x, weight, bias, "none", [], "")


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx, input, weight, bias):
        ctx.save_for_backward(input, weight)
        return _product(input, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        input, weight = ctx.saved_tensors
        of_input, of_weight, of_bias = ctx.needs_input_grad
        return (
            _product(gradient, weight.t()) if of_input else None,
            _product(gradient.t().contiguous(), input.t().contiguous()) if of_weight else None,
            gradient.sum(0) if of_bias else None,
        )
