"""Learning rate over iterations: fvcore's schedules over the progress in [0, 1), warmed up, applied to an optimizer."""

import math
import warnings
from bisect import bisect_right
from typing import Any

from fvcore.common.param_scheduler import (
    CompositeParamScheduler,
    ConstantParamScheduler,
    LinearParamScheduler,
    ParamScheduler,
)
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from det2lite.utils.errors import BadValue

WARMUP_METHODS = ("linear", "constant")


def _check_warmup_method(method: str) -> None:
    if method not in WARMUP_METHODS:
        raise BadValue(f"no warm-up method {method!r}; SOLVER.WARMUP_METHOD is 'linear' or 'constant'")


class WarmupParamScheduler(CompositeParamScheduler):
    """Another schedule, its first part replaced by a warm-up.

    warmup_factor: the first value, as a share of the other schedule's first value.
    warmup_length: the share of the training that the warm-up takes, in [0, 1].
    warmup_method: "linear" to the value that the other schedule has when the warm-up ends, or "constant".
    rescale_interval: run the whole of the other schedule after the warm-up, instead of only its remaining part.
    """

    def __init__(
        self,
        scheduler: ParamScheduler,
        warmup_factor: float,
        warmup_length: float,
        warmup_method: str = "linear",
        rescale_interval: bool = False,
    ):
        _check_warmup_method(warmup_method)
        first = warmup_factor * scheduler(0.0)
        if warmup_method == "constant":
            warmup = ConstantParamScheduler(first)
        else:
            warmup = LinearParamScheduler(first, scheduler(0.0 if rescale_interval else warmup_length))
        # a warm-up over the whole training leaves nothing to rescale into
        rescaled = rescale_interval and warmup_length < 1.0
        super().__init__(
            [warmup, scheduler],
            lengths=[warmup_length, 1.0 - warmup_length],
            interval_scaling=["rescaled", "rescaled" if rescaled else "fixed"],
        )


class LRMultiplier(LRScheduler):
    """Sets each parameter group's learning rate to its initial one times a schedule's value at iteration / max_iter.

    Unlike the schedulers of torch it keeps no schedule in its state, so that a resumed run may follow another one.
    """

    def __init__(self, optimizer: Optimizer, multiplier: ParamScheduler, max_iter: int, last_iter: int = -1):
        if not isinstance(multiplier, ParamScheduler):
            raise BadValue(f"LRMultiplier needs an fvcore ParamScheduler, got {type(multiplier).__name__}")
        self._multiplier = multiplier
        self._max_iter = max_iter
        super().__init__(optimizer, last_epoch=last_iter)

    def state_dict(self) -> dict[str, Any]:
        return {"base_lrs": self.base_lrs, "last_epoch": self.last_epoch}

    def get_lr(self) -> list[float]:
        multiplier = self._multiplier(self.last_epoch / self._max_iter)
        return [base_lr * multiplier for base_lr in self.base_lrs]


def _get_warmup_factor_at_iter(method: str, iter: int, warmup_iters: int, warmup_factor: float) -> float:
    """By what the learning rate is multiplied in iteration `iter`; projects import it for schedules of their own."""
    _check_warmup_method(method)
    if iter >= warmup_iters:
        return 1.0
    if method == "constant":
        return warmup_factor
    progress = iter / warmup_iters
    return warmup_factor * (1 - progress) + progress


def _warn_deprecated(name: str) -> None:
    warnings.warn(f"{name} is kept for old code; use LRMultiplier with an fvcore ParamScheduler", stacklevel=3)


class WarmupMultiStepLR(LRScheduler):
    """Multiplied by gamma at each milestone (iterations). `LRMultiplier` with a `WarmupParamScheduler` replaces it."""

    def __init__(
        self,
        optimizer: Optimizer,
        milestones: list[int],
        gamma: float = 0.1,
        warmup_factor: float = 0.001,
        warmup_iters: int = 1000,
        warmup_method: str = "linear",
        last_epoch: int = -1,
    ):
        _warn_deprecated("WarmupMultiStepLR")
        _check_warmup_method(warmup_method)
        if list(milestones) != sorted(milestones):
            raise BadValue(f"milestones must be increasing iterations, got {milestones}")
        self.milestones = milestones
        self.gamma = gamma
        self.warmup_factor = warmup_factor
        self.warmup_iters = warmup_iters
        self.warmup_method = warmup_method
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        warmup = _get_warmup_factor_at_iter(
            self.warmup_method, self.last_epoch, self.warmup_iters, self.warmup_factor
        )
        decay = self.gamma ** bisect_right(self.milestones, self.last_epoch)
        return [base_lr * warmup * decay for base_lr in self.base_lrs]


class WarmupCosineLR(LRScheduler):
    """Half a cosine from 1 to 0 over max_iters. `LRMultiplier` with a `WarmupParamScheduler` replaces it.

    The warm-up multiplies the cosine instead of replacing its start. SGDR, arXiv 1608.03983, without restarts.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_iters: int,
        warmup_factor: float = 0.001,
        warmup_iters: int = 1000,
        warmup_method: str = "linear",
        last_epoch: int = -1,
    ):
        _warn_deprecated("WarmupCosineLR")
        _check_warmup_method(warmup_method)
        self.max_iters = max_iters
        self.warmup_factor = warmup_factor
        self.warmup_iters = warmup_iters
        self.warmup_method = warmup_method
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        warmup = _get_warmup_factor_at_iter(
            self.warmup_method, self.last_epoch, self.warmup_iters, self.warmup_factor
        )
        decay = 0.5 * (1.0 + math.cos(math.pi * self.last_epoch / self.max_iters))
        return [base_lr * warmup * decay for base_lr in self.base_lrs]
