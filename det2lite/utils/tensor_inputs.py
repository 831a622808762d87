"""Models of nested inputs and outputs, seen as functions from tensors to tensors: what tracers understand."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

__all__ = ["TensorInputs", "find_tensors"]


def find_tensors(value: Any) -> list[torch.Tensor]:
    """All tensors in nested lists, tuples and mappings, and in structures (`Instances`, boxes, masks), in order."""
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, (list, tuple)):
        return [tensor for item in value for tensor in find_tensors(item)]
    if isinstance(value, Mapping):
        return [tensor for item in value.values() for tensor in find_tensors(item)]
    if hasattr(value, "get_fields"):
        return find_tensors(value.get_fields())
    return find_tensors(value.tensor) if hasattr(value, "tensor") else []


def _replaced(value: Any, tensors: list[torch.Tensor]) -> Any:
    """`value` with its tensors exchanged, from the front of `tensors`; structures are kept as they are."""
    if isinstance(value, torch.Tensor):
        return tensors.pop(0)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_replaced(item, tensors) for item in value))
    if isinstance(value, (list, tuple)):
        return type(value)(_replaced(item, tensors) for item in value)
    if isinstance(value, Mapping):
        return {key: _replaced(item, tensors) for key, item in value.items()}
    return value


def _plain_tensors(value: Any) -> list[torch.Tensor]:
    """The tensors that `_replaced` exchanges: those of containers, not those inside structures."""
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, Mapping):
        value = list(value.values())
    return [t for item in value for t in _plain_tensors(item)] if isinstance(value, (list, tuple)) else []


class TensorInputs(nn.Module):
    """`model(*inputs)` as `adapter(*adapter.tensors)`, which returns the output's tensors as a tuple.

    inputs: the model's arguments, such as `(list[dict],)`. The model's parameters lie below the name `model`.
    """

    def __init__(self, model: nn.Module, inputs: tuple):
        super().__init__()
        self.model = model
        self._inputs = tuple(inputs)
        self.tensors = tuple(_plain_tensors(self._inputs))

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(find_tensors(self.model(*_replaced(self._inputs, list(tensors)))))
