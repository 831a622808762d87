"""Writers that bring the scalars of a run to the log, to a JSON-lines file and to TensorBoard."""

import json
import logging
import os
import sys
import time
from typing import Any

import torch

from det2lite.utils.durations import format_duration
from det2lite.utils.events_storage import EventStorage, ScalarHistory, get_event_storage, has_event_storage
from det2lite.utils.file_io import PathManager

__all__ = [
    "CommonMetricPrinter",
    "EventStorage",
    "EventWriter",
    "JSONWriter",
    "ScalarHistory",
    "TensorboardXWriter",
    "get_event_storage",
    "has_event_storage",
]

logger = logging.getLogger(__name__)


class EventWriter:
    """Reads the active `EventStorage` when `write` is called, and brings it somewhere."""

    def write(self) -> None:
        raise NotImplementedError

    def close(self) -> None:
        """Ends what is still open."""


class JSONWriter(EventWriter):
    """One JSON object a line for each iteration that has new scalars, with `iteration` and the scalars by name."""

    def __init__(self, json_file: str, window_size: int = 20):
        """json_file: appended to. window_size: iterations whose median a smoothed scalar shows."""
        _cut_unfinished_line(json_file)
        self._file = PathManager.open(json_file, "a")
        self._window_size = window_size
        self._last_write = -1

    def write(self) -> None:
        lines: dict[int, dict[str, float]] = {}
        for name, (value, iteration) in get_event_storage().latest_with_smoothing_hint(self._window_size).items():
            if iteration > self._last_write:
                lines.setdefault(iteration, {"iteration": iteration})[name] = value
        if not lines:
            return
        self._last_write = max(lines)
        for iteration in sorted(lines):
            self._file.write(json.dumps(lines[iteration], sort_keys=True) + "\n")
        self._file.flush()
        try:
            os.fsync(self._file.fileno())
        except (AttributeError, OSError):  # not a file on a disk
            pass

    def close(self) -> None:
        self._file.close()


def _cut_unfinished_line(path: str) -> None:
    """Removes what a killed run left of its last line, so that every line stays valid JSON."""
    if not os.path.isfile(path):
        return
    with open(path, "rb+") as file:
        size = file.seek(0, os.SEEK_END)
        start = max(0, size - 2**20)  # a line is far shorter
        file.seek(start)
        tail = file.read()
        if tail and not tail.endswith(b"\n"):
            file.truncate(start + tail.rfind(b"\n") + 1)


class TensorboardXWriter(EventWriter):
    """Scalars, pictures and histograms as TensorBoard event files in `log_dir`."""

    def __init__(self, log_dir: str, window_size: int = 20, **kwargs: Any):
        """kwargs: further arguments of `torch.utils.tensorboard.SummaryWriter`."""
        from torch.utils.tensorboard import SummaryWriter

        self._window_size = window_size
        self._writer = SummaryWriter(log_dir, **kwargs)
        self._last_write = -1

    def write(self) -> None:
        storage = get_event_storage()
        newest = self._last_write
        for name, (value, iteration) in storage.latest_with_smoothing_hint(self._window_size).items():
            if iteration > self._last_write:
                self._writer.add_scalar(name, value, iteration)
                newest = max(newest, iteration)
        self._last_write = newest
        for name, picture, iteration in storage._vis_data:
            self._writer.add_image(name, picture, iteration)
        storage.clear_images()
        for histogram in storage._histograms:
            self._writer.add_histogram_raw(**histogram)
        storage.clear_histograms()

    def close(self) -> None:
        self._writer.close()


class CommonMetricPrinter(EventWriter):
    """Logs the progress of training as one line: time left, iteration, losses, seconds an iteration, LR, memory."""

    def __init__(self, max_iter: int | None = None, window_size: int = 20):
        """max_iter: where training ends; without it no `eta` is shown. window_size: iterations of a loss' median."""
        self.logger = logger
        self._max_iter = max_iter
        self._window_size = window_size
        self._started = time.perf_counter()
        self._last_seen: tuple[int, float] | None = None  # (iteration, clock) of the last estimate without a timer

    def write(self) -> None:
        storage = get_event_storage()
        if self._max_iter is not None and storage.iter == self._max_iter:
            return  # training is over: nothing that this line reports has changed since
        fields = [f"eta: {eta}" for eta in [self._eta(storage)] if eta]
        fields.append(f"iter: {storage.iter}")
        for mark in ("loss", "[metric]"):
            names = [name for name in storage.histories() if mark in name and (mark == "loss" or "loss" not in name)]
            fields += [f"{name}: {self._median(storage, name):.4g}" for name in names]
        fields += self._times(storage)
        rate = _history(storage, "lr")
        fields.append(f"lr: {rate.latest():.5g}" if rate else "lr: N/A")
        fields.append(f"max_mem: {_peak_memory() / 2**20:.0f}M")
        fields.append(f"elapsed: {format_duration(time.perf_counter() - self._started)}")
        self.logger.info("  ".join(fields))

    def _median(self, storage: EventStorage, name: str) -> float:
        return storage.history(name).median(storage.count_samples(name, self._window_size))

    def _times(self, storage: EventStorage) -> list[str]:
        fields = []
        step, data = _history(storage, "time"), _history(storage, "data_time")
        if step:
            fields += [f"time: {step.global_avg():.4f}", f"last_time: {step.latest():.4f}"]
        if data:
            mean = data.avg(storage.count_samples("data_time", self._window_size))
            fields += [f"data_time: {mean:.4f}", f"last_data_time: {data.latest():.4f}"]
        return fields

    def _eta(self, storage: EventStorage) -> str:
        if self._max_iter is None:
            return ""
        left = self._max_iter - storage.iter - 1
        timer = _history(storage, "time")
        if timer:
            seconds = timer.median(1000) * left
            storage.put_scalar("eta_seconds", seconds, smoothing_hint=False)
            return format_duration(seconds)
        now, seen = time.perf_counter(), self._last_seen
        self._last_seen = (storage.iter, now)
        if seen is None or seen[0] >= storage.iter:
            return ""
        return format_duration((now - seen[1]) / (storage.iter - seen[0]) * left)


def _history(storage: EventStorage, name: str) -> ScalarHistory | None:
    return storage.histories().get(name)  # the timer's scalars are missing in the first iterations


def _peak_memory() -> int:
    """Bytes: the most that was allocated on the GPU, without one the most that the process held of the RAM."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    try:
        import resource
    except ImportError:  # Windows
        import psutil

        return psutil.Process().memory_info().rss
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # kilobytes everywhere else
