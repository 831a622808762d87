"""Models small enough for tests, and batches for them."""

import numpy as np
import pytest
import torch

from det2lite import model_zoo
from det2lite.structures import BitMasks, Boxes, Instances, Keypoints, PolygonMasks

TINY = [
    *("MODEL.DEVICE", "cpu", "MODEL.RESNETS.DEPTH", 18, "MODEL.RESNETS.NORM", "BN", "MODEL.BACKBONE.FREEZE_AT", 0),
    *("MODEL.RESNETS.RES2_OUT_CHANNELS", 16, "MODEL.RESNETS.STEM_OUT_CHANNELS", 16, "MODEL.FPN.OUT_CHANNELS", 16),
    *("MODEL.ANCHOR_GENERATOR.SIZES", [[8], [16], [32], [64], [128]]),
    *("MODEL.RPN.PRE_NMS_TOPK_TRAIN", 100, "MODEL.RPN.PRE_NMS_TOPK_TEST", 50, "MODEL.RPN.POST_NMS_TOPK_TRAIN", 50),
    *("MODEL.RPN.POST_NMS_TOPK_TEST", 20, "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", 32),
    *("MODEL.ROI_HEADS.NUM_CLASSES", 3, "MODEL.ROI_BOX_HEAD.FC_DIM", 32, "MODEL.ROI_MASK_HEAD.CONV_DIM", 16),
    *("MODEL.ROI_MASK_HEAD.NUM_CONV", 1, "MODEL.ROI_KEYPOINT_HEAD.CONV_DIMS", [16]),
    *("MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS", 4, "MODEL.ROI_KEYPOINT_HEAD.MIN_KEYPOINTS_PER_IMAGE", 1),
]


def _tiny_config(*overrides):
    cfg = model_zoo.get_config("COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml")
    cfg.merge_from_list([*TINY, *overrides])
    return cfg


def _ground_truth(size, boxes, classes, masks="polygon", keypoints=0):
    """Objects that fill their boxes. masks: "polygon" or "bitmask". keypoints: number an object, in its centre."""
    instances = Instances(size, gt_boxes=Boxes(torch.tensor(boxes, dtype=torch.float32)))
    instances.gt_classes = torch.tensor(classes, dtype=torch.int64)
    outlines = [[np.array([x0, y0, x1, y0, x1, y1, x0, y1], dtype=float)] for x0, y0, x1, y1 in boxes]
    polygons = PolygonMasks(outlines)
    instances.gt_masks = polygons if masks == "polygon" else BitMasks.from_polygon_masks(polygons, *size)
    if keypoints:
        center = instances.gt_boxes.get_centers()[:, None].expand(-1, keypoints, -1)
        instances.gt_keypoints = Keypoints(torch.cat([center, torch.full_like(center[..., :1], 2)], dim=2))
    return instances


@pytest.fixture
def tiny_config():
    return _tiny_config


@pytest.fixture
def ground_truth():
    return _ground_truth


@pytest.fixture
def tiny_batch():
    """Two images of different size; the masks of one are polygons, of the other bits."""
    generator = torch.Generator().manual_seed(0)
    first = _ground_truth((64, 96), [[10, 10, 40, 50], [50, 5, 90, 60]], [0, 2])
    second = _ground_truth((80, 64), [[5, 20, 60, 70]], [1], masks="bitmask")
    return [
        {"image": torch.randint(0, 256, (3, *size), generator=generator, dtype=torch.uint8), "instances": instances}
        for size, instances in (((64, 96), first), ((80, 64), second))
    ]
