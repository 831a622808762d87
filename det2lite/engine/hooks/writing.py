"""Hook that writes metrics."""

from collections.abc import Iterable

from det2lite.engine.train_loop import HookBase
from det2lite.utils.events import EventWriter


class PeriodicWriter(HookBase):
    """Has each of `writers` write every `period` iterations, in the last iteration, and after the training."""

    def __init__(self, writers: Iterable[EventWriter], period: int = 20) -> None:
        self._writers = list(writers)
        for writer in self._writers:
            assert isinstance(writer, EventWriter), f"a writer must be an EventWriter, not {type(writer).__name__}"
        self._period = period

    def after_step(self) -> None:
        done = self.trainer.iter + 1
        if done % self._period == 0 or done == self.trainer.max_iter:
            for writer in self._writers:
                writer.write()

    def after_train(self) -> None:
        for writer in self._writers:
            writer.write()  # the last evaluation comes after the last iteration
            writer.close()
