import math

import pytest
import torch

from det2lite.config import get_cfg
from det2lite.layers import ShapeSpec
from det2lite.modeling import build_proposal_generator
from det2lite.modeling.proposal_generator import RRPN
from det2lite.modeling.proposal_generator.rrpn import find_top_rrpn_proposals
from det2lite.structures import ImageList, Instances, RotatedBoxes
from det2lite.utils.errors import BadValue

SHAPES = {"res4": ShapeSpec(channels=4, stride=8)}


def config():
    cfg = get_cfg()
    cfg.MODEL.PROPOSAL_GENERATOR.NAME = "RRPN"
    cfg.MODEL.ANCHOR_GENERATOR.NAME = "RotatedAnchorGenerator"
    cfg.MODEL.ANCHOR_GENERATOR.SIZES = [[16]]
    cfg.MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS = [[0.5]]
    cfg.MODEL.ANCHOR_GENERATOR.ANGLES = [[0, 45]]
    cfg.MODEL.RPN.BBOX_REG_WEIGHTS = (1, 1, 1, 1, 1)
    return cfg


def find(boxes, logits, **kwargs):
    settings = {"nms_thresh": 0.5, "pre_nms_topk": 10, "post_nms_topk": 10, "min_box_size": 0, "training": False}
    return find_top_rrpn_proposals(boxes, logits, [(40, 60), (40, 60)], **{**settings, **kwargs})


def test_best_of_levels_and_suppression():
    box = [20.0, 20, 20, 10, 30]
    fine = torch.tensor([[box, [20.0, 20, 20, 10, 120], [20.0, 20, 19, 10, 30]]]).repeat(2, 1, 1)
    coarse = torch.tensor([[box]]).repeat(2, 1, 1)
    logits = [torch.tensor([[1.0, 2, 3], [3, 2, 1]]), torch.tensor([[0.0], [9]])]
    first, second = find([fine, coarse], logits)
    assert first.objectness_logits.tolist() == [3, 2, 0]  # the third beats the first; levels do not compete
    assert second.objectness_logits.tolist() == [9, 3, 2]
    assert isinstance(first.proposal_boxes, RotatedBoxes)
    torch.testing.assert_close(first.proposal_boxes.tensor[0], torch.tensor([20.0, 20, 19, 10, 30]))
    first, _ = find([fine, coarse], logits, post_nms_topk=1)
    assert first.objectness_logits.tolist() == [3]
    first, _ = find([fine, coarse], logits, pre_nms_topk=1)
    assert first.objectness_logits.tolist() == [3, 0]


def test_boxes_are_clipped_and_small_ones_dropped():
    boxes = torch.tensor([[[58.0, 20, 10, 10, 0], [20, 20, 2, 30, 10], [-20, 20, 10, 10, 0]]]).repeat(2, 1, 1)
    first, _ = find([boxes], [torch.tensor([[3.0, 2, 1]] * 2)], min_box_size=2)
    assert first.proposal_boxes.tensor.tolist() == [[56.5, 20, 7, 10, 0]]


@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_broken_numbers(value):
    boxes, logits = torch.full((2, 3, 5), value), torch.zeros(2, 3)
    assert [len(p) for p in find([boxes], [logits])] == [0, 0]
    with pytest.raises(FloatingPointError, match="diverged"):
        find([boxes], [logits], training=True)


def test_no_candidates():
    assert [len(p) for p in find([torch.zeros(2, 0, 5)], [torch.zeros(2, 0)])] == [0, 0]


def test_labels():
    rpn = build_proposal_generator(config(), SHAPES)
    assert isinstance(rpn, RRPN) and rpn.rpn_head.anchor_deltas.out_channels == 10
    anchors = rpn.anchor_generator([torch.zeros(1, 4, 4, 4)])  # 22.6 x 11.3, at each position level and by 45 degrees
    gt = RotatedBoxes(torch.tensor([[16.0, 16, 22.6, 11.3, 44]]))
    empty = RotatedBoxes(torch.zeros(0, 5))
    labels, boxes = rpn.label_and_sample_anchors(
        anchors, [Instances((32, 32), gt_boxes=b, gt_classes=torch.zeros(len(b))) for b in (gt, empty)]
    )
    assert (labels[0] == 1).nonzero().flatten().tolist() == [2 * (2 * 4 + 2) + 1]  # position (2, 2), the second angle
    assert boxes[0].shape == (32, 5) and (labels[1] == 0).all()


def test_training_and_prediction():
    torch.manual_seed(0)
    rpn = RRPN(config(), SHAPES)
    images = ImageList(torch.zeros(1, 3, 32, 32), [(32, 32)])
    features = {"res4": torch.randn(1, 4, 4, 4)}
    for rows in ([[16.0, 16, 20, 10, 40]], []):
        gt = Instances((32, 32), gt_boxes=RotatedBoxes(torch.tensor(rows)), gt_classes=torch.zeros(len(rows)))
        proposals, losses = rpn(images, features, [gt])
        sum(losses.values()).backward()
        assert set(losses) == {"loss_rpn_cls", "loss_rpn_loc"} and (losses["loss_rpn_loc"] > 0) == bool(rows)
    assert all(torch.isfinite(p.grad).all() for p in rpn.parameters())
    (found,), losses = rpn.eval()(images, features)
    assert losses == {} and found.proposal_boxes.tensor.shape[1] == 5


@pytest.mark.parametrize(
    "key, value",
    [("MODEL.RPN.BBOX_REG_WEIGHTS", (1, 1, 1, 1)), ("MODEL.ANCHOR_GENERATOR.NAME", "DefaultAnchorGenerator")],
)
def test_mistakes(key, value):
    cfg = config()
    cfg.merge_from_list([key, value])
    with pytest.raises(BadValue, match="RotatedAnchorGenerator and five"):
        RRPN(cfg, SHAPES)
