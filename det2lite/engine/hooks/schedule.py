"""Hook that moves the learning rate."""

import logging
from collections import Counter
from typing import Any

from fvcore.common.param_scheduler import ParamScheduler
from torch.optim import Optimizer
from torch.optim import lr_scheduler as torch_schedulers

from det2lite.engine.train_loop import HookBase
from det2lite.solver import LRMultiplier

logger = logging.getLogger(__name__)


class LRScheduler(HookBase):
    """Steps the scheduler after each iteration and writes `lr`, the rate that the iteration was made with.

    What is not given is the trainer's own `optimizer` and `scheduler`. A scheduler is torch's, or fvcore's
    `ParamScheduler`, which then gives the factor of each group's rate.
    """

    def __init__(self, optimizer: Optimizer | None = None, scheduler: Any = None) -> None:
        self._optimizer = optimizer
        self._scheduler = scheduler

    def before_train(self) -> None:
        self._optimizer = self._optimizer or self.trainer.optimizer
        if isinstance(self.scheduler, ParamScheduler):
            self._scheduler = LRMultiplier(
                self._optimizer, self.scheduler, self.trainer.max_iter, last_iter=self.trainer.iter - 1
            )
        self._group = self.get_best_param_group_id(self._optimizer)

    @staticmethod
    def get_best_param_group_id(optimizer: Optimizer) -> int:
        """The group whose rate to show: the one with most parameters, or, of single ones, of the commonest rate."""
        groups = optimizer.param_groups
        sizes = [len(group["params"]) for group in groups]
        if max(sizes) > 1:
            return sizes.index(max(sizes))
        rates = [group["lr"] for group in groups]
        return rates.index(Counter(rates).most_common(1)[0][0])

    def after_step(self) -> None:
        lr = self._optimizer.param_groups[self._group]["lr"]
        self.trainer.storage.put_scalar("lr", lr, smoothing_hint=False)
        self.scheduler.step()

    @property
    def scheduler(self) -> Any:
        return self._scheduler or self.trainer.scheduler

    def state_dict(self) -> dict[str, Any]:
        if isinstance(self.scheduler, torch_schedulers.LRScheduler):
            return self.scheduler.state_dict()
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if isinstance(self.scheduler, torch_schedulers.LRScheduler):
            logger.info("Loading scheduler from state_dict ...")
            self.scheduler.load_state_dict(state_dict)
