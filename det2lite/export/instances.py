"""`Instances` for TorchScript, which wants to know the type of every field before it compiles anything."""

import contextlib
import itertools
import linecache
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import torch
from torch.jit import _recursive, _state

from det2lite import structures
from det2lite.structures import Instances

__all__ = ["is_scripted", "patch_instances", "to_instances"]

_numbers = itertools.count()

_HEAD = """from typing import *
import torch
from torch import Tensor
from det2lite.structures import *

class {cls}:
    def __init__(self, image_size: Tuple[int, int]{arguments}):
        self.image_size = image_size
        self.field_names = {names}
{stores}

    def __len__(self) -> int:
{lengths}
        raise NotImplementedError("Empty Instances does not support __len__!")

    def has(self, name: str) -> bool:
{has}
        return False

    def to(self, device: torch.device) -> "{cls}":
        moved = {cls}(self.image_size{values})
{moves}
        return moved

    def __getitem__(self, item) -> "{cls}":
        chosen = {cls}(self.image_size{values})
{choices}
        return chosen

    def get_fields(self) -> Dict[str, Any]:
        fields: Dict[str, Any] = {{}}
{entries}
        return fields

    def cat(self, instance_lists: List["{cls}"]) -> "{cls}":  # TorchScript finds no static methods of objects
        assert len(instance_lists) > 0, "no Instances to put together"
        first = instance_lists[0]
        joined = {cls}(first.image_size{values})
{joins}
        return joined
"""
_COMPILE = """
def compile():
    torch.jit.script({cls})  # finds the types by the names of this module
"""
_PROPERTY = """
    @property
    def {name}(self) -> {type}:
        value = self._{name}
        assert value is not None, "Cannot find field '{name}' in the given Instances!"
        return value

    @{name}.setter
    def {name}(self, value: {type}) -> None:
        self._{name} = value
"""
_PER_FIELD = {
    "values": ", None",  # a class does not know its own defaults while it is compiled
    "arguments": ", {name}: Optional[{type}] = None",
    "stores": "        self._{name}: Optional[{type}] = {name}\n",
    "lengths": "        _{name} = self._{name}\n        if _{name} is not None:\n            return len(_{name})\n",
    "has": "        if name == '{name}':\n            return self._{name} is not None\n",
    "moves": "        _{name} = self._{name}\n"
    "        if _{name} is not None:\n            moved._{name} = _{name}.to(device)\n",
    "entries": "        _{name} = self._{name}\n"
    "        if _{name} is not None:\n            fields['{name}'] = _{name}\n",
    "joins": "        _{name} = first._{name}\n"
    "        if _{name} is not None:\n"
    "            joined._{name} = {cat}([one.{name} for one in instance_lists])\n",
    "choices": "        _{name} = self._{name}\n"
    "        if _{name} is not None:\n            chosen._{name} = _{name}[item]\n",
}


def _source(cls: str, fields: dict[str, str]) -> str:
    cats = {name: "torch.cat" if kind in ("Tensor", "torch.Tensor") else f"{kind}.cat" for name, kind in fields.items()}
    parts = {
        part: "".join(template.format(name=name, type=kind, cat=cats[name]) for name, kind in fields.items())
        for part, template in _PER_FIELD.items()
    }
    head = _HEAD.format(cls=cls, names=list(fields), **parts)
    properties = (_PROPERTY.format(name=name, type=type_name) for name, type_name in fields.items())
    return head + "".join(properties) + _COMPILE.format(cls=cls)


def _typed_class(fields: dict[str, Any]) -> tuple[type, Callable[[], None]]:
    """A class with these fields, whose source TorchScript finds as if it stood in a file, and what compiles it."""
    if not fields:
        raise ValueError("no fields: TorchScript needs the name and type of each, such as {'pred_boxes': Boxes}")
    for name in fields:
        if not name.isidentifier() or name.startswith("_"):
            raise ValueError(f"{name!r} is not the name of a field of Instances")
    cls = f"ScriptedInstances{next(_numbers)}"
    module = ModuleType(f"det2lite_{cls}")
    module.__file__ = f"<{module.__name__}>"
    types = {name: kind if isinstance(kind, str) else kind.__name__ for name, kind in fields.items()}
    source = _source(cls, types)
    linecache.cache[module.__file__] = (len(source), None, source.splitlines(keepends=True), module.__file__)
    sys.modules[module.__name__] = module
    module.__dict__.update({kind.__name__: kind for kind in fields.values() if not isinstance(kind, str)})
    exec(compile(source, module.__file__, "exec"), module.__dict__)
    return getattr(module, cls), module.compile


def _forget_compiled() -> None:
    """Functions and modules that were compiled with other `Instances` are not to be reused."""
    _recursive.concrete_type_store.type_store.clear()
    _recursive.concrete_type_store.methods_compiled.clear()
    _state._jit_caching_layer.clear()


@contextlib.contextmanager
def patch_instances(fields: dict[str, Any]) -> Iterator[type]:
    """While it lasts, `torch.jit.script` knows `Instances` as a class with these fields and their types.

    fields: such as `{"pred_boxes": Boxes, "scores": torch.Tensor}`, also those that appear in between only. Yields the
    class, whose objects scripted functions take and return; `from_instances` makes one of an `Instances`.
    """
    typed, compile_typed = _typed_class(fields)
    typed.from_instances = staticmethod(lambda instances: typed(tuple(instances.image_size), **instances.get_fields()))
    _forget_compiled()
    try:
        compile_typed()
        Instances._jit_override_qualname = torch._jit_internal._qualified_name(typed)
        yield typed
    finally:
        if "_jit_override_qualname" in vars(Instances):
            del Instances._jit_override_qualname
        _forget_compiled()


def is_scripted(value: Any) -> bool:
    """Whether this is what stands for `Instances` in TorchScript, not an `Instances`."""
    return not isinstance(value, Instances) and hasattr(value, "field_names")


def to_instances(scripted: Any) -> Instances:
    """What a scripted model returned as an `Instances`."""
    names = [name for name in scripted.field_names if getattr(scripted, f"_{name}") is not None]
    return Instances(tuple(scripted.image_size), **{name: _value(getattr(scripted, f"_{name}")) for name in names})


def _value(value: Any) -> Any:
    """A field; a structure of a loaded model has the data of ours, but another type."""
    kind = type(value)
    if kind is torch.ScriptObject or kind.__name__ == "RecursiveScriptClass":
        name = value._type().name() if kind is torch.ScriptObject else value._c._type().name()
        return getattr(structures, name)(value.tensor)
    return value
