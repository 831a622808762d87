"""Where a run's scalars, pictures and histograms are collected until writers read them."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from fvcore.common.history_buffer import HistoryBuffer

from det2lite.utils.errors import BadCall

__all__ = ["EventStorage", "ScalarHistory", "get_event_storage", "has_event_storage"]

_MAX_PENDING = 1000  # tensors kept on the device per scalar before they are read in one transfer


class ScalarHistory(HistoryBuffer):
    """A `HistoryBuffer` that also takes 0-d tensors on a device, and reads them when somebody asks for a number."""

    def __init__(self, max_length: int = 1000000):
        super().__init__(max_length)
        self._pending: list[tuple[torch.Tensor, float | None]] = []

    def update(self, value: float | torch.Tensor, iteration: float | None = None) -> None:
        if isinstance(value, torch.Tensor) and value.device.type != "cpu":
            # the clone keeps today's value where the caller later changes the tensor in place
            self._pending.append((value.detach().reshape(()).double().clone(), iteration))
            if len(self._pending) >= _MAX_PENDING:
                read_pending([self])
            return
        read_pending([self])
        super().update(value.item() if isinstance(value, torch.Tensor) else float(value), iteration)

    def latest(self) -> float:
        read_pending([self])
        return super().latest()

    def median(self, window_size: int) -> float:
        read_pending([self])
        return float(super().median(window_size))

    def avg(self, window_size: int) -> float:
        read_pending([self])
        return float(super().avg(window_size))

    def global_avg(self) -> float:
        read_pending([self])
        return super().global_avg()

    def values(self) -> list[tuple[float, float]]:
        read_pending([self])
        return super().values()


def read_pending(histories: Iterable[ScalarHistory]) -> None:
    """Turns the tensors that `histories` hold back into floats, with one transfer a device."""
    taken = []
    for history in histories:
        pending, history._pending = history._pending, []
        taken += [(history, value, iteration) for value, iteration in pending]
    numbers: dict[int, float] = {}
    for device in {value.device for _, value, _ in taken}:
        positions = [i for i, (_, value, _) in enumerate(taken) if value.device == device]
        numbers |= dict(zip(positions, torch.stack([taken[i][1] for i in positions]).tolist(), strict=True))
    for i, (history, _, iteration) in enumerate(taken):
        HistoryBuffer.update(history, numbers[i], iteration)


class EventStorage:
    """Collects what happens in a run, by iteration; active between `__enter__` and `__exit__`."""

    def __init__(self, start_iter: int = 0):
        self._iter = start_iter
        self._prefix = ""
        self._history: dict[str, ScalarHistory] = {}
        self._smoothing_hints: dict[str, bool] = {}
        self._vis_data: list[tuple[str, Any, int]] = []
        self._histograms: list[dict[str, Any]] = []

    def put_image(self, img_name: str, img_tensor: Any) -> None:
        """Keeps a picture for the writers. img_tensor: (3, H, W) RGB, uint8 0..255 or float 0..1, tensor or array."""
        self._vis_data.append((img_name, img_tensor, self._iter))

    def put_scalar(self, name: str, value: Any, smoothing_hint: bool = True, cur_iter: int | None = None) -> None:
        """Records a number: a float, or a tensor of one element, which is read only when somebody asks for it.

        smoothing_hint: whether the median over a window tells more than the last value. Raises ValueError where the
        same name was put with another hint.
        """
        name = self._prefix + name
        if self._smoothing_hints.get(name, smoothing_hint) != smoothing_hint:
            raise BadCall(f"scalar {name!r} was put with smoothing_hint={not smoothing_hint} before")
        history = self._history.get(name) or ScalarHistory()
        history.update(value, self._iter if cur_iter is None else cur_iter)
        self._history[name], self._smoothing_hints[name] = history, smoothing_hint

    def put_scalars(self, *, smoothing_hint: bool = True, cur_iter: int | None = None, **kwargs: Any) -> None:
        """Records several numbers: `put_scalars(loss_cls=0.1, loss_box=0.2)`."""
        for name, value in kwargs.items():
            self.put_scalar(name, value, smoothing_hint=smoothing_hint, cur_iter=cur_iter)

    def put_histogram(self, hist_name: str, hist_tensor: torch.Tensor, bins: int = 1000) -> None:
        """Keeps how the values of a tensor of any shape are spread over `bins` equal steps from minimum to maximum."""
        values = hist_tensor.detach().float().flatten().cpu()
        if not len(values):
            return
        low, high = values.min().item(), values.max().item()
        counts = torch.histc(values, bins=bins)
        edges = torch.linspace(low, high, steps=bins + 1)
        self._histograms.append(
            {
                "tag": hist_name,
                "min": low,
                "max": high,
                "num": len(values),
                "sum": float(values.sum()),
                "sum_squares": float((values**2).sum()),
                "bucket_limits": edges[1:].tolist(),
                "bucket_counts": counts.tolist(),
                "global_step": self._iter,
            }
        )

    def history(self, name: str) -> ScalarHistory:
        """All recorded values of a scalar. Raises KeyError where nothing was put under `name`."""
        if name not in self._history:
            raise KeyError(f"no scalar {name!r} was put")
        return self._history[name]

    def histories(self) -> Mapping[str, ScalarHistory]:
        """All scalars by name, in the order in which they first came."""
        read_pending(list(self._history.values()))
        return self._history

    def latest(self) -> dict[str, tuple[float, int]]:
        """The last (value, iteration) of every scalar."""
        return {name: history.values()[-1] for name, history in list(self.histories().items())}

    def latest_with_smoothing_hint(self, window_size: int = 20) -> dict[str, tuple[float, int]]:
        """As `latest`, with the median over the last `window_size` iterations where the scalar's hint asks for it."""
        smoothed = {}
        for name, (value, iteration) in self.latest().items():
            if self._smoothing_hints[name]:
                value = self._history[name].median(self.count_samples(name, window_size))
            smoothed[name] = (value, iteration)
        return smoothed

    def count_samples(self, name: str, window_size: int = 20) -> int:
        """How many values of a scalar belong to the `window_size` iterations that end with its last one."""
        values = self.history(name).values()
        first = values[-1][1] - window_size
        count = 0
        for _, iteration in reversed(values):
            if iteration <= first:
                break
            count += 1
        return count

    def smoothing_hints(self) -> dict[str, bool]:
        """Each scalar's smoothing hint."""
        return self._smoothing_hints

    def step(self) -> None:
        """Moves on to the next iteration, after everything of this one is recorded."""
        self._iter += 1

    @property
    def iter(self) -> int:
        """The current iteration, to be changed only by who runs the loop."""
        return self._iter

    @iter.setter
    def iter(self, value: int) -> None:
        self._iter = int(value)

    @property
    def iteration(self) -> int:
        """The same as `iter`."""
        return self._iter

    def __enter__(self) -> "EventStorage":
        _STACK.append(self)
        return self

    def __exit__(self, *exception: Any) -> None:
        if not _STACK or _STACK.pop() is not self:
            raise RuntimeError("event storages were left in another order than entered")

    @contextmanager
    def name_scope(self, name: str) -> Iterator[None]:
        """Within it, names of scalars get the prefix `name/`."""
        outer, self._prefix = self._prefix, name.rstrip("/") + "/"
        try:
            yield
        finally:
            self._prefix = outer

    def clear_images(self) -> None:
        """Forgets the pictures, once they are written."""
        self._vis_data = []

    def clear_histograms(self) -> None:
        """Forgets the histograms, once they are written."""
        self._histograms = []


class _InertStorage(EventStorage):
    """Drops everything, so that models run outside a trainer."""

    def put_image(self, img_name: str, img_tensor: Any) -> None:
        pass

    def put_scalar(self, name: str, value: Any, smoothing_hint: bool = True, cur_iter: int | None = None) -> None:
        pass

    def put_histogram(self, hist_name: str, hist_tensor: torch.Tensor, bins: int = 1000) -> None:
        pass

    def step(self) -> None:
        pass

    @property
    def iter(self) -> int:
        return 0

    @iter.setter
    def iter(self, value: int) -> None:
        pass


_STACK: list[EventStorage] = []
_INERT = _InertStorage()


def get_event_storage() -> EventStorage:
    """The storage that is active now; outside any, one that drops what it is given and stays at iteration 0."""
    return _STACK[-1] if _STACK else _INERT


def has_event_storage() -> bool:
    """Whether an `EventStorage` is active."""
    return bool(_STACK)
