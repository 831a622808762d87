import json
import os

import numpy as np
import pytest
import torch
from torch import nn

from det2lite.config import get_cfg
from det2lite.data import MetadataCatalog, build_detection_test_loader, build_detection_train_loader
from det2lite.engine import DefaultTrainer, hooks
from det2lite.engine.auto_batch import with_batch_of_run
from det2lite.evaluation import DatasetEvaluator
from det2lite.modeling import META_ARCH_REGISTRY
from det2lite.utils.env import seed_all_rng
from det2lite.utils.errors import BadValue, UserError

DATA = [
    {"file_name": f"{i}.jpg", "image_id": i, "width": 2 + i % 2, "height": 2, "x": [float(i), 1.0]} for i in range(10)
]


def noisy(sample):
    return {**sample, "x": torch.tensor(sample["x"]) + torch.rand(2) + float(np.random.rand())}


def plain(sample):
    return {**sample, "x": torch.tensor(sample["x"])}


class TinyOfTrainerTests(nn.Module):
    """A layer with dropout and batch norm: everything that random numbers and running averages can disturb."""

    def __init__(self, cfg):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, 4), nn.Dropout(0.5), nn.BatchNorm1d(4), nn.Linear(4, 1))

    def forward(self, batch):
        out = self.layers(torch.stack([sample["x"] for sample in batch]))  # (N, 1)
        if not self.training:
            return [{"value": value} for value in out]
        return {"loss_a": (out - 1).square().mean(), "loss_b": out.mean() * torch.rand(())}


class Mean(DatasetEvaluator):
    """Its random numbers must not matter to the training."""

    def reset(self):
        self.values = []

    def process(self, inputs, outputs):
        self.values += [output["value"].item() for output in outputs]

    def evaluate(self):
        np.random.rand(), torch.rand(3)
        return {"toy": {"mean": float(np.mean(self.values)), "count": len(self.values)}}


class TinyTrainer(DefaultTrainer):
    @classmethod
    def build_train_loader(cls, cfg):
        return build_detection_train_loader(
            DATA,
            mapper=noisy,
            total_batch_size=cfg.SOLVER.IMS_PER_BATCH,
            num_workers=cfg.DATALOADER.NUM_WORKERS,
            seed=cfg.SEED if cfg.SEED >= 0 else None,
        )

    @classmethod
    def build_test_loader(cls, cfg, dataset_name):
        return build_detection_test_loader(DATA, mapper=plain)

    @classmethod
    def build_evaluator(cls, cfg, dataset_name, output_folder=None):
        return Mean()


@pytest.fixture
def cfg(tmp_path):
    if "TinyOfTrainerTests" not in META_ARCH_REGISTRY:
        META_ARCH_REGISTRY.register(TinyOfTrainerTests)
    cfg = get_cfg()
    cfg.MODEL.META_ARCHITECTURE = "TinyOfTrainerTests"
    cfg.MODEL.DEVICE = "cpu"
    cfg.DATASETS.TRAIN = ("toy_of_trainer_tests",)
    cfg.DATASETS.TEST = ("toy_of_trainer_tests",)
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.SOLVER.IMS_PER_BATCH = 2
    cfg.SOLVER.MAX_ITER = 8
    cfg.SOLVER.STEPS = (5,)
    cfg.SOLVER.WARMUP_ITERS = 3
    cfg.SOLVER.BASE_LR = 0.05
    cfg.SOLVER.CHECKPOINT_PERIOD = 4  # an evaluation comes behind each checkpoint
    cfg.TEST.EVAL_PERIOD = 2
    cfg.OUTPUT_DIR = str(tmp_path)
    yield cfg
    MetadataCatalog.pop("toy_of_trainer_tests", None)


class Interrupt(hooks.HookBase):
    """What kill does: nothing more of this iteration."""

    def __init__(self, iteration):
        self.iteration = iteration

    def before_step(self):
        if self.trainer.iter == self.iteration:
            raise KeyboardInterrupt


class Losses(hooks.HookBase):
    def __init__(self):
        self.losses = {}

    def after_step(self):
        self.losses[self.trainer.iter] = self.trainer.storage.latest()["total_loss"][0]


def run(cfg, *, resume=False, stop_at=None):
    trainer = TinyTrainer(cfg)
    trainer.resume_or_load(resume=resume)
    recorder = Losses()
    trainer.register_hooks([recorder, Interrupt(stop_at)])
    if stop_at is None:
        trainer.train()
    else:
        with pytest.raises(KeyboardInterrupt):
            trainer.train()
    return trainer, recorder.losses


def bits(trainer):
    momenta = [state["momentum_buffer"] for state in trainer.optimizer.state.values()]
    momenta += trainer._ema.state_dict()["kept"].values() if trainer._ema else []
    return torch.cat(
        [tensor.detach().double().flatten() for tensor in [*trainer.model.state_dict().values(), *momenta]]
    )


def test_an_automatic_batch_is_found_once_and_kept_by_the_run(cfg, monkeypatch):
    class Free:
        available = 26 << 30  # bytes

    monkeypatch.setattr("psutil.virtual_memory", lambda: Free)
    cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.REFERENCE_IMS_PER_BATCH = "auto", 6
    trainer, _ = run(cfg, stop_at=10)
    assert (trainer.cfg.SOLVER.IMS_PER_BATCH, trainer.max_iter) == (3, 16)
    assert len(next(iter(trainer.data_loader))) == 3
    resumed, _ = run(cfg, resume=True)
    assert resumed.start_iter == 8
    Free.available = 18 << 30
    with pytest.raises(BadValue, match="set SOLVER.IMS_PER_BATCH 3"):
        run(cfg, resume=True)
    assert with_batch_of_run(cfg).SOLVER.IMS_PER_BATCH == 3  # as the tools do


@pytest.mark.parametrize(
    ("seed", "workers", "precise_bn", "accumulate", "ema"),
    [(7, 0, False, 1, True), (-1, 0, True, 3, False), (-1, 2, False, 1, False)],
)
def test_an_interrupted_run_ends_as_the_unbroken_one(cfg, seed, workers, precise_bn, accumulate, ema):
    cfg.SEED = seed
    cfg.SOLVER.EMA.ENABLED = ema
    cfg.SOLVER.ACCUMULATE = accumulate
    cfg.DATALOADER.NUM_WORKERS = workers
    cfg.TEST.PRECISE_BN.ENABLED = precise_bn
    cfg.TEST.PRECISE_BN.NUM_ITER = 2
    output = cfg.OUTPUT_DIR
    seed_all_rng(3)
    cfg.OUTPUT_DIR = os.path.join(output, "unbroken")
    unbroken, losses = run(cfg)

    seed_all_rng(3)
    cfg.OUTPUT_DIR = os.path.join(output, "interrupted")
    _, first = run(cfg, stop_at=6)
    seed_all_rng(99)
    resumed, second = run(cfg, resume=True)
    assert (resumed.start_iter, list(second)) == (4, [4, 5, 6, 7])
    assert [{**first, **second}[i] for i in range(8)] == [losses[i] for i in range(8)]
    assert torch.equal(bits(resumed), bits(unbroken))
    assert resumed.scheduler.last_epoch == unbroken.scheduler.last_epoch == 8
    assert resumed._last_eval_results == unbroken._last_eval_results

    seed_all_rng(99)  # the same does not come about by itself
    other, _ = run(cfg)
    assert seed >= 0 or not torch.equal(bits(other), bits(unbroken))


def test_output_folder_and_results(cfg):
    trainer = TinyTrainer(cfg)
    trainer.resume_or_load(resume=False)
    results = trainer.train()
    assert results["toy"]["count"] == 10
    names = set(os.listdir(cfg.OUTPUT_DIR))
    assert {"metrics.json", "last_checkpoint", "model_0000003.pth", "model_0000007.pth", "model_final.pth"} <= names
    assert any(name.startswith("events.out.tfevents") for name in names)
    with open(os.path.join(cfg.OUTPUT_DIR, "metrics.json")) as file:
        last = json.loads(file.readlines()[-1])
    assert last["toy/mean"] == results["toy"]["mean"]
    content = torch.load(os.path.join(cfg.OUTPUT_DIR, "model_final.pth"), weights_only=True)
    assert content["iteration"] == content["trainer"]["iteration"] == 7
    assert {"iteration", "hooks", "_trainer", "random_state", "data"} <= content["trainer"].keys()
    assert "TinyOfTrainerTests" in content["run"]["config"]


def test_a_finished_run_resumed_only_evaluates(cfg):
    run(cfg)
    trainer, losses = run(cfg, resume=True)
    assert trainer.start_iter == 8 and losses == {}
    assert trainer._last_eval_results["toy"]["count"] == 10


def test_resume_without_a_checkpoint_starts_at_zero(cfg):
    trainer, losses = run(cfg, resume=True)
    assert trainer.start_iter == 0 and len(losses) == 8


def test_weights_alone_start_at_zero(cfg):
    trainer, _ = run(cfg)
    cfg.MODEL.WEIGHTS = os.path.join(cfg.OUTPUT_DIR, "model_final.pth")
    again = TinyTrainer(cfg)
    again.resume_or_load(resume=False)
    assert again.start_iter == 0 and again.scheduler.last_epoch == 0
    assert torch.equal(again.model.layers[0].weight, trainer.model.layers[0].weight)


def test_parts_can_be_replaced(cfg):
    trainer = TinyTrainer(cfg)
    assert trainer.model is trainer._trainer.model
    trainer.model = TinyOfTrainerTests(cfg)
    assert trainer.model is trainer._trainer.model
    trainer.data_loader = [1]
    trainer.optimizer = torch.optim.SGD(trainer.model.parameters(), lr=1)
    assert trainer._trainer.data_loader == [1] and trainer._trainer.optimizer is trainer.optimizer


def test_hooks_see_the_backward_pass(cfg):
    trainer, norms = TinyTrainer(cfg), []
    hook = hooks.CallbackHook(after_backward=lambda t: norms.append(t.model.layers[0].weight.grad.norm().item()))
    trainer.register_hooks([hook])
    trainer.train()
    assert len(norms) == 8 and max(norms) > 0


def test_amp(cfg):
    cfg.SOLVER.AMP.ENABLED = True
    trainer, losses = run(cfg)
    assert type(trainer._trainer).__name__ == "AMPTrainer" and len(losses) == 8


def test_test_with_evaluators_and_several_data_sets(cfg):
    cfg.DATASETS.TEST = ("toy_of_trainer_tests", "another")
    model = TinyOfTrainerTests(cfg)
    results = TinyTrainer.test(cfg, model, [Mean(), Mean()])
    assert list(results) == ["toy_of_trainer_tests", "another"] and results["another"]["toy"]["count"] == 10
    with pytest.raises(AssertionError, match="2 data sets, 1 evaluators"):
        TinyTrainer.test(cfg, model, Mean())
    cfg.DATASETS.TEST = ()
    assert TinyTrainer.test(cfg, model) == {}


def test_a_data_set_of_other_classes_stops_before_the_first_iteration(cfg):
    MetadataCatalog.get("toy_of_trainer_tests").thing_classes = ["a", "b"]
    cfg.MODEL.META_ARCHITECTURE = "GeneralizedRCNN"
    with pytest.raises(UserError, match="NUM_CLASSES is 80.*2 classes"):
        TinyTrainer(cfg)


def test_expected_results_are_verified(cfg):
    cfg.SOLVER.MAX_ITER = 1
    cfg.TEST.EXPECTED_RESULTS = [["toy", "count", 10, 0.5]]
    run(cfg)
    cfg.TEST.EXPECTED_RESULTS = [["toy", "count", 20, 0.5]]
    with pytest.raises((SystemExit, UserError)):
        TinyTrainer(cfg).train()


def test_scaling_is_part_of_the_trainer(cfg):
    cfg.SOLVER.REFERENCE_WORLD_SIZE = 2
    trainer = TinyTrainer(cfg)
    assert (trainer.cfg.SOLVER.IMS_PER_BATCH, trainer.max_iter) == (1, 16)
    assert cfg.SOLVER.MAX_ITER == 8
    cfg.SOLVER.IMS_PER_BATCH = 3
    with pytest.raises(BadValue):
        DefaultTrainer.auto_scale_workers(cfg, 1)


def test_evaluation_in_mixed_precision(cfg):
    cfg.TEST.AMP.ENABLED = True
    model = TinyOfTrainerTests(cfg)
    seen = []
    model.layers[0].register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    TinyTrainer.test(cfg, model)
    assert set(seen) == {torch.bfloat16} and model.training


class Seen(hooks.HookBase):
    """Images of each batch, told by the model."""

    def __init__(self, model):
        self.images = []
        model.register_forward_pre_hook(lambda _, inputs: self.images.append([x["image_id"] for x in inputs[0]]))


def test_a_resumed_run_may_take_more_batches_an_iteration(cfg):
    cfg.SEED, cfg.TEST.EVAL_PERIOD, cfg.SOLVER.CHECKPOINT_PERIOD = 5, 0, 2
    cfg.DATASETS.TEST = ()
    output, images = cfg.OUTPUT_DIR, {}
    for name, parts in (("one", [(1, 8)]), ("changed", [(1, 2), (3, 4), (2, 5)])):
        cfg.OUTPUT_DIR, images[name] = os.path.join(output, name), []
        for cfg.SOLVER.ACCUMULATE, cfg.SOLVER.MAX_ITER in parts:
            trainer = TinyTrainer(cfg)
            seen = Seen(trainer.model)
            trainer.resume_or_load(resume=True)
            trainer.train()
            images[name] += seen.images
    assert len(images["changed"]) == 10 and images["changed"][:8] == images["one"]


def test_averaged_weights_are_evaluated_and_saved(cfg):
    cfg.SEED, cfg.SOLVER.EMA.ENABLED, cfg.SOLVER.EMA.DECAY = 5, True, 0.3
    cfg.TEST.EVAL_PERIOD = 4
    trainer = TinyTrainer(cfg)
    trainer.resume_or_load(resume=False)
    name, weights, tested = "layers.0.weight", [], []
    of_last_step = hooks.CallbackHook(after_step=lambda t: weights.append(t.model.state_dict()[name].clone()))
    weights.append(trainer.model.state_dict()[name].clone())
    trainer.register_hooks([of_last_step])
    trainer.model.register_forward_pre_hook(
        lambda model, _: None if model.training else tested.append(model.state_dict()[name].clone())
    )
    trainer.train()
    averages = [weights[0]]
    for step, new in enumerate(weights[1:]):
        decay = min(0.3, (1 + step) / (10 + step))
        averages.append(decay * averages[-1] + (1 - decay) * new)
    assert torch.allclose(tested[0], averages[4], rtol=1e-5) and torch.allclose(tested[-1], averages[8], rtol=1e-5)
    assert torch.equal(trainer.model.state_dict()[name], tested[-1]) and not torch.equal(tested[-1], weights[-1])

    for file, average, last in (("model_0000003", averages[4], weights[4]), ("model_final", averages[8], weights[8])):
        content = torch.load(os.path.join(cfg.OUTPUT_DIR, f"{file}.pth"), weights_only=True)
        assert torch.allclose(content["model"][name], average, rtol=1e-5)
        hook = content["trainer"]["hooks"]["EMAHook"]
        assert hook["averages_in_model"] and torch.equal(hook["kept"][name], last)
    assert content["trainer"]["hooks"]["EMAHook"]["num_updates"] == 8


def test_averages_of_another_model_or_beside_exact_statistics(cfg):
    cfg.SOLVER.EMA.ENABLED = True
    run(cfg)
    trainer = TinyTrainer(cfg)
    trainer.model.layers[0].weight.requires_grad = False
    with pytest.raises(BadValue, match="averaged weights are of another model"):
        trainer.resume_or_load(resume=True)
    cfg.TEST.PRECISE_BN.ENABLED = True
    with pytest.raises(BadValue, match="set TEST.PRECISE_BN.ENABLED False"):
        TinyTrainer(cfg)
    cfg.TEST.PRECISE_BN.ENABLED, cfg.SOLVER.EMA.DECAY = False, 1.0
    with pytest.raises(BadValue, match="DECAY is 1.0"):
        TinyTrainer(cfg)
