import logging

import pytest
import torch
from torch import nn

from det2lite.engine.train_loop import AMPTrainer, HookBase, NonFiniteLoss, SimpleTrainer, TrainerBase
from det2lite.utils.errors import BadValue
from det2lite.utils.events import get_event_storage


class Line(nn.Module):
    """One weight w; the losses are w * x and 2 * w * x."""

    def __init__(self, weight=1.0):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight))

    def forward(self, batch):
        x = sum(sample["x"] for sample in batch)
        return {"loss_a": self.weight * x, "loss_b": 2 * self.weight * x}


def batches(values):
    for i, value in enumerate(values):
        yield [{"x": value, "file_name": f"image_{i}.jpg"}]


def make_trainer(values, cls=SimpleTrainer, model=None, **kwargs):
    model = model or Line()
    return cls(model, batches(values), torch.optim.SGD(model.parameters(), lr=0.1), **kwargs)


class Recorder(HookBase):
    def __init__(self):
        self.calls = []

    def before_train(self):
        self.calls.append("before_train")

    def before_step(self):
        self.calls.append(f"before_step {self.trainer.iter} {self.trainer.storage.iter}")

    def after_backward(self):
        self.calls.append("after_backward")

    def after_step(self):
        self.calls.append("after_step")

    def after_train(self):
        self.calls.append(f"after_train {self.trainer.iter} {self.trainer.storage.iter}")


@pytest.mark.parametrize("cls", [SimpleTrainer, AMPTrainer])
@pytest.mark.parametrize("zero_grad_before_forward", [False, True])
def test_sgd_steps(cls, zero_grad_before_forward):
    trainer = make_trainer([1.0, 2.0], cls, zero_grad_before_forward=zero_grad_before_forward)
    trainer.train(0, 2)
    # d(w x + 2 w x)/dw = 3 x: w = 1 - 0.1 * 3 - 0.1 * 6
    assert trainer.model.weight.item() == pytest.approx(0.1)


@pytest.mark.parametrize("cls", [SimpleTrainer, AMPTrainer])
@pytest.mark.parametrize("zero_grad_before_forward", [False, True])
def test_several_batches_make_one_step(cls, zero_grad_before_forward):
    recorder = Recorder()
    trainer = make_trainer([1.0, 2.0, 5.0, 1.0], cls, zero_grad_before_forward=zero_grad_before_forward, accumulate=2)
    trainer.register_hooks([recorder])
    trainer.train(0, 2)
    # mean gradients 3 * 1.5 and 3 * 3: w = 1 - 0.1 * 4.5 - 0.1 * 9
    assert trainer.model.weight.item() == pytest.approx(-0.35)
    history = {name: trainer.storage.history(name).values() for name in ("loss_a", "loss_b", "total_loss")}
    expected = {"loss_a": [1.5, 0.55 * 3], "loss_b": [3.0, 1.1 * 3], "total_loss": [4.5, 1.65 * 3]}
    for name, values in expected.items():
        assert history[name] == [(pytest.approx(value), i) for i, value in enumerate(values)]
    assert recorder.calls.count("after_backward") == 2


def test_batches_of_a_step_are_as_one_large_batch():
    class Fit(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 1).double()

        def forward(self, batch):
            return {"loss": self.layer(torch.stack(batch)).square().mean()}

    samples = torch.randn(8, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    weights = []
    for accumulate in (1, 2, 4):
        torch.manual_seed(0)
        model = Fit()
        loader = iter([list(part) for part in samples.chunk(2 * accumulate)])
        trainer = SimpleTrainer(model, loader, torch.optim.SGD(model.parameters(), lr=0.1), accumulate=accumulate)
        trainer.train(0, 2)
        weights.append(model.layer.weight.detach())
    assert torch.allclose(weights[0], weights[1], rtol=1e-12) and torch.allclose(weights[0], weights[2], rtol=1e-12)


def test_a_loss_that_a_batch_does_not_have_is_zero_there():
    class Sometimes(Line):
        def forward(self, batch):
            losses = super().forward(batch)
            return losses if batch[0]["x"] > 1 else {"loss_a": losses["loss_a"]}

    trainer = make_trainer([1.0, 3.0], model=Sometimes(), accumulate=2)
    trainer.train(0, 1)
    latest = {name: value for name, (value, _) in trainer.storage.latest().items()}
    assert (latest["loss_a"], latest["loss_b"], latest["total_loss"]) == (2.0, 3.0, 5.0)
    assert trainer.model.weight.item() == pytest.approx(1 - 0.1 * 5)


def test_a_non_finite_loss_in_a_part_of_a_step():
    trainer = make_trainer([1.0, 1.0, 1.0, float("nan"), 1.0, 1.0], accumulate=3)
    with pytest.raises(NonFiniteLoss, match="iteration 1") as caught:
        make_trainer([1.0] * 4 + [float("inf")] + [1.0], accumulate=3).train(0, 2)
    assert all(f"image_{i}.jpg" in str(caught.value) for i in (3, 4, 5))
    with pytest.raises(NonFiniteLoss):
        trainer.train(0, 2)
    assert trainer.model.weight.item() == pytest.approx(0.7)
    with pytest.raises(BadValue, match="accumulate 0"):
        make_trainer([], accumulate=0)


def test_losses_are_written_with_their_sum():
    trainer = make_trainer([1.0, 2.0])
    trainer.train(0, 2)
    latest = trainer.storage.latest()
    assert latest["loss_a"] == (pytest.approx(1.4), 1)
    assert latest["loss_b"] == (pytest.approx(2.8), 1)
    assert latest["total_loss"] == (pytest.approx(4.2), 1)
    assert latest["data_time"][0] >= 0


def test_a_single_tensor_is_the_total_loss():
    class Single(Line):
        def forward(self, batch):
            return super().forward(batch)["loss_a"]

    trainer = make_trainer([3.0], model=Single())
    trainer.train(0, 1)
    assert {k: v[0] for k, v in trainer.storage.latest().items() if k != "data_time"} == {"total_loss": 3.0}


@pytest.mark.parametrize("async_write_metrics", [False, True])
def test_metrics_are_gathered_every_period(async_write_metrics):
    trainer = make_trainer([1.0] * 5, gather_metric_period=2, async_write_metrics=async_write_metrics)
    trainer.train(0, 5)
    assert [iteration for _, iteration in trainer.storage.history("total_loss").values()] == [1, 3]


def test_hooks_are_called_in_order():
    trainer, recorder = make_trainer([1.0, 1.0]), Recorder()
    trainer.register_hooks([None, recorder])
    trainer.train(3, 5)
    step = ["after_backward", "after_step"]
    expected = ["before_train", "before_step 3 3", *step, "before_step 4 4", *step, "after_train 5 5"]
    assert recorder.calls == expected


def test_no_iteration_left_still_runs_the_hooks_around():
    trainer, recorder = make_trainer([]), Recorder()
    trainer.register_hooks([recorder])
    trainer.train(5, 5)
    assert recorder.calls == ["before_train", "after_train 5 5"]


def test_hooks_do_not_keep_the_trainer_alive():
    trainer, recorder = make_trainer([]), Recorder()
    trainer.register_hooks([recorder])
    del trainer
    with pytest.raises(ReferenceError):
        _ = recorder.trainer.iter


def test_non_finite_loss_names_everything_and_leaves_the_weights():
    trainer, recorder = make_trainer([1.0, float("nan"), 1.0]), Recorder()
    trainer.register_hooks([recorder])
    with pytest.raises(FloatingPointError) as caught:
        trainer.train(0, 3)
    message = str(caught.value)
    assert "iteration 1" in message and "loss_a = nan, loss_b = nan" in message
    assert "lr 0.1" in message and "image_1.jpg" in message and "gradient norm nan" in message
    assert "\n" not in message
    assert trainer.model.weight.item() == pytest.approx(0.7)
    assert recorder.calls[-1] == "after_train 1 1"


def test_infinite_losses_of_both_signs():
    with pytest.raises(NonFiniteLoss):
        SimpleTrainer.write_metrics({"a": torch.tensor(float("inf")), "b": torch.tensor(float("-inf"))}, 0.0, 0)


def test_non_finite_loss_is_found_by_the_writing_thread():
    trainer = make_trainer([float("inf")] + [1.0] * 500, async_write_metrics=True)
    with pytest.raises(NonFiniteLoss, match="iteration 0.*image_0.jpg"):
        trainer.train(0, 501)


def test_non_finite_loss_is_found_by_the_writing_thread_at_the_end():
    trainer = make_trainer([float("inf")], async_write_metrics=True)
    with pytest.raises(NonFiniteLoss, match="iteration 0"):
        trainer.train(0, 1)


def test_metrics_without_a_storage_are_dropped():
    SimpleTrainer.write_metrics({"loss": torch.tensor(1.0)}, 0.0, 0)
    assert get_event_storage().iter == 0


def test_eval_mode_is_refused():
    trainer = make_trainer([1.0])
    trainer.model.eval()
    with pytest.raises(AssertionError, match="training mode"):
        trainer.train(0, 1)


def test_other_errors_are_logged_and_raised(caplog):
    trainer = make_trainer([])
    with caplog.at_level(logging.ERROR), pytest.raises(StopIteration):
        trainer.train(0, 1)
    assert "iteration 0" in caplog.text


def test_reset_data_loader():
    trainer = make_trainer([1.0, 1.0])
    trainer.train(0, 1)
    trainer.reset_data_loader(lambda: batches([2.0]))
    trainer.train(1, 2)
    assert trainer.model.weight.item() == pytest.approx(0.1)


class Counting(HookBase):
    def __init__(self, count=0):
        self.count = count

    def after_step(self):
        self.count += 1

    def state_dict(self):
        return {"count": self.count}

    def load_state_dict(self, state_dict):
        self.count = state_dict["count"]


def test_state_round_trip(caplog):
    trainer = make_trainer([1.0, 1.0, 1.0])
    trainer.register_hooks([Counting(), Counting(10)])
    trainer.train(0, 3)
    state = trainer.state_dict()
    assert state["iteration"] == 3 and state["hooks"] == {"Counting": {"count": 3}}

    again = make_trainer([])
    again.register_hooks([Counting()])
    again.optimizer.param_groups[0]["lr"] = 7.0
    again.load_state_dict(state)
    assert again.iter == 3 and again._hooks[0].count == 3 and again.optimizer.param_groups[0]["lr"] == 0.1

    with caplog.at_level(logging.WARNING):
        make_trainer([]).load_state_dict(state)
    assert "Counting" in caplog.text


def test_trainer_base_needs_a_step():
    with pytest.raises(NotImplementedError):
        TrainerBase().train(0, 1)


def test_amp_on_cpu_is_bfloat16_without_scaling():
    seen = []

    class Product(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(2, 1)

        def forward(self, batch):
            out = self.linear(torch.ones(1, 2))
            seen.append(out.dtype)
            return {"loss": out.float().sum()}

    model = Product()
    trainer = make_trainer([1.0], AMPTrainer, model=model, log_grad_scaler=True)
    trainer.train(0, 1)
    assert seen == [torch.bfloat16]
    assert model.linear.weight.dtype == torch.float32
    assert not trainer.grad_scaler.is_enabled()
    assert trainer.storage.latest()["[metric]grad_scaler"][0] == 1.0
    make_trainer([], AMPTrainer, model=Product()).load_state_dict(trainer.state_dict())
