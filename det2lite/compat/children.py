"""Processes that `multiprocessing` starts afresh import the parent's script: they need the alias before that."""

import functools
import multiprocessing.spawn
from collections.abc import Callable

_original = multiprocessing.spawn.get_preparation_data


class CalledWhenUnpickled:
    """Pickles as a call of a function of a module."""

    def __init__(self, function: Callable[[], None]):
        self.function = function

    def __reduce__(self):
        return self.function, ()


def install_in_children(function: Callable[[], None] | None) -> None:
    """`function()` runs in each child before anything of the user's is imported there; None takes that back.

    A child unpickles what `get_preparation_data` returns as the first thing it does, so the call travels in there.
    """
    if function is None:
        multiprocessing.spawn.get_preparation_data = _original
        return

    @functools.wraps(_original)
    def get_preparation_data(name):
        return {"det2lite": CalledWhenUnpickled(function)} | _original(name)

    multiprocessing.spawn.get_preparation_data = get_preparation_data
