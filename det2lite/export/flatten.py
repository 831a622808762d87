"""Models of nested inputs and outputs as functions from tensors to tensors, which is what can be traced."""

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from torch import nn

from det2lite.layers import shapes_to_tensor
from det2lite.structures import Boxes, Instances, ROIMasks, RotatedBoxes

__all__ = ["Schema", "TracingAdapter", "flatten_to_tuple", "patch_builtin_len"]

# how an object is put together from its keys and parts, by kind
_BUILD: dict[str, Callable[[tuple[str, ...], list], Any]] = {
    "list": lambda keys, parts: parts,
    "tuple": lambda keys, parts: tuple(parts),
    "dict": lambda keys, parts: dict(zip(keys, parts, strict=True)),
    "Instances": lambda keys, parts: Instances(parts[-1], **dict(zip(keys, parts[:-1], strict=True))),
    "Boxes": lambda keys, parts: Boxes(parts[0]),
    "RotatedBoxes": lambda keys, parts: RotatedBoxes(parts[0]),
    "ROIMasks": lambda keys, parts: ROIMasks(parts[0]),
}


def _take_apart(value: Any) -> tuple[str, tuple[str, ...], list] | None:
    """Kind, keys and parts of a container or structure; None for everything else. The inverse of `_BUILD`."""
    if isinstance(value, (list, tuple)):
        return ("list" if isinstance(value, list) else "tuple"), (), list(value)
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise KeyError(f"only dicts whose keys are strings can be flattened, got {list(value)}")
        keys = tuple(sorted(value))
        return "dict", keys, [value[key] for key in keys]
    if isinstance(value, Instances):
        keys = tuple(sorted(value.get_fields()))
        size = value.image_size
        size = size if isinstance(size, torch.Tensor) else shapes_to_tensor(list(size))
        return "Instances", keys, [*(value.get(key) for key in keys), size]
    for kind in (RotatedBoxes, Boxes, ROIMasks):
        if isinstance(value, kind):
            return kind.__name__, (), [value.tensor]
    return None


@dataclass(frozen=True)
class Schema:
    """The structure of a nested object: `schema(values)` puts it together from its flattened values.

    kind: "value" for what is not taken apart. keys: of a dict or of the fields of `Instances`.
    """

    kind: str = "value"
    keys: tuple[str, ...] = ()
    parts: tuple["Schema", ...] = ()

    def __call__(self, values: Any) -> Any:
        values = list(values)
        if len(values) != self.count():
            raise ValueError(f"{len(values)} values for a structure of {self.count()}")
        return self._build(iter(values))

    def count(self) -> int:
        """Number of values."""
        return 1 if self.kind == "value" else sum(part.count() for part in self.parts)

    def names(self, name: str = "output") -> list[str]:
        """A name for each value: the key or field that it stands under, `name` where there is none."""
        if self.kind == "value":
            return [name]
        keys = [*self.keys, "image_size"] if self.kind == "Instances" else self.keys or [name] * len(self.parts)
        return [each for key, part in zip(keys, self.parts, strict=True) for each in part.names(key)]

    def _build(self, values: Iterator) -> Any:
        if self.kind == "value":
            return next(values)
        return _BUILD[self.kind](self.keys, [part._build(values) for part in self.parts])


def flatten_to_tuple(obj: Any) -> tuple[tuple, Schema]:
    """The values in nested lists, tuples, dicts and structures, and how they belong together.

    Keys and fields come in alphabetic order; the size of an image is a tensor behind its fields.
    """
    apart = _take_apart(obj)
    if apart is None:
        return (obj,), Schema()
    kind, keys, parts = apart
    flat = [flatten_to_tuple(part) for part in parts]
    return tuple(v for values, _ in flat for v in values), Schema(kind, keys, tuple(schema for _, schema in flat))


def _traced_len(value: Any) -> Any:
    """`len` that keeps the size of a tensor, which is a tensor while tracing, in the graph."""
    return value.shape[0] if isinstance(value, torch.Tensor) else value.__len__()


@contextlib.contextmanager
def patch_builtin_len(modules: tuple[ModuleType | str, ...] = ()) -> Iterator[None]:
    """While it lasts, `len` in det2lite's modeling code and structures, and in `modules`, can be traced.

    The builtin makes a number of everything, so that a trace would hold for the sizes it was made with only.
    """
    rooms = ("det2lite.modeling", "det2lite.structures", "det2lite.layers")
    patched = [module for name, module in list(sys.modules.items()) if name.startswith(rooms)]
    patched += [sys.modules[module] if isinstance(module, str) else module for module in modules]
    patched = [module for module in patched if "len" not in vars(module)]
    for module in patched:
        module.len = _traced_len
    try:
        yield
    finally:
        for module in patched:
            vars(module).pop("len", None)  # a module may be listed twice


class TracingAdapter(nn.Module):
    """A model whose inputs and outputs are nested, as a module from tensors to a tuple of tensors.

    `traced = torch.jit.trace(adapter, adapter.flattened_inputs)` traces it. `adapter.outputs_schema(traced(*tensors))`
    is then what the model would return, `adapter.inputs_schema(tensors)` what it would be called with.

    inputs: the model's arguments, or one that is no tuple. inference_func: called with the model and its arguments,
    the default calls the model. allow_non_tensor: inputs that are no tensors are kept as they are; the adapter can
    then be called with its own `flattened_inputs` only, and `inputs_schema` is None.
    """

    flattened_inputs: tuple[torch.Tensor, ...]
    inputs_schema: Schema | None
    outputs_schema: Schema | None

    def __init__(
        self, model: nn.Module, inputs: Any, inference_func: Callable | None = None, allow_non_tensor: bool = False
    ):
        super().__init__()
        self.model = model.module if isinstance(model, nn.parallel.DistributedDataParallel) else model
        self.training = self.model.training  # exporters set the mode that the adapter says it is in
        self.inputs = inputs if isinstance(inputs, tuple) else (inputs,)
        self.inference_func = inference_func
        self.allow_non_tensor = allow_non_tensor
        self.outputs_schema = None
        self.flattened_inputs, self.inputs_schema = flatten_to_tuple(self.inputs)
        others = {type(value).__name__ for value in self.flattened_inputs if not isinstance(value, torch.Tensor)}
        if not others:
            return
        if not allow_non_tensor:
            raise ValueError(f"inputs to trace are tensors in containers, got also {', '.join(sorted(others))}")
        self.inputs_schema = None
        self.flattened_inputs = tuple(value for value in self.flattened_inputs if isinstance(value, torch.Tensor))

    def forward(self, *args: torch.Tensor) -> tuple[torch.Tensor, ...]:
        with torch.no_grad(), patch_builtin_len():
            inputs = self._nested(args)
            outputs = self.inference_func(self.model, *inputs) if self.inference_func else self.model(*inputs)
            values, schema = flatten_to_tuple(outputs)
        for value in values:
            if not isinstance(value, torch.Tensor):
                raise ValueError(f"outputs to trace are tensors in containers, got also {type(value).__name__}")
        if self.outputs_schema is None:
            self.outputs_schema = schema
        elif self.outputs_schema != schema:
            raise ValueError("the model returns another structure than before: it cannot be traced")
        return values

    def _nested(self, tensors: tuple[torch.Tensor, ...]) -> tuple:
        if self.inputs_schema is not None:
            return self.inputs_schema(tensors)
        same = len(tensors) == len(self.flattened_inputs)
        if not same or any(a is not b for a, b in zip(tensors, self.flattened_inputs, strict=True)):
            raise ValueError(
                "the adapter has inputs that are no tensors: it can only be called with its `flattened_inputs`"
            )
        return self.inputs
