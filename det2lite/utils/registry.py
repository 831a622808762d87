"""Registries: a name in a config finds the class or function that it means."""

import pydoc
from collections.abc import Iterator
from typing import Any

import fvcore.common.registry

from det2lite.utils.errors import UnknownName, close_names

__all__ = ["Registry", "locate"]


class Registry(fvcore.common.registry.Registry):
    """Maps names to objects; an unknown name is answered with the closest registered ones.

    `@REGISTRY.register()` on a class or function files it under its own name.
    """

    def get(self, name: str) -> Any:
        """The object registered as `name`. Raises `UnknownName` (a KeyError)."""
        if name not in self:
            known = sorted(key for key, _ in self)
            hint = close_names(name, known) or f"; known names: {', '.join(known) or 'none'}"
            raise UnknownName(f"no {name!r} in registry {self._name}{hint}")
        return self._obj_map[name]

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        return iter(self._obj_map.items())


def _convert_target_to_string(target: Any) -> str:
    """The shortest dotted path at which `locate` finds a class or function: packages often hand on what is below."""
    parts = target.__module__.split(".")
    for count in range(1, len(parts)):
        short = ".".join([*parts[:count], target.__qualname__])
        if pydoc.locate(short) is target:
            return short
    return f"{target.__module__}.{target.__qualname__}"


class UnknownPath(UnknownName, ImportError):
    """A dotted path that leads to nothing."""


def locate(name: str) -> Any:
    """The object at a dotted path such as `"package.module.Class"`. Raises `UnknownPath` (an ImportError)."""
    found = pydoc.locate(name)
    if found is None:
        raise UnknownPath(f"cannot find {name!r}: no such module or attribute")
    return found
