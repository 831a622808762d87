"""Files in each published format, with the real names and shapes, land in the models of the zoo to the last tensor.

Each tensor holds a number of its own, and in each row (index of the first dimension) a little more, so that a tensor
in a wrong place or with its classes in a wrong order is seen. Models start as NaN: what is not loaded stays NaN.
"""

import json
import logging
import pickle
from pathlib import Path

import pytest
import torch

from det2lite import model_zoo
from det2lite.checkpoint import DetectionCheckpointer
from det2lite.modeling import META_ARCH_REGISTRY

GOLDEN = Path(__file__).parents[1] / "parity" / "reference" / "golden"
BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
BRANCHES = {"branch1": "shortcut", "branch2a": "conv1", "branch2b": "conv2", "branch2c": "conv3"}
LAST_BLOCK = {2: 2, 3: 3, 4: 5, 5: 2}  # of a ResNet-50, in the names of FPN's blobs


def model_of(config: str) -> torch.nn.Module:
    """The model of a zoo config, every value NaN."""
    cfg = model_zoo.get_config(f"{config}.yaml")
    with torch.device("meta"):
        model = META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE)(cfg)
    model.to_empty(device="cpu")
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            tensor.fill_(float("nan"))
    return model


def numbered(shapes: dict[str, tuple]) -> dict[str, torch.Tensor]:
    """Tensors by name: 1, 2, 3, ... in the order of the names, and 1/4096 more in each row. They take little memory."""
    tensors = {}
    for number, (name, shape) in enumerate(shapes.items(), 1):
        rows = number + torch.arange(shape[0], dtype=torch.float32) / 4096
        tensors[name] = rows.view(-1, *[1] * (len(shape) - 1)).expand(shape)
    return tensors


def as_arrays(content: dict) -> dict:
    """What is written with pickle; torch.save keeps what tensors share, so that its files are small."""
    convert = {dict: as_arrays, torch.Tensor: torch.Tensor.numpy}
    return {key: convert.get(type(value), lambda v: v)(value) for key, value in content.items()}


@pytest.fixture
def write(tmp_path):
    """Writes a `.pkl` and returns its path; the files are large, and not kept."""
    path = tmp_path / "model_final.pkl"

    def dump(content: dict) -> str:
        with open(path, "wb") as file:
            pickle.dump(as_arrays(content), file, protocol=2)
        return str(path)

    yield dump
    path.unlink(missing_ok=True)


@pytest.fixture
def write_small(tmp_path):
    def dump(content: dict) -> str:
        torch.save(content, tmp_path / "model_final.pkl")
        return str(tmp_path / "model_final.pkl")

    return dump


def check_landed(model: torch.nn.Module, wanted: dict[str, torch.Tensor]) -> set[str]:
    """Every tensor is where it should be, and complete. Returns the names that got nothing."""
    state = model.state_dict()
    for name, tensor in wanted.items():
        assert torch.equal(state[name], tensor), name
    return {name for name in state if name not in wanted}


def reports(caplog) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


# Caffe2: blob -> (our name, shape of the blob)


def resnet(depth: int = 50, *, norm: str = "bn", groups: int = 1, width: int = 64, place=lambda name: name) -> dict:
    """The blobs of a ResNet or ResNeXt: its channels are those of the blobs of MSRA's and FAIR's files."""
    blobs = {}

    def conv(blob: str, norm_blob: str, name: str, shape: tuple) -> None:
        blobs[f"{blob}_w"] = (place(f"{name}.weight"), shape)
        blobs[f"{norm_blob}_{norm}_s"] = (place(f"{name}.norm.weight"), shape[:1])
        blobs[f"{norm_blob}_{norm}_b"] = (place(f"{name}.norm.bias"), shape[:1])

    conv("conv1", "conv1" if norm == "gn" else "res_conv1", "stem.conv1", (64, 3, 7, 7))
    channels = 64
    for stage, blocks in zip((2, 3, 4, 5), BLOCKS[depth], strict=True):
        inner, out = groups * width * 2 ** (stage - 2), 256 * 2 ** (stage - 2)
        for block in range(blocks):
            shapes = {
                "branch2a": (inner, channels, 1, 1),
                "branch2b": (inner, inner // groups, 3, 3),
                "branch2c": (out, inner, 1, 1),
            }
            if block == 0:
                shapes["branch1"] = (out, channels, 1, 1)
            for branch, shape in shapes.items():
                blob = f"res{stage}_{block}_{branch}"
                conv(blob, blob, f"res{stage}.{block}.{BRANCHES[branch]}", shape)
            channels = out
    return blobs


def below_fpn(name: str) -> str:
    return f"backbone.bottom_up.{name}"


def c4(name: str) -> str:
    return f"roi_heads.{name}" if name.startswith("res5.") else f"backbone.{name}"


def layer(blob: str, name: str, shape: tuple, outputs: int | None = None, norm: str = "") -> dict:
    """Weight and bias of a layer, or weight and norm. outputs: where they are not the first dimension."""
    outputs = outputs or shape[0]
    parts = {f"_{norm}_s": "norm.weight", f"_{norm}_b": "norm.bias"} if norm else {"_b": "bias"}
    vectors = {f"{blob}{ending}": (f"{name}.{part}", (outputs,)) for ending, part in parts.items()}
    return {f"{blob}_w": (f"{name}.weight", shape), **vectors}


def fpn(stages=(2, 3, 4, 5), norm: str = "") -> dict:
    blobs = {}
    for stage in stages:
        source = f"res{stage}_{LAST_BLOCK[stage]}_sum"
        lateral = f"fpn_inner_{source}" + ("" if stage == 5 else "_lateral")
        blobs |= layer(lateral, f"backbone.fpn_lateral{stage}", (256, 256 * 2 ** (stage - 2), 1, 1), norm=norm)
        blobs |= layer(f"fpn_{source}", f"backbone.fpn_output{stage}", (256, 256, 3, 3), norm=norm)
    return blobs


def rpn(channels: int, anchors: int, level: str = "") -> dict:
    head = "proposal_generator.rpn_head"
    return {
        **layer(f"conv_rpn{level}", f"{head}.conv", (channels, channels, 3, 3)),
        **layer(f"rpn_cls_logits{level}", f"{head}.objectness_logits", (anchors, channels, 1, 1)),
        **layer(f"rpn_bbox_pred{level}", f"{head}.anchor_deltas", (4 * anchors, channels, 1, 1)),
    }


def box_predictor(classes: int, channels: int) -> dict:
    """With a background class at the front, and boxes for it too."""
    return {
        **layer("cls_score", "roi_heads.box_predictor.cls_score", (classes + 1, channels)),
        **layer("bbox_pred", "roi_heads.box_predictor.bbox_pred", (4 * (classes + 1), channels)),
    }


def box_head() -> dict:
    return {
        **layer("fc6", "roi_heads.box_head.fc1", (1024, 256 * 7 * 7)),
        **layer("fc7", "roi_heads.box_head.fc2", (1024, 1024)),
    }


def mask_head(convs: str = "_[mask]_fcn", norm: str = "", channels: int = 256) -> dict:
    blobs = {}
    for i in (1, 2, 3, 4) if convs else ():
        blobs |= layer(f"{convs}{i}", f"roi_heads.mask_head.mask_fcn{i}", (256, 256, 3, 3), norm=norm)
    blobs |= layer("conv5_mask", "roi_heads.mask_head.deconv", (channels, 256, 2, 2), 256)
    return blobs | layer("mask_fcn_logits", "roi_heads.mask_head.predictor", (81, 256, 1, 1))


def keypoint_head() -> dict:
    blobs = {}
    for i in range(1, 9):
        shape = (512, 256 if i == 1 else 512, 3, 3)
        blobs |= layer(f"conv_fcn{i}", f"roi_heads.keypoint_head.conv_fcn{i}", shape)
    return blobs | layer("kps_score_lowres", "roi_heads.keypoint_head.score_lowres", (512, 17, 4, 4), 17)


def retinanet() -> dict:
    blobs = layer("fpn_6", "backbone.top_block.p6", (256, 2048, 3, 3))
    blobs |= layer("fpn_7", "backbone.top_block.p7", (256, 256, 3, 3))
    for kind in ("cls", "bbox"):
        for i in range(4):
            blobs |= layer(f"retnet_{kind}_conv_n{i}_fpn3", f"head.{kind}_subnet.{2 * i}", (256, 256, 3, 3))
    blobs |= layer("retnet_cls_pred_fpn3", "head.cls_score", (80 * 9, 256, 3, 3))
    return blobs | layer("retnet_bbox_pred_fpn3", "head.bbox_pred", (4 * 9, 256, 3, 3))


def group_norm_box_head() -> dict:
    blobs = layer("fc6", "roi_heads.box_head.fc1", (1024, 256 * 7 * 7))
    for i in (1, 2, 3, 4):
        blobs |= layer(f"head_conv{i}", f"roi_heads.box_head.conv{i}", (256, 256, 3, 3), norm="gn")
    return blobs


FPN_BODY = {**resnet(place=below_fpn), **fpn()}
DETECTRON1 = {
    "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x": {
        **FPN_BODY, **rpn(256, 3, "_fpn2"), **box_head(), **box_predictor(80, 1024), **mask_head(),
    },
    "COCO-InstanceSegmentation/mask_rcnn_R_50_C4_1x": {
        **resnet(place=c4), **rpn(1024, 15), **box_predictor(80, 2048), **mask_head("", channels=2048),
    },
    "COCO-Detection/fast_rcnn_R_50_FPN_1x": {**FPN_BODY, **box_head(), **box_predictor(80, 1024)},
    "COCO-Detection/rpn_R_50_C4_1x": {**resnet(place=lambda n: f"backbone.{n}"), **rpn(1024, 15)},
    "COCO-Detection/rpn_R_50_FPN_1x": {**FPN_BODY, **rpn(256, 3, "_fpn2")},
    "COCO-Detection/retinanet_R_50_FPN_1x": {**resnet(place=below_fpn), **fpn((3, 4, 5)), **retinanet()},
    "COCO-Keypoints/keypoint_rcnn_R_50_FPN_1x": {
        **FPN_BODY, **rpn(256, 3, "_fpn2"), **box_head(), **box_predictor(1, 1024), **keypoint_head(),
    },
    "Misc/mask_rcnn_R_50_FPN_3x_gn": {
        **resnet(norm="gn", place=below_fpn), **fpn(norm="gn"), **rpn(256, 3, "_fpn2"), **group_norm_box_head(),
        **box_predictor(80, 1024), **mask_head("_mask_fcn", "gn"),
    },
}  # fmt: skip


def classes_moved(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """The background, first in Caffe2, is last among scores and has neither box nor mask."""
    if "box_predictor.cls_score" in name:
        return torch.cat([tensor[1:], tensor[:1]])
    if "box_predictor.bbox_pred" in name:
        return tensor[4:]
    return tensor[1:] if "mask_head.predictor" in name else tensor


def frozen_statistics(names: list[str]) -> set[str]:
    return {n.replace(".weight", f".{s}") for n in names if ".norm.w" in n for s in ("running_mean", "running_var")}


@pytest.mark.parametrize("config", DETECTRON1)
def test_detectron1_file(config, write, write_small, caplog):
    blobs = DETECTRON1[config]
    if config == "COCO-Detection/rpn_R_50_C4_1x":  # whose model ends with res4
        blobs = {blob: entry for blob, entry in blobs.items() if not blob.startswith("res5")}
    tensors = numbered({blob: shape for blob, (_, shape) in blobs.items()})
    momentum = {f"{blob}_momentum": torch.zeros(1) for blob in tensors}
    content = {
        "blobs": {**tensors, **momentum, "lr": torch.tensor(0.0002)},
        "cfg": "MODEL:\n  TYPE: generalized_rcnn\n",
    }
    model = model_of(config)
    is_pickled = config.endswith("mask_rcnn_R_50_FPN_1x")
    DetectionCheckpointer(model).load((write if is_pickled else write_small)(content))
    wanted = {name: classes_moved(name, tensors[blob]) for blob, (name, _) in blobs.items()}
    rest = check_landed(model, wanted)
    assert rest == (set() if config.endswith("_gn") else frozen_statistics([*wanted]))
    state = model.state_dict()
    for name in rest:  # folded into scale and shift by whoever wrote the file
        value = 0.0 if name.endswith("mean") else 1.0 - 1e-5
        assert torch.equal(state[name], torch.full_like(state[name], value)), name
    (table,) = reports(caplog)
    assert "missing" not in table.split("Missing")[0] and " ".join(table.split("\n")[3].split()[:2]) == "unexpected lr"


# ImageNet backbones: their classifier has no place in a detector


@pytest.mark.parametrize(
    "config, blobs, left",
    [
        ("COCO-Detection/faster_rcnn_R_50_FPN_1x", resnet(place=below_fpn), "{conv1_b, fc1000_b, fc1000_w}"),
        ("COCO-Detection/faster_rcnn_R_50_C4_1x", resnet(place=c4), "{conv1_b, fc1000_b, fc1000_w}"),
        ("COCO-Detection/faster_rcnn_R_101_FPN_3x", resnet(101, place=below_fpn), "{conv1_b, fc1000_b, fc1000_w}"),
        (
            "COCO-Detection/faster_rcnn_X_101_32x8d_FPN_3x",
            resnet(101, groups=32, width=8, place=below_fpn),
            "{pred_b, pred_w}",
        ),
    ],
)
def test_imagenet_backbone(config, blobs, left, write, write_small, caplog):
    tensors = numbered({blob: shape for blob, (_, shape) in blobs.items()})
    extra = {name: torch.zeros(1) for name in left.strip("{}").split(", ")}
    path = (write if config.endswith("R_50_FPN_1x") else write_small)({**tensors, **extra})
    model = model_of(config)
    DetectionCheckpointer(model).load(path)
    wanted = {name: tensors[blob] for blob, (name, _) in blobs.items()}
    rest = check_landed(model, wanted)
    assert {name for name in rest if ".res" in name or ".stem." in name} == frozen_statistics([*wanted])
    (table,) = reports(caplog)
    assert f"unexpected  {left}" in table and "bottom_up" not in table and "backbone.res" not in table


def test_what_the_backbones_expect():
    """MSRA's: BGR without scaling, stride in the 1x1 convolution. FAIR's ResNeXt: scaled, stride in the 3x3."""
    for name in ("faster_rcnn_R_50_FPN_1x", "faster_rcnn_R_101_FPN_3x", "retinanet_R_50_FPN_1x"):
        cfg = model_zoo.get_config(f"COCO-Detection/{name}.yaml")
        assert cfg.INPUT.FORMAT == "BGR" and cfg.MODEL.PIXEL_STD == [1, 1, 1] and cfg.MODEL.RESNETS.STRIDE_IN_1X1
    cfg = model_zoo.get_config("COCO-Detection/faster_rcnn_X_101_32x8d_FPN_3x.yaml")
    assert cfg.INPUT.FORMAT == "BGR" and cfg.MODEL.PIXEL_STD == [57.375, 57.12, 58.395]
    assert not cfg.MODEL.RESNETS.STRIDE_IN_1X1
    for config in (cfg, model_zoo.get_config("COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml")):
        assert config.MODEL.PIXEL_MEAN == [103.53, 116.28, 123.675]


# Detectron2: names are the model's own


@pytest.mark.parametrize(
    "config",
    [
        "COCO-InstanceSegmentation/mask_rcnn_R_50_C4_1x",
        "COCO-PanopticSegmentation/panoptic_fpn_R_50_1x",
        "Misc/cascade_mask_rcnn_R_50_FPN_1x",
        "Misc/mask_rcnn_R_50_FPN_1x_dconv_c3-c5",
        "Misc/semantic_R_50_FPN_1x",
        "COCO-Detection/retinanet_R_50_FPN_1x",
    ],
)
def test_detectron2_file(config, write, write_small, caplog):
    shapes = {name: tuple(s) for name, s in json.loads((GOLDEN / f"{config}.json").read_text())["state"].items()}
    tensors = numbered(shapes)
    content = {"model": tensors, "__author__": "Detectron2 Model Zoo"}
    if config.startswith("COCO-Detection"):  # files of that time also carried these
        content["model"] = {
            **tensors,
            "pixel_mean": torch.zeros(3, 1, 1),
            "anchor_generator.cell_anchors.0": torch.zeros(4),
        }
    model = model_of(config)
    path = (write if "panoptic" in config else write_small)(content)
    DetectionCheckpointer(model).load(path, strict=True)
    assert check_landed(model, tensors) == set() and reports(caplog) == []


def test_detectron2_file_without_prefixes(write, caplog):
    """As converted backbones are: names are matched from their ends."""
    wanted = {name: shape for name, shape in resnet(place=below_fpn).values()}
    tensors = numbered(wanted)
    below = {name.removeprefix("backbone.bottom_up."): array for name, array in tensors.items()}
    content = {"model": below, "__author__": "torchvision", "matching_heuristics": True}
    model = model_of("COCO-Detection/faster_rcnn_R_50_FPN_1x")
    DetectionCheckpointer(model).load(write(content))
    check_landed(model, tensors)
    (table,) = reports(caplog)
    assert "unexpected" not in table.split("unexpected ones")[0] and "bottom_up" not in table
