"""Hooks that save checkpoints."""

import logging
import math
import operator
import os
from typing import Any

from fvcore.common.checkpoint import Checkpointer

from det2lite.checkpoint import periodic
from det2lite.engine.train_loop import HookBase
from det2lite.utils.errors import BadValue

logger = logging.getLogger(__name__)


class PeriodicCheckpointer(periodic.PeriodicCheckpointer, HookBase):
    """Saves every `period` iterations and at the end. Stands behind the hooks whose state it saves."""

    def before_train(self) -> None:
        self.max_iter = self.trainer.max_iter

    def after_step(self) -> None:
        self.step(self.trainer.iter)


class BestCheckpointer(HookBase):
    """Saves `<file_prefix>.pth` whenever the metric `val_metric` (such as "bbox/AP50") is better than ever before.

    `mode` says whether "max" or "min" is better. Stands behind the `EvalHook` of the same `eval_period`.
    """

    def __init__(
        self,
        eval_period: int,
        checkpointer: Checkpointer,
        val_metric: str,
        mode: str = "max",
        file_prefix: str = "model_best",
    ) -> None:
        if mode not in ("max", "min"):
            raise BadValue(f"mode of BestCheckpointer is {mode!r}; use 'max' or 'min'")
        self._period = eval_period
        self._checkpointer = checkpointer
        self._val_metric = val_metric
        self._is_better = operator.gt if mode == "max" else operator.lt
        self._file_prefix = file_prefix
        self.best_metric: float | None = None
        self.best_iter: int | None = None
        self._seen_iter = -1

    def after_step(self) -> None:
        done = self.trainer.iter + 1
        if self._period > 0 and done % self._period == 0 and done != self.trainer.max_iter:
            self._check()

    def after_train(self) -> None:
        if self.trainer.iter >= self.trainer.max_iter:
            self._check()

    def _check(self) -> None:
        latest = self.trainer.storage.latest().get(self._val_metric)
        if latest is None:
            logger.warning(
                "No metric %r has been evaluated yet, so no best checkpoint is saved; is the EvalHook before"
                " this hook, and the name right?",
                self._val_metric,
            )
            return
        value, iteration = float(latest[0]), int(latest[1])
        if iteration == self._seen_iter or not math.isfinite(value):
            return
        self._seen_iter = iteration
        if self.best_metric is not None and not self._is_better(value, self.best_metric):
            logger.info(
                "%s is %.5f; the best stays %.5f of iteration %d",
                self._val_metric,
                value,
                self.best_metric,
                self.best_iter,
            )
            return
        before = "" if self.best_metric is None else f", before {self.best_metric:.5f} of iteration {self.best_iter}"
        logger.info("%s is %.5f in iteration %d, the best so far%s", self._val_metric, value, iteration, before)
        self.best_metric, self.best_iter = value, iteration
        # a run resumes from the newest periodic checkpoint, whose state is that of a finished iteration
        last = self._checkpointer.get_checkpoint_file() if self._checkpointer.has_checkpoint() else ""
        self._checkpointer.save(self._file_prefix, iteration=iteration)
        if last:
            self._checkpointer.tag_last_checkpoint(os.path.basename(last))

    def state_dict(self) -> dict[str, Any]:
        if self.best_metric is None:
            return {}
        return {"best_metric": self.best_metric, "best_iter": self.best_iter}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best_metric = state_dict["best_metric"]
        self.best_iter = state_dict["best_iter"]
