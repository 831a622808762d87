import json
import os
from unittest import mock

import pytest
import torch
from fvcore.common.checkpoint import Checkpointer
from fvcore.common.param_scheduler import LinearParamScheduler
from torch import nn

from det2lite.engine import SimpleTrainer, TrainerBase, hooks
from det2lite.utils.errors import UserError
from det2lite.utils.events import EventWriter, JSONWriter


class Idle(TrainerBase):
    """A trainer that does nothing in an iteration."""

    def run_step(self):
        pass


class Toy(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 1)

    def forward(self, x):
        return {"loss": self.linear(x).sum()}


def endless():
    while True:
        yield torch.ones(2, 3)


def toy_trainer(lr=1.0):
    model = Toy()
    return SimpleTrainer(model, endless(), torch.optim.SGD(model.parameters(), lr=lr))


def run(hook_list, start, end):
    trainer = Idle()
    trainer.register_hooks(hook_list)
    trainer.train(start, end)
    return trainer


def test_callback_hook_calls_each_function_with_the_trainer():
    calls = []
    names = ("before_train", "after_train", "before_step", "after_backward", "after_step")
    hook = hooks.CallbackHook(**{name: lambda trainer, name=name: calls.append((name, trainer.iter)) for name in names})
    trainer = Idle()
    trainer.run_step = trainer.after_backward
    trainer.register_hooks([hook, hooks.CallbackHook()])
    trainer.train(0, 1)
    assert calls == [
        ("before_train", 0),
        ("before_step", 0),
        ("after_backward", 0),
        ("after_step", 0),
        ("after_train", 1),
    ]


def test_iteration_timer_leaves_out_the_warm_up(caplog):
    with caplog.at_level("INFO"):
        trainer = run([hooks.IterationTimer(warmup_iter=3)], 10, 16)
    assert [iteration for _, iteration in trainer.storage.history("time").values()] == [12, 13, 14, 15]
    assert "speed: 4 iterations" in caplog.text and "Total training time: 0:00:00" in caplog.text


@pytest.mark.parametrize("iterations", [0, 1, 2])
def test_iteration_timer_of_a_run_shorter_than_the_warm_up(iterations):
    assert "time" not in run([hooks.IterationTimer()], 0, iterations).storage.histories()


@pytest.mark.parametrize(("total", "period", "count"), [(30, 15, 2), (31, 15, 3), (20, 0, 1), (0, 5, 1)])
def test_eval_hook_counts(total, period, count):
    function = mock.Mock(return_value={"bbox": {"AP": 3.0}})
    trainer = run([hooks.EvalHook(period, function)], 0, total)
    assert function.call_count == count
    assert trainer.storage.latest()["bbox/AP"] == (3.0, total)


def test_eval_hook_without_the_last_evaluation():
    function = mock.Mock(return_value={})
    run([hooks.EvalHook(5, function, eval_after_train=False)], 0, 10)
    assert function.call_count == 1


def test_eval_hook_leaves_a_failed_training_alone():
    function = mock.Mock(return_value={})
    trainer = Idle()
    trainer.run_step = mock.Mock(side_effect=RuntimeError("broken"))
    trainer.register_hooks([hooks.EvalHook(0, function)])
    with pytest.raises(RuntimeError):
        trainer.train(0, 1)
    assert function.call_count == 0


def test_eval_hook_does_not_change_the_random_numbers_of_the_training():
    drawn = []
    trainer = Idle()
    trainer.run_step = lambda: drawn.append(torch.rand(1).item())
    trainer.register_hooks([hooks.EvalHook(1, lambda: {"x": torch.rand(1).item()})])
    torch.manual_seed(0)
    trainer.train(0, 3)
    torch.manual_seed(0)
    assert drawn == [torch.rand(1).item() for _ in range(3)]


def test_eval_hook_names_what_is_no_number():
    with pytest.raises(ValueError, match="bbox/AP is 'high'"):
        run([hooks.EvalHook(0, lambda: {"bbox": {"AP": "high"}})], 0, 1)


def test_periodic_writer_writes_every_period_at_the_end_and_after_evaluation(tmp_path):
    file = str(tmp_path / "metrics.json")
    trainer = toy_trainer()
    trainer.register_hooks([hooks.EvalHook(0, lambda: {"metric": 100}), hooks.PeriodicWriter([JSONWriter(file)])])
    trainer.train(0, 50)
    with open(file) as lines:
        records = [json.loads(line) for line in lines]
    assert [record["iteration"] for record in records] == [19, 39, 49, 50]
    assert records[-1]["metric"] == 100 and "metric" not in records[-2]


def test_periodic_writer_takes_writers_only():
    with pytest.raises(AssertionError, match="EventWriter"):
        hooks.PeriodicWriter([print])
    assert hooks.PeriodicWriter([EventWriter()])


def test_checkpoint_and_resume(tmp_path):
    trainer = toy_trainer()
    scheduler = torch.optim.lr_scheduler.StepLR(trainer.optimizer, 3)
    checkpointer = Checkpointer(trainer.model, str(tmp_path), opt=trainer.optimizer, trainer=trainer)
    trainer.register_hooks([hooks.LRScheduler(scheduler=scheduler), hooks.PeriodicCheckpointer(checkpointer, 10)])
    trainer.train(0, 12)
    assert sorted(os.listdir(tmp_path)) == ["last_checkpoint", "model_0000009.pth", "model_final.pth"]
    assert trainer.optimizer.param_groups[0]["lr"] == pytest.approx(1e-4)

    again = toy_trainer(lr=999.0)
    scheduler = torch.optim.lr_scheduler.StepLR(again.optimizer, 3)
    again.register_hooks([hooks.LRScheduler(scheduler=scheduler)])
    Checkpointer(again.model, str(tmp_path), opt=again.optimizer, trainer=again).resume_or_load("", resume=True)
    assert again.iter == 11  # the last finished iteration
    assert scheduler.last_epoch == 12
    assert again.optimizer.param_groups[0]["lr"] == pytest.approx(1e-4)


def test_checkpoints_to_keep_include_those_before_a_resume(tmp_path):
    for start, end in ((0, 6), (6, 10)):
        trainer = toy_trainer()
        checkpointer = Checkpointer(trainer.model, str(tmp_path), trainer=trainer)
        checkpointer.resume_or_load("", resume=True)
        trainer.register_hooks([hooks.PeriodicCheckpointer(checkpointer, 2, max_to_keep=2)])
        trainer.train(start, end)
    assert sorted(os.listdir(tmp_path)) == [
        "last_checkpoint",
        "model_0000007.pth",
        "model_0000009.pth",
        "model_final.pth",
    ]


def test_lr_hook_writes_the_rate_the_step_was_made_with():
    trainer = toy_trainer()
    trainer.scheduler = torch.optim.lr_scheduler.StepLR(trainer.optimizer, 1, gamma=0.5)
    trainer.register_hooks([hooks.LRScheduler()])
    trainer.train(0, 3)
    assert [value for value, _ in trainer.storage.history("lr").values()] == [1.0, 0.5, 0.25]


def test_lr_hook_takes_a_param_scheduler():
    trainer = toy_trainer()
    trainer.register_hooks([hooks.LRScheduler(scheduler=LinearParamScheduler(1.0, 0.0))])
    trainer.train(0, 4)
    assert [value for value, _ in trainer.storage.history("lr").values()] == [1.0, 0.75, 0.5, 0.25]


def test_best_param_group():
    a, b, c, d = (nn.Parameter(torch.zeros(1)) for _ in range(4))
    largest = torch.optim.SGD([{"params": [a], "lr": 1}, {"params": [b, c], "lr": 2}], lr=0)
    assert hooks.LRScheduler.get_best_param_group_id(largest) == 1
    groups = [{"params": [a], "lr": 1}, {"params": [b], "lr": 2}, {"params": [c], "lr": 2}]
    assert hooks.LRScheduler.get_best_param_group_id(torch.optim.SGD(groups, lr=0)) == 1


def best_run(tmp_path, values, mode, **kwargs):
    trainer = toy_trainer()
    checkpointer = Checkpointer(trainer.model, str(tmp_path), trainer=trainer)
    function = mock.Mock(side_effect=[{"m": v} for v in values])
    best = hooks.BestCheckpointer(1, checkpointer, "m", mode, **kwargs)
    trainer.register_hooks([hooks.EvalHook(1, function), best])
    with mock.patch.object(checkpointer, "save", wraps=checkpointer.save) as save:
        trainer.train(0, len(values))
    return best, [call.kwargs["iteration"] for call in save.call_args_list]


@pytest.mark.parametrize(
    ("mode", "values", "saved"),
    [("max", [1, 3, 2, 3, 4], [0, 1, 5]), ("min", [1, 3, 0.5, 0.5], [0, 2]), ("max", [float("nan"), 1], [2])],
)
def test_best_checkpointer(tmp_path, mode, values, saved):
    best, iterations = best_run(tmp_path, values, mode)
    assert iterations == saved
    assert best.best_iter == saved[-1]
    assert os.path.exists(tmp_path / "model_best.pth")


def test_best_checkpointer_remembers_over_a_resume_and_keeps_the_tag(tmp_path):
    trainer = toy_trainer()
    Checkpointer(trainer.model, str(tmp_path)).save("model_0000009")
    best, _ = best_run(tmp_path, [2, 1], "max", file_prefix="top")
    with open(tmp_path / "last_checkpoint") as file:
        assert file.read() == "model_0000009.pth"
    again = hooks.BestCheckpointer(1, mock.Mock(), "m")
    again.load_state_dict(best.state_dict())
    assert (again.best_metric, again.best_iter) == (2, 0)
    assert hooks.BestCheckpointer(1, mock.Mock(), "m").state_dict() == {}


def test_best_checkpointer_without_its_metric(caplog):
    run([hooks.BestCheckpointer(1, mock.Mock(), "nothing")], 0, 2)
    assert "nothing" in caplog.text
    with pytest.raises(UserError, match="'best'"):
        hooks.BestCheckpointer(1, mock.Mock(), "m", mode="best")


class Norm(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(1)

    def forward(self, x):
        return {"loss": self.norm(x).sum()}


def test_precise_bn_is_the_mean_over_the_batches():
    model = Norm()
    data = [torch.tensor([[1.0], [3.0]]), torch.tensor([[5.0], [7.0]])]
    hook = hooks.PreciseBN(0, model, data * 2, 2)
    trainer = run([hook], 0, 3)
    assert model.norm.running_mean.item() == pytest.approx(4.0)
    assert model.norm.running_var.item() == pytest.approx(5.0)  # of 1, 3, 5, 7
    assert hook.state_dict() == {"batches_used": 2, "data": {}}
    assert not trainer.storage.histories()


def test_precise_bn_goes_on_with_the_next_batches():
    model = Norm()
    hook = hooks.PreciseBN(1, model, [torch.tensor([[float(i)], [i + 2.0]]) for i in range(2)], 1)
    run([hook], 0, 2)
    assert model.norm.running_mean.item() == pytest.approx(2.0)


def test_precise_bn_without_batch_norm_does_nothing():
    hook = hooks.PreciseBN(1, Toy(), [], 5)
    run([hook], 0, 1)
    assert hook.state_dict() == {}
    hook.load_state_dict({})


@pytest.mark.parametrize("cls", [hooks.TorchProfiler, hooks.AutogradProfiler])
def test_profilers_write_a_trace(tmp_path, cls):
    kwargs = {"save_tensorboard": False} if cls is hooks.TorchProfiler else {"use_cuda": False}
    trainer = toy_trainer()
    trainer.register_hooks([cls(lambda trainer: trainer.iter == 1, str(tmp_path / "out"), **kwargs)])
    trainer.train(0, 3)
    assert os.listdir(tmp_path / "out") == ["profiler-trace-iter1.json"]
    with open(tmp_path / "out" / "profiler-trace-iter1.json") as file:
        assert json.load(file)


def test_memory_stats_are_silent_without_cuda(caplog):
    with mock.patch.object(torch.cuda, "is_available", return_value=False), caplog.at_level("INFO"):
        run([hooks.TorchMemoryStats(period=1)], 0, 2)
    assert "memory" not in caplog.text
