"""Runs that Detectron2 began go on here: its checkpoints hold its own keys, and none of ours."""

import pytest
import torch
from torch import nn

from det2lite.checkpoint import DetectionCheckpointer
from det2lite.config import get_cfg
from det2lite.engine import DefaultTrainer
from det2lite.modeling import META_ARCH_REGISTRY
from det2lite.solver import build_lr_scheduler, build_optimizer
from det2lite.utils.errors import BadValue

BATCH = torch.tensor([[1.0, 2.0], [0.5, -1.0], [3.0, 0.25]])


class PlainOfResumeTests(nn.Module):
    """Learns the same from the same batch each time, with a norm, whose parameters form a group of their own."""

    def __init__(self, cfg):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))

    def forward(self, batch):
        return {"loss": (self.layers(BATCH) - 1).square().mean()}


class Trainer(DefaultTrainer):
    @classmethod
    def build_train_loader(cls, cfg):
        return [None] * 100

    def build_writers(self):
        return []


@pytest.fixture
def cfg(tmp_path):
    if "PlainOfResumeTests" not in META_ARCH_REGISTRY:
        META_ARCH_REGISTRY.register(PlainOfResumeTests)
    cfg = get_cfg()
    cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.DEVICE, cfg.MODEL.WEIGHTS = "PlainOfResumeTests", "cpu", ""
    cfg.SOLVER.BASE_LR, cfg.SOLVER.MAX_ITER, cfg.SOLVER.STEPS, cfg.SOLVER.WARMUP_ITERS = 0.05, 8, (6,), 2
    cfg.DATASETS.TRAIN = cfg.DATASETS.TEST = ()
    cfg.OUTPUT_DIR = str(tmp_path)
    return cfg


def steps(cfg, count):
    """Model, optimizer and schedule after `count` iterations of a loop written out."""
    model = PlainOfResumeTests(cfg)
    optimizer = build_optimizer(cfg, model)
    scheduler = build_lr_scheduler(cfg, optimizer)
    for _ in range(count):
        optimizer.zero_grad()
        model(None)["loss"].backward()
        optimizer.step()
        scheduler.step()
    return model, optimizer, scheduler


KEYS_OF_SGD = ("lr", "momentum", "dampening", "weight_decay", "nesterov", "initial_lr", "params")


def detectron2_state(cfg, count, layout):
    """What Detectron2 writes after `count` iterations, with PyTorch 1.8, whose groups have fewer settings."""
    model, optimizer, scheduler = steps(cfg, count)
    state = optimizer.state_dict()
    groups = [{key: group[key] for key in KEYS_OF_SGD} for group in state["param_groups"]]
    assert [len(group["params"]) for group in groups] == [4, 2] and groups[1]["weight_decay"] == 0.0
    assert state["state"][0]["momentum_buffer"].abs().sum() > 0
    optimizer = {"state": {i: {"momentum_buffer": s["momentum_buffer"]} for i, s in state["state"].items()},
                 "param_groups": groups}  # fmt: skip
    scheduler = {"base_lrs": [cfg.SOLVER.BASE_LR] * 2, "last_epoch": count}
    iteration = count - 1
    if layout == "DefaultTrainer":
        inner = {"iteration": iteration, "optimizer": optimizer}
        trainer = {"iteration": iteration, "hooks": {"LRScheduler": scheduler}, "_trainer": inner}
        return {"model": model.state_dict(), "trainer": trainer, "iteration": iteration}
    return {"model": model.state_dict(), "optimizer": optimizer, "scheduler": scheduler, "iteration": iteration}


@pytest.mark.parametrize("layout", ["DefaultTrainer", "plain loop"])
def test_the_run_goes_on(layout, cfg, tmp_path):
    torch.save(detectron2_state(cfg, 4, layout), tmp_path / "model_0000003.pth")
    (tmp_path / "last_checkpoint").write_text("model_0000003.pth")
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=True)
    assert trainer.start_iter == 4
    trainer.train()
    unbroken, optimizer, scheduler = steps(cfg, 8)
    assert trainer.scheduler.last_epoch == scheduler.last_epoch == 8
    assert trainer.optimizer.param_groups[0]["lr"] == optimizer.param_groups[0]["lr"] == pytest.approx(0.005)
    for name, value in unbroken.state_dict().items():
        assert torch.equal(trainer.model.state_dict()[name], value), name
    for mine, other in zip(trainer.optimizer.state.values(), optimizer.state.values(), strict=True):
        assert torch.equal(mine["momentum_buffer"], other["momentum_buffer"])


def test_a_finished_run_is_not_trained_further(cfg, tmp_path):
    torch.save(detectron2_state(cfg, 8, "DefaultTrainer"), tmp_path / "model_final.pth")
    (tmp_path / "last_checkpoint").write_text("model_final.pth")
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=True)
    trainer.train()
    assert trainer.start_iter == 8 == trainer.iter
    assert torch.equal(trainer.model.layers[0].weight, steps(cfg, 8)[0].layers[0].weight)


def test_optimizer_of_another_model(cfg, tmp_path):
    state = detectron2_state(cfg, 4, "plain loop")
    del state["optimizer"]["param_groups"][1]
    torch.save(state, tmp_path / "model_0000003.pth")
    (tmp_path / "last_checkpoint").write_text("model_0000003.pth")
    with pytest.raises(BadValue, match="its 'optimizer' does not fit this run"):
        Trainer(cfg).resume_or_load(resume=True)


def test_the_checkpointer_as_it_is_used(cfg, tmp_path):
    """The calls that projects make, on files of Detectron2."""
    state = detectron2_state(cfg, 4, "plain loop")
    torch.save(state, tmp_path / "model_final.pth")
    model, optimizer, scheduler = steps(cfg, 0)
    checkpointer = DetectionCheckpointer(model, str(tmp_path), optimizer=optimizer)
    checkpointer.add_checkpointable("scheduler", scheduler)
    with pytest.raises(KeyError):
        checkpointer.add_checkpointable("scheduler", scheduler)
    assert not checkpointer.has_checkpoint() and checkpointer.get_checkpoint_file() == ""
    checkpointer.tag_last_checkpoint("model_final.pth")
    assert checkpointer.has_checkpoint() and checkpointer.get_checkpoint_file() == str(tmp_path / "model_final.pth")
    assert checkpointer.get_all_checkpoint_files() == [str(tmp_path / "model_final.pth")]

    rest = checkpointer.load(str(tmp_path / "model_final.pth"), checkpointables=[])
    assert rest["iteration"] == 3 and {"optimizer", "scheduler"} <= set(rest) and not optimizer.state
    start_iter = checkpointer.resume_or_load("elsewhere.pth", resume=True).get("iteration", -1) + 1
    assert start_iter == 4 and scheduler.last_epoch == 4 and len(optimizer.state) == 6
    assert torch.equal(model.layers[0].weight, state["model"]["layers.0.weight"])
    assert checkpointer.resume_or_load(str(tmp_path / "model_final.pth"), resume=False)["iteration"] == 3
