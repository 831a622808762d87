import logging
import runpy
import sys
from pathlib import Path

import pytest
import torch
import torchvision
import yaml

from det2lite import model_zoo
from det2lite.checkpoint import DetectionCheckpointer
from det2lite.checkpoint.conversion import TORCHVISION_SETTINGS, convert_torchvision
from det2lite.config import get_cfg
from det2lite.layers import ShapeSpec
from det2lite.modeling import build_backbone
from det2lite.utils.errors import BadValue, UserError

TOOL = Path(__file__).parents[2] / "tools" / "convert-torchvision-to-d2.py"


def detector_with(depth: int, groups: int = 1, width: int = 64) -> torch.nn.Module:
    """A ResNet with FPN below `backbone`, as in a detector, every value NaN."""
    cfg = get_cfg()
    cfg.merge_from_file(model_zoo.get_config_file("COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml"))
    resnets = cfg.MODEL.RESNETS
    resnets.DEPTH, resnets.NUM_GROUPS, resnets.WIDTH_PER_GROUP, resnets.STRIDE_IN_1X1 = depth, groups, width, False
    resnets.RES2_OUT_CHANNELS = 64 if depth < 50 else 256
    model = torch.nn.Module()
    with torch.device("meta"):
        model.backbone = build_backbone(cfg, ShapeSpec(channels=3))
    model.to_empty(device="cpu")
    for tensor in model.state_dict().values():
        tensor.fill_(float("nan"))
    return model


def source_of(name: str) -> torch.nn.Module:
    """A network of torchvision whose statistics are not those of a new one."""
    with torch.device("meta"):
        model = getattr(torchvision.models, name)()
    model.to_empty(device="cpu")
    for number, tensor in enumerate(model.state_dict().values(), 1):
        tensor.fill_(number)
    return model


def check_landed(model: torch.nn.Module, source: torch.nn.Module) -> None:
    """All of the source's convolutions and norms, found through its modules, are in the model."""
    state = model.state_dict()
    pairs = {"stem.conv1": (source.conv1, source.bn1)}
    for stage in (1, 2, 3, 4):
        for block, module in enumerate(getattr(source, f"layer{stage}")):
            place = f"res{stage + 1}.{block}"
            for i in (1, 2, 3) if hasattr(module, "conv3") else (1, 2):
                pairs[f"{place}.conv{i}"] = (getattr(module, f"conv{i}"), getattr(module, f"bn{i}"))
            if module.downsample is not None:
                pairs[f"{place}.shortcut"] = tuple(module.downsample)
    landed = set()
    for place, (conv, norm) in pairs.items():
        place = f"backbone.bottom_up.{place}"
        assert torch.equal(state[f"{place}.weight"], conv.weight), place
        landed.add(f"{place}.weight")
        for part in ("weight", "bias", "running_mean", "running_var"):
            assert torch.equal(state[f"{place}.norm.{part}"], getattr(norm, part)), place
            landed.add(f"{place}.norm.{part}")
    assert landed == {name for name in state if "bottom_up" in name}


@pytest.mark.parametrize(
    "name, depth, groups, width",
    [("resnet18", 18, 1, 64), ("resnet50", 50, 1, 64), ("resnext50_32x4d", 50, 32, 4)],
)
def test_torchvision_backbone(name, depth, groups, width, tmp_path, caplog):
    source = source_of(name)
    torch.save(source.state_dict(), tmp_path / "source.pth")
    names = convert_torchvision(tmp_path / "source.pth", tmp_path / "converted.pkl")
    assert len(names) == sum("num_batches" not in name for name in source.state_dict())
    for file in ("converted.pkl", "source.pth"):  # the one of torchvision loads as it is, too
        model = detector_with(depth, groups, width)
        caplog.clear()
        with caplog.at_level(logging.INFO):
            DetectionCheckpointer(model).load(str(tmp_path / file))
        check_landed(model, source)
        (table,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
        assert "unexpected  linear.{bias, weight}" in table or "unexpected  {linear.bias, linear.weight}" in table
        assert "bottom_up" not in table
        assert ("PIXEL_MEAN" in caplog.text) == (file == "source.pth")


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"model": s}, lambda s: {"state_dict": s, "epoch": 3}])
def test_wrapped_torchvision_state(wrap, tmp_path):
    source = source_of("resnet18")
    state = {f"module.{name}": value for name, value in source.state_dict().items()}
    torch.save(wrap(state), tmp_path / "source.pth")
    model = detector_with(18)
    DetectionCheckpointer(model).load(str(tmp_path / "source.pth"))
    check_landed(model, source)


def test_tool_prints_the_settings(tmp_path, monkeypatch, capsys):
    torch.save(source_of("resnet18").state_dict(), tmp_path / "r18.pth")
    target = str(tmp_path / "r18.pkl")
    for words in ([], ["--overwrite"]):
        monkeypatch.setattr(sys, "argv", [TOOL.name, str(tmp_path / "r18.pth"), target, *words])
        runpy.run_path(str(TOOL), run_name="__main__")
        assert f"wrote 102 tensors to {target}" in (printed := capsys.readouterr().out)
    cfg = get_cfg()
    cfg.merge_from_other_cfg(cfg.load_cfg(printed[printed.index("MODEL:") :]))
    assert cfg.MODEL.WEIGHTS == target and cfg.INPUT.FORMAT == "RGB" and not cfg.MODEL.RESNETS.STRIDE_IN_1X1
    assert yaml.safe_load(TORCHVISION_SETTINGS)["MODEL"]["PIXEL_STD"] == [58.395, 57.12, 57.375]
    monkeypatch.setattr(sys, "argv", [TOOL.name, str(tmp_path / "r18.pth"), target])
    with pytest.raises(SystemExit) as error:
        runpy.run_path(str(TOOL), run_name="__main__")
    assert error.value.code == 1 and capsys.readouterr().err.startswith(f"error: {target} is there already")


def test_what_cannot_be_converted(tmp_path):
    torch.save(torch.nn.Linear(1, 1).state_dict(), tmp_path / "a.pth")
    with pytest.raises(BadValue, match=r"a.pth is no ResNet or ResNeXt of torchvision: .* weight, bias"):
        convert_torchvision(tmp_path / "a.pth", tmp_path / "a.pkl")
    with pytest.raises(BadValue, match="must be named .pkl"):
        convert_torchvision(tmp_path / "a.pth", tmp_path / "b.pth")
    with pytest.raises(UserError, match="none.pth"):
        convert_torchvision(tmp_path / "none.pth", tmp_path / "b.pkl")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.pth"]


@pytest.mark.parametrize("kind, width", [("regnetx", 40), ("regnety", 64)])
def test_pycls_regnet(kind, width, tmp_path, caplog):
    """As pycls saves it: `model_state` with the names below the backbone, and a classifier."""
    cfg = model_zoo.get_config(f"new_baselines/mask_rcnn_{kind}_4gf_dds_FPN_100ep_LSJ.yaml")
    model = torch.nn.Module()
    with torch.device("meta"):
        model.backbone = build_backbone(cfg)
    state = {}
    for number, (name, tensor) in enumerate(model.backbone.bottom_up.state_dict().items(), 1):
        state[name] = torch.tensor(float(number)).to(tensor.dtype).expand(tensor.shape)
    assert {"stem.conv.weight", "s1.b1.proj.weight", "s1.b1.bn.weight", "s1.b1.f.a.weight"} <= set(state)
    assert ("s1.b1.f.se.f_ex.0.weight" in state) == (kind == "regnety")
    assert state["s4.b1.f.b.weight"].shape[1] == width
    torch.save({"epoch": 99, "model_state": {**state, "head.fc.weight": torch.zeros(1)}}, tmp_path / "model.pyth")
    model.to_empty(device="cpu")
    DetectionCheckpointer(model).load(str(tmp_path / "model.pyth"))
    for name, value in model.backbone.bottom_up.state_dict().items():
        assert torch.equal(value, state[name]), name
    (table,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert "unexpected  head.fc.weight" in table and "bottom_up" not in table
