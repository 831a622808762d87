"""Hook that brings the random states of all processes together for the checkpoint."""

from typing import Any

from det2lite.checkpoint.random_state import get_random_state
from det2lite.engine.train_loop import HookBase
from det2lite.utils import comm


class GatherRandomState(HookBase):
    """Before each checkpoint of `period` and the last one, gives the main process every process's random state.

    Stands in all processes, before the checkpointer, which only the main process has.
    """

    def __init__(self, period: int) -> None:
        self._period = period
        self._iter = -1
        self._states: list[dict[str, Any]] = []

    def after_step(self) -> None:
        done = self.trainer.iter + 1
        if comm.get_world_size() > 1 and (done % self._period == 0 or done == self.trainer.max_iter):
            self._states = comm.gather(get_random_state())
            self._iter = self.trainer.iter

    def states(self, iteration: int) -> list[dict[str, Any]]:
        """By rank; for a checkpoint outside of the period only that of this process."""
        return self._states if iteration == self._iter and self._states else [get_random_state()]
