import logging
import os
import pickle

import numpy as np
import pytest
import torch
import torch.distributed as dist
from fvcore.common.param_scheduler import LinearParamScheduler
from iopath.common.file_io import PathHandler
from iopath.common.file_io import PathManager as PathManagerBase
from torch import nn

from det2lite.checkpoint import CheckpointMismatch, DetectionCheckpointer
from det2lite.solver import LRMultiplier
from det2lite.utils import comm
from det2lite.utils.errors import BadValue, MissingFile, UserError


def model_of(shapes):
    """A module with these tensors, by name; running statistics are buffers."""
    root = nn.Module()
    for name, shape in shapes.items():
        *path, leaf = name.split(".")
        module = root
        for part in path:
            if part not in module._modules:
                module.add_module(part, nn.Module())
            module = module._modules[part]
        if leaf.startswith("running_"):
            module.register_buffer(leaf, torch.zeros(shape))
        else:
            module.register_parameter(leaf, nn.Parameter(torch.zeros(shape)))
    return root


def fill(model, value):
    with torch.no_grad():
        for tensor in model.state_dict().values():
            tensor.fill_(value)
    return model


def values(model):
    return {name: tensor.flatten()[0].item() for name, tensor in model.state_dict().items()}


def linear(value=0.0):
    return fill(nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1)), value)


def test_round_trip_with_optimizer_and_schedule(tmp_path):
    def run():
        model = linear(1.0)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.9)
        scheduler = LRMultiplier(optimizer, LinearParamScheduler(1, 0), 8)
        return model, optimizer, scheduler

    def train(model, optimizer, scheduler):
        optimizer.zero_grad()
        model(torch.ones(1, 2)).sum().backward()
        optimizer.step()
        scheduler.step()

    model, optimizer, scheduler = run()
    train(model, optimizer, scheduler)
    saver = DetectionCheckpointer(model, str(tmp_path / "new"), optimizer=optimizer, scheduler=scheduler)
    assert not saver.has_checkpoint()
    saver.save("model_0000000", iteration=0, note=np.float64(0.5))
    assert sorted(os.listdir(tmp_path / "new")) == ["last_checkpoint", "model_0000000.pth"]
    train(model, optimizer, scheduler)

    again = run()
    loader = DetectionCheckpointer(again[0], str(tmp_path / "new"), optimizer=again[1], scheduler=again[2])
    assert loader.resume_or_load("ignored.pth", strict=True) == {"iteration": 0, "note": 0.5}
    train(*again)
    assert values(again[0]) == values(model) and again[1].param_groups[0]["lr"] == 0.5 * 6 / 8


def test_without_resume_only_the_weights_are_loaded(tmp_path):
    model = linear(2.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    DetectionCheckpointer(model, str(tmp_path), optimizer=optimizer).save("a")
    fill(model, 0.0)
    optimizer.param_groups[0]["lr"] = 0.25
    loader = DetectionCheckpointer(model, str(tmp_path), optimizer=optimizer)
    rest = loader.resume_or_load(str(tmp_path / "a.pth"), resume=False)
    assert set(values(model).values()) == {2.0} and optimizer.param_groups[0]["lr"] == 0.25 and "optimizer" in rest


def test_no_path_keeps_the_model():
    model = linear(3.0)
    assert DetectionCheckpointer(model).load("") == {} and set(values(model).values()) == {3.0}
    assert DetectionCheckpointer(model).resume_or_load("") == {}


def test_nothing_is_written_without_folder_or_permission(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    DetectionCheckpointer(linear()).save("a")
    DetectionCheckpointer(linear(), str(tmp_path), save_to_disk=False).save("a")
    assert os.listdir(tmp_path) == []
    with pytest.raises(BadValue, match="folder"):
        DetectionCheckpointer(linear(), str(tmp_path)).save("a/b")


@pytest.mark.parametrize("broken", ["save", "replace"])
def test_a_save_that_fails_leaves_the_old_files_whole(broken, tmp_path, monkeypatch):
    checkpointer = DetectionCheckpointer(linear(1.0), str(tmp_path))
    checkpointer.save("a")

    def half_written(data, file):
        file.write(b"PK")
        raise KeyboardInterrupt

    def killed(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(*((torch, "save", half_written) if broken == "save" else (os, "replace", killed)))
    fill(checkpointer.model, 5.0)
    for name in ("a", "b"):
        with pytest.raises(KeyboardInterrupt):
            checkpointer.save(name)
    monkeypatch.undo()
    assert sorted(os.listdir(tmp_path)) == ["a.pth", "last_checkpoint"]
    model = linear()
    DetectionCheckpointer(model, str(tmp_path)).resume_or_load("")
    assert set(values(model).values()) == {1.0}


def test_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write .*OUTPUT_DIR") as error:
        DetectionCheckpointer(linear(), str(tmp_path / "file" / "sub")).save("a")
    assert isinstance(error.value, OSError)


def test_full_disk_behind_torch_save(tmp_path, monkeypatch):
    def full(data, file):
        try:
            raise OSError(28, "No space left on device")
        except OSError:
            raise RuntimeError("PytorchStreamWriter failed") from None

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(UserError, match="No space left on device"):
        DetectionCheckpointer(linear(), str(tmp_path)).save("a")


def test_missing_files_are_named(tmp_path):
    checkpointer = DetectionCheckpointer(linear(), str(tmp_path))
    with pytest.raises(MissingFile, match=r"none\.pth") as missing:
        checkpointer.load(str(tmp_path / "none.pth"))
    assert isinstance(missing.value, AssertionError)  # what fvcore raises
    checkpointer.tag_last_checkpoint("gone.pth")
    with pytest.raises(MissingFile, match=r"last_checkpoint names 'gone\.pth'"):
        checkpointer.resume_or_load("")
    with pytest.raises(BadValue, match="unknown option 'heuristics'"):
        checkpointer.load(str(tmp_path / "none.pth?heuristics=1"))


def test_mismatch_is_one_warning_and_an_error_when_strict(tmp_path, caplog):
    state = linear(4.0).state_dict()
    state["0.bias"] = torch.zeros(9)
    state["old.weight"] = torch.zeros(1)
    del state["1.bias"]
    torch.save({"model": state}, tmp_path / "a.pth")
    model = linear()
    DetectionCheckpointer(model).load(str(tmp_path / "a.pth"))
    assert values(model) == {"0.weight": 4.0, "0.bias": 0.0, "1.weight": 4.0, "1.bias": 0.0}
    (table,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert all(word in table for word in ("[9]", "[3]", "1.bias", "old.weight"))
    with pytest.raises(CheckpointMismatch, match=r"0\.bias.*1\.bias.*old\.weight") as error:
        DetectionCheckpointer(model).load(str(tmp_path / "a.pth"), strict=True)
    assert "\n" not in str(error.value)


def test_what_the_config_or_nobody_decides_is_not_reported(tmp_path, caplog):
    model = nn.Sequential(nn.BatchNorm2d(1))
    model.register_buffer("pixel_mean", torch.zeros(3), persistent=False)
    state = {name: tensor for name, tensor in model.state_dict().items() if "num_batches" not in name}
    state |= {
        "pixel_mean": torch.ones(3),
        "pixel_std": torch.ones(3),
        "rpn.anchor_generator.cell_anchors.0": state["0.bias"],
    }
    torch.save({"model": state}, tmp_path / "a.pth")
    caplog.set_level(logging.WARNING)
    DetectionCheckpointer(model).load(str(tmp_path / "a.pth"), strict=True)
    assert not caplog.records and model.pixel_mean.tolist() == [0, 0, 0]


def test_parameter_with_two_names_needs_only_one(tmp_path):
    model = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False))
    model[1].weight = model[0].weight
    torch.save({"model": {"1.weight": torch.full((1, 1), 6.0)}}, tmp_path / "a.pth")
    DetectionCheckpointer(model).load(str(tmp_path / "a.pth"), strict=True)
    assert model[0].weight.item() == 6.0


def test_state_of_another_optimizer(tmp_path):
    model = linear()
    DetectionCheckpointer(model, str(tmp_path), optimizer=torch.optim.SGD(model.parameters(), lr=1.0)).save("a")
    other = torch.optim.SGD([model[0].weight], lr=1.0)
    with pytest.raises(BadValue, match=r"a\.pth: its 'optimizer' does not fit"):
        DetectionCheckpointer(model, str(tmp_path), optimizer=other).resume_or_load("")


def test_wrapped_models_are_saved_and_loaded_bare(tmp_path):
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        for wrap in (nn.DataParallel, nn.parallel.DistributedDataParallel, torch.compile):
            DetectionCheckpointer(wrap(linear(7.0)), str(tmp_path)).save("a")
            assert set(torch.load(tmp_path / "a.pth", weights_only=True)["model"]) == set(values(linear()))
            model = linear()
            DetectionCheckpointer(wrap(model)).load(str(tmp_path / "a.pth"), strict=True)
            assert set(values(model).values()) == {7.0}
        wrapped = nn.parallel.DistributedDataParallel(linear())
        with pytest.raises(MissingFile, match=r"none\.pth"):
            DetectionCheckpointer(wrapped).load(str(tmp_path / "none.pth"))
    finally:
        dist.destroy_process_group()


def test_process_that_cannot_see_the_file_gets_it_from_the_main_one(tmp_path, monkeypatch, caplog):
    """The second of two processes: what `all_gather` brings from the first is played here."""
    model = linear()
    checkpointer = DetectionCheckpointer(model)
    checkpointer._is_distributed = True
    from_main = [None, {"model": linear(9.0).state_dict(), "iteration": 4}]
    monkeypatch.setattr(comm, "all_gather", lambda data: [from_main.pop(0), data])
    monkeypatch.setattr(comm, "is_main_process", lambda: False)
    assert checkpointer.load(str(tmp_path / "none.pth"), strict=True) == {"iteration": 4}
    assert set(values(model).values()) == {9.0} and "Not every process" in caplog.text
    monkeypatch.setattr(comm, "all_gather", lambda data: ["x.pth is broken", None])
    DetectionCheckpointer(linear(), str(tmp_path), save_to_disk=True).save("a")
    with pytest.raises(UserError, match="x.pth is broken"):
        checkpointer.load(str(tmp_path / "a.pth"))


def test_matching_asked_for_in_the_path(tmp_path):
    model = model_of({"block.layer1.weight": (2,), "layer2.weight": (2,), "res.layer2.weight": (2,)})
    state = {"layer1.weight": 1.0, "layer2.weight": 2.0, "res.layer2.weight": 3.0}
    torch.save({"model": {name: torch.full((2,), value) for name, value in state.items()}}, tmp_path / "a.pth")
    checkpointer = DetectionCheckpointer(model)
    checkpointer.load(str(tmp_path / "a.pth"))
    assert list(values(model).values()) == [0, 2, 3]
    checkpointer.load(str(tmp_path / "a.pth?matching_heuristics=True"), strict=True)
    assert list(values(model).values()) == [1, 2, 3]


def test_path_manager_of_the_caller(tmp_path):
    class Handler(PathHandler):
        def _get_supported_prefixes(self):
            return ["test_files://"]

        def _get_local_path(self, path, force=False, **kwargs):
            return str(tmp_path / path.removeprefix("test_files://"))

    DetectionCheckpointer(linear(8.0), str(tmp_path)).save("a")
    model = linear()
    checkpointer = DetectionCheckpointer(model)
    checkpointer.path_manager = PathManagerBase()
    checkpointer.path_manager.register_handler(Handler())
    checkpointer.load("test_files://a.pth?matching_heuristics=True", strict=True)
    assert set(values(model).values()) == {8.0}


def test_a_subclass_may_read_its_own_format(tmp_path):
    class Csv(DetectionCheckpointer):
        def _load_file(self, filename):
            return {"model": {"weight": torch.tensor([float(v) for v in open(filename).read().split(",")])}}

    (tmp_path / "a.csv").write_text("1,2")
    model = model_of({"weight": (2,)})
    Csv(model).load(str(tmp_path / "a.csv"), strict=True)
    assert model.weight.tolist() == [1, 2]


def test_detectron1_mask_rcnn_classes(tmp_path):
    blobs = {
        "cls_score_b": [9.0, 1.0, 2.0],
        "bbox_pred_b": [9.0] * 4 + [1.0] * 4 + [2.0] * 4,
        "mask_fcn_logits_b": [9, 1, 2],
    }
    with open(tmp_path / "x.pkl", "wb") as file:
        pickle.dump({"blobs": {name: np.asarray(value, "float32") for name, value in blobs.items()}}, file)
    heads = {"box_predictor.cls_score": 3, "box_predictor.bbox_pred": 8, "mask_head.predictor": 2}
    model = model_of({f"roi_heads.{name}.bias": (size,) for name, size in heads.items()})
    DetectionCheckpointer(model).load(str(tmp_path / "x.pkl"), strict=True)
    assert [t.tolist() for t in model.state_dict().values()] == [[1, 2, 9], [1] * 4 + [2] * 4, [1, 2]]
