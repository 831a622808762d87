"""Sending callables to other processes, lambdas and local functions too."""

import builtins
import importlib
import io
import marshal
import pickle
import sys
import types
from typing import Any

__all__ = ["PicklableWrapper"]


class PicklableWrapper:
    """Acts as the callable it wraps, and pickles where that one would not: lambdas, local functions, partials of them.

    Only for processes of the same run: the pickle holds byte code of this Python version.
    """

    def __init__(self, obj: Any):
        while isinstance(obj, PicklableWrapper):  # once is enough
            obj = obj._obj
        self._obj = obj

    def __reduce__(self) -> tuple:
        buffer = io.BytesIO()
        _Pickler(buffer, pickle.HIGHEST_PROTOCOL).dump(self._obj)
        return _unwrap, (buffer.getvalue(),)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._obj(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name == "_obj":  # not there yet while a copy is being made
            raise AttributeError(name)
        return getattr(self._obj, name)


def _unwrap(data: bytes) -> PicklableWrapper:
    return PicklableWrapper(pickle.loads(data))


class _Pickler(pickle.Pickler):
    """Functions that cannot be found by their name are written by value."""

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, types.ModuleType):
            return importlib.import_module, (value.__name__,)
        if not isinstance(value, types.FunctionType) or _is_importable(value):
            return NotImplemented
        cells = value.__closure__ or ()
        contents = tuple(_cell_content(cell) for cell in cells)
        state = {
            "globals": _used_globals(value),
            "cells": contents,
            "defaults": value.__defaults__,
            "kwdefaults": value.__kwdefaults__,
            "dict": value.__dict__,
        }
        # made first and filled later, because a function may refer to itself
        arguments = (marshal.dumps(value.__code__), value.__module__, value.__name__, len(cells))
        return _make_function, arguments, state, None, None, _fill_function


class _Empty:
    """Stands for a closure cell that holds nothing yet."""


def _cell_content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return _Empty


def _is_importable(function: types.FunctionType) -> bool:
    found: Any = sys.modules.get(function.__module__)
    if found is None or function.__module__ == "__main__":
        return False
    for part in function.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is function


def _used_globals(function: types.FunctionType) -> dict[str, Any]:
    """What the code and the functions inside it call by a global name, where the receiver cannot import the module."""
    if function.__module__ != "__main__" and function.__module__ in sys.modules:
        return {}
    names, codes = set(), [function.__code__]
    while codes:
        code = codes.pop()
        names.update(code.co_names)
        codes += [constant for constant in code.co_consts if isinstance(constant, types.CodeType)]
    return {name: function.__globals__[name] for name in names if name in function.__globals__}


def _make_function(code: bytes, module: str, name: str, num_cells: int) -> types.FunctionType:
    if module == "__main__" or module is None:
        namespace: dict[str, Any] = {"__builtins__": builtins, "__name__": module}
    else:
        try:
            namespace = importlib.import_module(module).__dict__
        except ImportError:
            namespace = {"__builtins__": builtins, "__name__": module}
    closure = tuple(types.CellType() for _ in range(num_cells))
    return types.FunctionType(marshal.loads(code), namespace, name, None, closure)


def _fill_function(function: types.FunctionType, state: dict[str, Any]) -> None:
    function.__globals__.update(state["globals"])
    for cell, content in zip(function.__closure__ or (), state["cells"], strict=True):
        if content is not _Empty:
            cell.cell_contents = content
    function.__defaults__ = state["defaults"]
    function.__kwdefaults__ = state["kwdefaults"]
    function.__dict__.update(state["dict"])
