"""Hook that evaluates."""

from collections.abc import Callable, Mapping
from typing import Any

from det2lite.engine.hooks.ema import averages_of
from det2lite.engine.run_state import keep_random_state
from det2lite.engine.train_loop import HookBase
from det2lite.evaluation.testing import flatten_results_dict
from det2lite.utils import comm


class EvalHook(HookBase):
    """Calls `eval_function` every `eval_period` iterations (0: never) and after a training that ended well.

    Its result, a nested dict of numbers, is written as metrics "a/b/c". Every process calls it. It
    draws its random numbers apart from the training's, so that a run resumed behind it goes on the same. Where the
    trainer has an `EMAHook`, the model has the averaged weights meanwhile.
    """

    def __init__(
        self, eval_period: int, eval_function: Callable[[], Mapping[str, Any]], eval_after_train: bool = True
    ) -> None:
        self._period = eval_period
        self._func = eval_function
        self._eval_after_train = eval_after_train

    def after_step(self) -> None:
        done = self.trainer.iter + 1
        if self._period > 0 and done % self._period == 0 and done != self.trainer.max_iter:
            self._do_eval()

    def after_train(self) -> None:
        if self._eval_after_train and self.trainer.iter >= self.trainer.max_iter:
            self._do_eval()
        self._func = None  # it may hold the trainer, which holds this hook

    def _do_eval(self) -> None:
        with keep_random_state(), averages_of(self.trainer):
            results = self._func()
        if results:
            assert isinstance(results, Mapping), f"an eval_function returns a dict, not {results!r}"
            flat = flatten_results_dict(results)
            for name, value in flat.items():
                try:
                    float(value)
                except (TypeError, ValueError) as error:
                    raise ValueError(
                        f"an eval_function returns nested dicts of numbers; {name} is {value!r}"
                    ) from error
            self.trainer.storage.put_scalars(**flat, smoothing_hint=False)
        comm.synchronize()  # evaluation may take much longer in one process than in another
