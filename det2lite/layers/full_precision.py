"""Last layers of a head, which compute in float32 under autocast too.

Their outputs are scores and offsets. Rounded to the 8 bits of bfloat16 they cost accuracy: a logit of 5 then has steps
of 0.03, and so has its gradient. The layers are small, so that full precision costs little in training. In inference,
which needs no more than the order and the sign of the values of a map, maps are left to autocast.
"""

import torch
import torch.nn.functional as F
from torch import nn

__all__ = ["FullPrecisionConv2d", "FullPrecisionLinear", "in_full_precision"]


def in_full_precision(x: torch.Tensor) -> torch.Tensor:
    """`x` as `FullPrecisionConv2d` takes it; several of them on one map then share what their gradients need."""
    if not torch.jit.is_scripting():
        if torch.is_grad_enabled() and _in_autocast(x):
            return x.float()
    return x


def _in_autocast(x: torch.Tensor) -> bool:
    return x.device.type != "meta" and torch.is_autocast_enabled(x.device.type)


class FullPrecisionLinear(nn.Linear):
    """`torch.nn.Linear` that autocast leaves in the precision of its weights."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if not torch.jit.is_scripting():
            if _in_autocast(input):
                with torch.autocast(input.device.type, enabled=False):
                    return F.linear(input.to(self.weight.dtype), self.weight, self.bias)
        return F.linear(input, self.weight, self.bias)

    def _get_name(self) -> str:
        return "Linear"


class FullPrecisionConv2d(nn.Conv2d):
    """`torch.nn.Conv2d` that autocast leaves in the precision of its weights where gradients are wanted."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if not torch.jit.is_scripting():
            if torch.is_grad_enabled() and _in_autocast(input):
                with torch.autocast(input.device.type, enabled=False):
                    return self._conv_forward(input.to(self.weight.dtype), self.weight, self.bias)
        return self._conv_forward(input, self.weight, self.bias)

    def _get_name(self) -> str:
        return "Conv2d"
