"""Hook that recomputes batch norm statistics."""

import itertools
import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from torch import nn

from det2lite.engine.run_state import data_state, keep_random_state, move_data_loader
from det2lite.engine.train_loop import HookBase
from det2lite.utils.events import EventStorage
from det2lite.utils.fvcore_nn import get_bn_modules, update_bn_stats

logger = logging.getLogger(__name__)


class PreciseBN(HookBase):
    """Replaces the running averages of batch norm layers by exact means over `num_iter` batches.

    Done every `period` iterations (0: never) and after the last one; stands before the checkpointer and the
    evaluation. Only layers in training mode count. "Rethinking Batch in BatchNorm", arXiv 2105.07576.
    """

    def __init__(self, period: int, model: nn.Module, data_loader: Iterable, num_iter: int) -> None:
        self._period = period
        self._model = model
        self._data_loader = data_loader
        self._num_iter = num_iter
        self._data_iter: Iterator | None = None
        self._batches_used = 0
        self._disabled = not get_bn_modules(model)
        if self._disabled:
            logger.info("PreciseBN is off: the model has no batch norm layer in training mode")

    def after_step(self) -> None:
        done = self.trainer.iter + 1
        if done == self.trainer.max_iter or (self._period > 0 and done % self._period == 0):
            self.update_stats()

    def update_stats(self) -> None:
        """Recomputes the statistics now."""
        if self._disabled:
            return
        with keep_random_state(), EventStorage():  # of its own: these batches are no part of the training's curves
            if self._data_iter is None:
                self._data_iter = iter(self._data_loader)
            logger.info("Computing exact batch norm statistics over %d batches ...", self._num_iter)
            update_bn_stats(self._model, itertools.islice(self._data_iter, self._num_iter), self._num_iter)
        self._batches_used += self._num_iter

    def state_dict(self) -> dict[str, Any]:
        if self._disabled:
            return {}
        return {"batches_used": self._batches_used, "data": data_state(self._data_loader)}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        if self._disabled:
            return
        self._batches_used = state_dict["batches_used"]
        self._data_iter = None
        move_data_loader(self._data_loader, state_dict["data"], self._batches_used)
