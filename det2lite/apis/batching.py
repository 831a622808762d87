"""Images through a model in batches: which of them fit together, and reading ahead while the model works."""

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class Prepared:
    """An image ready for the model, or the error that kept it from being so.

    index: its place among all. image: (H, W, 3) BGR. inputs: what the model takes. group: images of the same group may
    go through the model together.
    """

    index: int
    source: Any
    image: np.ndarray | None = None
    inputs: dict[str, Any] | None = None
    group: Hashable = None
    error: Exception | None = None


class Batcher:
    """Collects images to batches of one group. At most `window` images come in while one waits."""

    def __init__(self, batch_size: int, window: int | None = None):
        self.batch_size = batch_size
        self.window = 4 * batch_size if window is None else window
        self._groups: dict[Hashable, list[Prepared]] = {}

    def add(self, image: Prepared) -> list[list[Prepared]]:
        """Batches that are complete now."""
        ready = []
        group = self._groups.setdefault(image.group, [])
        group.append(image)
        if len(group) >= self.batch_size:
            ready.append(self._groups.pop(image.group))
        while self._groups:
            oldest = min(self._groups, key=lambda name: self._groups[name][0].index)
            if image.index - self._groups[oldest][0].index < self.window:
                break
            ready.append(self._groups.pop(oldest))
        return ready

    def flush(self) -> list[list[Prepared]]:
        """Batches of what is left."""
        left = sorted(self._groups.values(), key=lambda group: group[0].index)
        self._groups = {}
        return left


def read_ahead(function: Callable, items: Iterable, *, workers: int, ahead: int) -> Iterator:
    """`function(index, item)` of each item, in order; `workers` threads are up to `ahead` items in front.

    workers: 0 for none, everything in its turn.
    """
    if workers == 0:
        yield from (function(index, item) for index, item in enumerate(items))
        return
    with ThreadPoolExecutor(workers, thread_name_prefix="det2lite-read") as pool:
        running: deque = deque()
        try:
            for index, item in enumerate(items):
                running.append(pool.submit(function, index, item))
                if len(running) > ahead:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        finally:
            for future in running:
                future.cancel()


def in_order(numbered: Iterable[tuple[int, Any]]) -> Iterator[Any]:
    """Values by their numbers 0, 1, 2, ..., each as soon as it and all before it are there."""
    waiting: dict[int, Any] = {}
    expected = 0
    for number, value in numbered:
        waiting[number] = value
        while expected in waiting:
            yield waiting.pop(expected)
            expected += 1
