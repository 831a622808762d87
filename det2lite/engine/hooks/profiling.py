"""Hooks that measure: profilers and memory statistics."""

import logging
import os
from collections.abc import Callable, Iterable

import torch

from det2lite.engine.train_loop import HookBase, TrainerBase
from det2lite.utils import comm

logger = logging.getLogger(__name__)


class TorchProfiler(HookBase):
    """Profiles the iterations for which `enable_predicate(trainer)` is true, with `torch.profiler`.

    The result is put under `output_dir`: for TensorBoard in `log/profiler-tensorboard-iter<N>`, or with
    `save_tensorboard=False` as the Chrome trace `profiler-trace-iter<N>.json`.
    """

    def __init__(
        self,
        enable_predicate: Callable[[TrainerBase], bool],
        output_dir: str,
        *,
        activities: Iterable[torch.profiler.ProfilerActivity] | None = None,
        save_tensorboard: bool = True,
    ) -> None:
        self._enable_predicate = enable_predicate
        self._output_dir = output_dir
        self._activities = activities
        self._save_tensorboard = save_tensorboard
        self._profiler = None

    def before_step(self) -> None:
        if not self._enable_predicate(self.trainer):
            return
        self._profiler = self._make_profiler()
        self._profiler.__enter__()

    def _make_profiler(self):
        on_trace_ready = None
        if self._save_tensorboard:
            folder = os.path.join(self._output_dir, "log", f"profiler-tensorboard-iter{self.trainer.iter}")
            on_trace_ready = torch.profiler.tensorboard_trace_handler(folder, f"worker{comm.get_rank()}")
        return torch.profiler.profile(
            activities=self._activities,
            on_trace_ready=on_trace_ready,
            record_shapes=True,
            profile_memory=True,
            with_stack=True,
        )

    def after_step(self) -> None:
        if self._profiler is None:
            return
        self._profiler.__exit__(None, None, None)
        if not self._save_tensorboard:
            os.makedirs(self._output_dir, exist_ok=True)
            trace = os.path.join(self._output_dir, f"profiler-trace-iter{self.trainer.iter}.json")
            self._profiler.export_chrome_trace(trace)
            logger.info("Profile of iteration %d written to %s", self.trainer.iter, trace)
        self._profiler = None


class AutogradProfiler(TorchProfiler):
    """As `TorchProfiler`, by autograd's older profiler; always writes a Chrome trace."""

    def __init__(
        self, enable_predicate: Callable[[TrainerBase], bool], output_dir: str, *, use_cuda: bool = True
    ) -> None:
        super().__init__(enable_predicate, output_dir, save_tensorboard=False)
        self._use_cuda = use_cuda and torch.cuda.is_available()

    def _make_profiler(self):
        return torch.autograd.profiler.profile(use_device="cuda" if self._use_cuda else None)


class TorchMemoryStats(HookBase):
    """Logs CUDA memory in MB (reserved and allocated, now and at most) every `period` iterations, `max_runs` times."""

    def __init__(self, period: int = 20, max_runs: int = 10) -> None:
        self._period = period
        self._max_runs = max_runs
        self._runs = 0

    def after_step(self) -> None:
        done = self.trainer.iter + 1
        if self._runs >= self._max_runs or not torch.cuda.is_available():
            return
        if done % self._period and done != self.trainer.max_iter:
            return
        self._runs += 1
        megabyte = 1024**2
        logger.info(
            "iter %d: memory reserved %d MB (at most %d MB), allocated %d MB (at most %d MB)",
            self.trainer.iter,
            torch.cuda.memory_reserved() / megabyte,
            torch.cuda.max_memory_reserved() / megabyte,
            torch.cuda.memory_allocated() / megabyte,
            torch.cuda.max_memory_allocated() / megabyte,
        )
        torch.cuda.reset_peak_memory_stats()
