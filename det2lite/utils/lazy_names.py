"""Names of a package that are imported when they are first asked for."""

import importlib
import sys
from collections.abc import Callable, Iterable, Mapping


def lazy_names(
    package: str, homes: Mapping[str, Iterable[str]], submodules: Iterable[str] = ()
) -> tuple[Callable[[str], object], Callable[[], list[str]], list[str]]:
    """What a package's `__init__` assigns to `__getattr__`, `__dir__` and `__all__`.

    package: its `__name__`. homes: module -> names that the package offers from it. submodules: modules that are
    attributes of the package without an import statement.
    """
    module_of = {name: module for module, names in homes.items() for name in names}
    submodules = frozenset(submodules)

    def get(name: str) -> object:
        if name in submodules:
            return importlib.import_module(f"{package}.{name}")
        if name not in module_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(f"{package}.{module_of[name]}"), name)
        setattr(sys.modules[package], name, value)
        return value

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *module_of, *submodules})

    return get, names, list(module_of)
