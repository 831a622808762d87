"""Small detectors whose weights give many detections, and pictures of several sizes."""

import functools
from pathlib import Path

import cv2
import pytest
import torch

from det2lite import model_zoo
from det2lite.modeling import build_model

PICTURES = Path(__file__).parents[1] / "parity" / "inputs"
SMALL = {
    "MODEL.DEVICE": "cpu",
    "MODEL.PIXEL_STD": [57.0, 57.0, 57.0],  # with values around 1 nothing saturates
    "MODEL.FPN.OUT_CHANNELS": 64,
    "MODEL.RESNETS.WIDTH_PER_GROUP": 8,
    "MODEL.RESNETS.STEM_OUT_CHANNELS": 8,
    "MODEL.RESNETS.RES2_OUT_CHANNELS": 16,
    "MODEL.RPN.PRE_NMS_TOPK_TEST": 100,
    "MODEL.RPN.POST_NMS_TOPK_TEST": 40,
    "MODEL.ROI_HEADS.NUM_CLASSES": 3,
    "MODEL.ROI_HEADS.SCORE_THRESH_TEST": 0.2,
    "MODEL.ROI_BOX_HEAD.FC_DIM": 32,
    "MODEL.ROI_MASK_HEAD.NUM_CONV": 1,
    "MODEL.ROI_MASK_HEAD.CONV_DIM": 16,
    "MODEL.ROI_KEYPOINT_HEAD.CONV_DIMS": [16],
    "MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS": 5,
    "MODEL.RETINANET.NUM_CLASSES": 3,
    "MODEL.RETINANET.NUM_CONVS": 1,
    "MODEL.FCOS.NUM_CLASSES": 3,
    "MODEL.FCOS.NUM_CONVS": 1,
    "MODEL.SEM_SEG_HEAD.CONVS_DIM": 32,
    "MODEL.SEM_SEG_HEAD.NUM_CLASSES": 4,
    "TEST.DETECTIONS_PER_IMAGE": 20,
}
SPREAD = {"cls_score": 0.3, "bbox_pred": 0.1, "objectness_logits": 0.3, "anchor_deltas": 0.1}  # std of the output


@functools.cache
def _small_model(name: str, overrides: tuple) -> torch.nn.Module:
    cfg = model_zoo.get_config(name)
    if "FPN" in name:
        cfg.MODEL.RESNETS.DEPTH = 18
    cfg.merge_from_list([item for pair in {**SMALL, **dict(overrides)}.items() for item in pair])
    torch.manual_seed(0)
    model = build_model(cfg).eval()
    for key, parameter in model.named_parameters():
        if parameter.dim() > 1:  # keeps the size of what passes through
            torch.nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
        layer = key.removesuffix(".weight").rsplit(".", 1)[-1]
        if layer in SPREAD and key.endswith("weight"):
            parameter.data *= SPREAD[layer]
    if hasattr(getattr(model, "head", None), "ctrness"):  # distances to the sides below 0 would make no box
        model.head.bbox_pred.bias.data.fill_(2.0)
    return model


@pytest.fixture
def small_model():
    """`small_model("<folder>/<config>.yaml", {key: value})`: one for all tests, so it is not to be changed."""
    return lambda name, overrides=None: _small_model(name, tuple((overrides or {}).items()))


def _photo(number: int, height: int, width: int) -> torch.Tensor:
    """`(3, H, W)` BGR 0..255 of a photograph."""
    image = cv2.imread(str(sorted(PICTURES.glob("*[0-9].png"))[number]))
    return torch.from_numpy(cv2.resize(image, (width, height)).transpose(2, 0, 1).copy()).float()


@pytest.fixture
def photo():
    return _photo


@pytest.fixture
def images():
    # none is of one colour: equal scores all over it would be sorted by rounding
    return [_photo(0, 96, 128), _photo(1, 120, 90), _photo(0, 33, 40)]
