"""Inference in mixed precision: autocast around a model, and results in float32."""

from typing import Any

import torch
from torch import nn

from det2lite.config import CfgNode
from det2lite.structures import Instances
from det2lite.utils.errors import BadValue

__all__ = ["MixedPrecisionModel", "amp_precision", "for_inference", "to_float32"]

PRECISIONS = {"float16": torch.float16, "bfloat16": torch.bfloat16}


def amp_precision(name: str, device_type: str) -> torch.dtype:
    """What SOLVER.AMP.PRECISION says; "auto" is float16 on "cuda", else bfloat16. Raises `BadValue`."""
    if name == "auto":
        name = "float16" if device_type == "cuda" else "bfloat16"
    if name not in PRECISIONS:
        raise BadValue(f"SOLVER.AMP.PRECISION is {name!r}; known values: auto, {', '.join(PRECISIONS)}")
    return PRECISIONS[name]


class MixedPrecisionModel(nn.Module):
    """A model that computes in `precision` where that is safe (autocast), and whose results are float32.

    Has no weights of its own. Elsewhere than on CUDA the precision is bfloat16.
    """

    def __init__(self, model: nn.Module, precision: torch.dtype):
        super().__init__()
        self.model = model
        self.precision = precision

    def forward(self, batched_inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The model's own inputs and outputs."""
        parameter = next(self.model.parameters(), None)
        device = "cpu" if parameter is None else parameter.device.type
        with torch.autocast(device, dtype=self.precision if device == "cuda" else torch.bfloat16):
            return to_float32(self.model(batched_inputs))


def for_inference(cfg: CfgNode, model: nn.Module) -> nn.Module:
    """The model to call for predictions: itself, or where TEST.AMP.ENABLED a `MixedPrecisionModel` around it."""
    if not cfg.TEST.AMP.ENABLED or isinstance(model, MixedPrecisionModel):
        return model
    parameter = next(model.parameters(), None)
    device = "cpu" if parameter is None else parameter.device.type
    return MixedPrecisionModel(model, amp_precision(cfg.SOLVER.AMP.PRECISION, device))


def to_float32(value: Any) -> Any:
    """`value` with every tensor of lower precision as float32, also inside of dicts, lists, tuples and `Instances`."""
    if isinstance(value, torch.Tensor):
        return value.float() if value.dtype in (torch.float16, torch.bfloat16) else value
    if isinstance(value, Instances):
        fields = value.get_fields()
        return type(value)(value.image_size, **{name: to_float32(field) for name, field in fields.items()})
    if isinstance(value, dict):
        return {name: to_float32(item) for name, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(to_float32, value))
    return value
