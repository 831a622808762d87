import logging

import pytest
import torch
from torch import nn

from det2lite.evaluation.evaluator import (
    DatasetEvaluator,
    DatasetEvaluators,
    inference_context,
    inference_on_dataset,
)


class Collect(DatasetEvaluator):
    def __init__(self, task="sum", results=True):
        self.task, self.results, self.seen = task, results, ["not reset"]

    def reset(self):
        self.seen = []

    def process(self, inputs, outputs):
        self.seen += list(zip(inputs, outputs, strict=True))

    def evaluate(self):
        return {self.task: {"n": len(self.seen)}} if self.results else None


class Double(nn.Module):
    def __init__(self):
        super().__init__()
        self.frozen = nn.Linear(1, 1).eval()

    def forward(self, batch):
        assert not self.training and not torch.is_grad_enabled()
        return [2 * value for value in batch]


def test_every_batch_is_run_and_evaluated():
    model, evaluator, calls = Double().train(), Collect(), []
    model.frozen.eval()
    names = ("on_start", "before_inference", "after_inference", "on_end")
    callbacks = {name: (lambda name=name: calls.append(name)) for name in names}
    results = inference_on_dataset(model, [[1, 2], [3]], evaluator, callbacks=callbacks)
    assert results == {"sum": {"n": 3}} and evaluator.seen == [(1, 2), (2, 4), (3, 6)]
    assert calls == ["on_start", *["before_inference", "after_inference"] * 2, "on_end"]
    assert model.training and not model.frozen.training  # each module is in the mode that it was in


def test_functions_lists_of_evaluators_and_none():
    model = lambda batch: batch  # noqa: E731
    assert inference_on_dataset(model, [[1]], None) == {}
    assert inference_on_dataset(model, [[1]], Collect(results=False)) == {}
    assert inference_on_dataset(model, [[1]], [Collect("a"), Collect("b"), Collect(results=False)]) == {
        "a": {"n": 1},
        "b": {"n": 1},
    }
    assert inference_on_dataset(model, [], Collect()) == {"sum": {"n": 0}}


def test_two_evaluators_of_one_task_are_an_error():
    with pytest.raises(AssertionError, match="sum"):
        DatasetEvaluators([Collect(), Collect()]).evaluate()


def test_the_mode_is_restored_after_an_error():
    model = Double().train()
    with pytest.raises(ZeroDivisionError), inference_context(model):
        assert not model.training
        raise ZeroDivisionError
    assert model.training


def test_progress_tells_the_time_left(caplog, monkeypatch):
    clock = iter(range(0, 100000, 10))
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    with caplog.at_level(logging.INFO, logger="det2lite.evaluation.evaluator"):
        inference_on_dataset(lambda batch: batch, [[1]] * 20, None)
    lines = [m for m in caplog.messages if m.startswith("Inference done 12/20")]
    assert len(lines) == 1  # each stage takes one tick of 10 s, and so does writing the line before
    assert "Dataloading: 20.0000 s/iter. Inference: 10.0000 s/iter. Eval: 10.0000 s/iter." in lines[0]
    assert lines[0].split("ETA=")[1].startswith("0:05")
    assert any(m.startswith("Total inference pure compute time: 0:02:30 (10.000000 s / iter") for m in caplog.messages)
