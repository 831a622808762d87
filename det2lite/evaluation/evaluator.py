"""Running a model over a data set and handing its outputs to evaluators."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from det2lite.utils.comm import get_world_size, is_main_process
from det2lite.utils.durations import format_duration
from det2lite.utils.errors import BadCall

__all__ = ["DatasetEvaluator", "DatasetEvaluators", "inference_context", "inference_on_dataset"]

logger = logging.getLogger(__name__)

_NUM_WARMUP = 5  # batches whose times are not typical
_LOG_PERIOD = 5  # seconds between progress lines


class DatasetEvaluator:
    """Takes pairs of inputs and outputs through `process`, and gives a summary in `evaluate`."""

    def reset(self) -> None:
        """Forgets everything, before a new round."""

    def process(self, inputs: list[dict], outputs: list[dict]) -> None:
        """Takes in a batch: the model's inputs and its outputs, in the same order."""

    def evaluate(self) -> dict[str, dict[str, float]] | None:
        """`{task: {metric: number}}` on the main process; others may give None. May talk to the other processes."""


class DatasetEvaluators(DatasetEvaluator):
    """Several evaluators as one; their results are merged."""

    def __init__(self, evaluators: list[DatasetEvaluator]):
        super().__init__()
        self._evaluators = evaluators

    def reset(self) -> None:
        for evaluator in self._evaluators:
            evaluator.reset()

    def process(self, inputs: list[dict], outputs: list[dict]) -> None:
        for evaluator in self._evaluators:
            evaluator.process(inputs, outputs)

    def evaluate(self) -> dict[str, dict[str, float]]:
        """The merged results. Raises `BadCall` where two evaluators give the same task."""
        merged: dict[str, Any] = {}
        for evaluator in self._evaluators:
            results = evaluator.evaluate()
            if not is_main_process() or results is None:
                continue
            twice = sorted(merged.keys() & results.keys())
            if twice:
                raise BadCall(f"several evaluators give results for {', '.join(twice)}; leave one of them out")
            merged.update(results)
        return merged


@contextmanager
def inference_context(model: nn.Module) -> Iterator[None]:
    """Evaluation mode inside; afterwards every module is in the mode it was in before."""
    were_training = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in were_training:
            module.training = training


class _Progress:
    """Seconds that each stage took, without the warm-up, and the log lines that tell of them."""

    STAGES = ("Dataloading", "Inference", "Eval")

    def __init__(self, total: int):
        self._total = total
        self._num_warmup = min(_NUM_WARMUP, max(total - 1, 0))
        self._done = 0
        self._begin()
        self._last_log = time.perf_counter()

    def _begin(self) -> None:
        self._start = self._mark = time.perf_counter()
        self._seconds = [0.0, 0.0, 0.0]

    def lap(self, stage: int) -> None:
        """Ends a stage: 0 loading, 1 inference, 2 evaluation."""
        now = time.perf_counter()
        self._seconds[stage] += now - self._mark
        self._mark = now

    def batch_done(self) -> None:
        self._done += 1
        if self._done == self._num_warmup:
            self._begin()
        now = time.perf_counter()
        if self._done > 2 * self._num_warmup or now - self._start > _LOG_PERIOD:
            if now - self._last_log >= _LOG_PERIOD:
                self._last_log = now
                logger.info(self._line(now))

    def _counted(self) -> int:
        return max(self._done - (self._num_warmup if self._done >= self._num_warmup else 0), 1)

    def _line(self, now: float) -> str:
        counted = self._counted()
        per_batch = (now - self._start) / counted
        stages = [
            f"{name}: {seconds / counted:.4f} s/iter." for name, seconds in zip(self.STAGES, self._seconds, strict=True)
        ]
        eta = format_duration(per_batch * (self._total - self._done))
        return f"Inference done {self._done}/{self._total}. {' '.join(stages)} Total: {per_batch:.4f} s/iter. ETA={eta}"

    def summary(self, num_devices: int) -> list[str]:
        now, counted = time.perf_counter(), self._counted()
        return [
            f"Total {what}: {format_duration(seconds)} ({seconds / counted:.6f} s / iter per device, "
            f"on {num_devices} devices)"
            for what, seconds in (
                ("inference time", now - self._start),
                ("inference pure compute time", self._seconds[1]),
            )
        ]


def inference_on_dataset(
    model: Callable | nn.Module,
    data_loader: Any,
    evaluator: DatasetEvaluator | list[DatasetEvaluator] | None,
    callbacks: Mapping[str, Callable[[], None]] | None = None,
) -> dict[str, Any]:
    """Runs the model on every batch of `data_loader` and evaluates the outputs.

    model: called with a batch of inputs; a Module is in evaluation mode meanwhile. data_loader: has a length.
    evaluator: one, a list of them, or None to only run the model. callbacks: functions under `on_start`,
    `before_inference`, `after_inference`, `on_end`. Returns what `evaluator.evaluate()` gives, `{}` where that is None.
    """
    num_devices, total = get_world_size(), len(data_loader)
    logger.info("Start inference on %d batches", total)
    if not isinstance(evaluator, DatasetEvaluator):
        evaluator = DatasetEvaluators(list(evaluator or []))
    evaluator.reset()
    callbacks = callbacks or {}

    def call(name: str) -> None:
        callbacks.get(name, lambda: None)()

    with ExitStack() as stack:
        if isinstance(model, nn.Module):
            stack.enter_context(inference_context(model))
        stack.enter_context(torch.no_grad())
        call("on_start")
        progress = _Progress(total)
        for inputs in data_loader:
            progress.lap(0)
            call("before_inference")
            outputs = model(inputs)
            if torch.cuda.is_available():
                torch.cuda.synchronize()  # the evaluator needs the outputs at once, and the times are true
            call("after_inference")
            progress.lap(1)
            evaluator.process(inputs, outputs)
            progress.lap(2)
            progress.batch_done()
        call("on_end")
    for line in progress.summary(num_devices):
        logger.info(line)
    results = evaluator.evaluate()
    return {} if results is None else results
