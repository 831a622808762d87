"""Hooks that call a function, and that measure the time of an iteration."""

import logging
import time
from collections.abc import Callable

from fvcore.common.timer import Timer

from det2lite.engine.train_loop import HookBase, TrainerBase
from det2lite.utils.durations import format_duration

logger = logging.getLogger(__name__)

Callback = Callable[[TrainerBase], None]


class CallbackHook(HookBase):
    """A hook made of functions; each is called with the trainer."""

    def __init__(
        self,
        *,
        before_train: Callback | None = None,
        after_train: Callback | None = None,
        before_step: Callback | None = None,
        after_step: Callback | None = None,
        after_backward: Callback | None = None,
    ) -> None:
        self._before_train = before_train
        self._before_step = before_step
        self._after_backward = after_backward
        self._after_step = after_step
        self._after_train = after_train

    def before_train(self) -> None:
        if self._before_train:
            self._before_train(self.trainer)

    def after_train(self) -> None:
        if self._after_train:
            self._after_train(self.trainer)
        # functions may hold the trainer, which holds this hook
        self._before_train = self._after_train = None
        self._before_step = self._after_backward = self._after_step = None

    def before_step(self) -> None:
        if self._before_step:
            self._before_step(self.trainer)

    def after_backward(self) -> None:
        if self._after_backward:
            self._after_backward(self.trainer)

    def after_step(self) -> None:
        if self._after_step:
            self._after_step(self.trainer)


class IterationTimer(HookBase):
    """Writes `time`, the seconds of each iteration without the hooks behind this one; logs a summary at the end.

    The first `warmup_iter` iterations, which are slower, count for neither.
    """

    def __init__(self, warmup_iter: int = 3) -> None:
        self._warmup_iter = warmup_iter
        self._step_timer = Timer()
        self._total_timer = Timer()
        self._start_time = time.perf_counter()

    def before_train(self) -> None:
        self._restart()

    def _restart(self) -> None:
        self._start_time = time.perf_counter()
        self._total_timer.reset()
        self._total_timer.pause()

    def before_step(self) -> None:
        self._step_timer.reset()
        self._total_timer.resume()

    def after_step(self) -> None:
        if self._iterations_done() + 1 >= self._warmup_iter:
            self.trainer.storage.put_scalars(time=self._step_timer.seconds())
            self._total_timer.pause()
        else:
            self._restart()

    def after_train(self) -> None:
        elapsed = time.perf_counter() - self._start_time
        in_steps = self._total_timer.seconds()
        # the iteration that ends the warm-up is timed already
        count = self._iterations_done() - max(self._warmup_iter - 1, 0)
        if count > 0 and in_steps > 0:
            logger.info(
                "Overall training speed: %d iterations in %s (%.4f s / it)",
                count,
                format_duration(in_steps),
                in_steps / count,
            )
        logger.info(
            "Total training time: %s (%s on hooks)",
            format_duration(elapsed),
            format_duration(max(elapsed - in_steps, 0.0)),
        )

    def _iterations_done(self) -> int:
        return self.trainer.iter - self.trainer.start_iter
