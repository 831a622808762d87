"""Stand-ins for what an optional package would provide, so that a missing one is named only when it is needed."""

from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["create_dummy_class", "create_dummy_func"]


def create_dummy_class(klass: str, dependency: str, message: str = "") -> type:
    """A class called `klass` whose every use raises ImportError, since the package `dependency` is missing."""
    error = _message(klass, dependency, message)

    class _Missing(type):
        def __getattr__(cls, name: str) -> Any:
            raise ImportError(error)

    class Dummy(metaclass=_Missing):
        def __init__(self, *args: Any, **kwargs: Any):
            raise ImportError(error)

    Dummy.__name__ = Dummy.__qualname__ = klass
    return Dummy


def create_dummy_func(func: str, dependency: str | Sequence[str], message: str = "") -> Callable:
    """A function called `func` that raises ImportError, since the package or packages `dependency` are missing."""
    error = _message(func, dependency if isinstance(dependency, str) else ", ".join(dependency), message)

    def dummy(*args: Any, **kwargs: Any) -> Any:
        raise ImportError(error)

    dummy.__name__ = dummy.__qualname__ = func
    return dummy


def _message(name: str, dependency: str, message: str) -> str:
    return f"{name!r} needs {dependency}, which cannot be imported; install it. {message}".rstrip()
