import math

import pytest
import torch
from torch import nn

from det2lite.config import get_cfg
from det2lite.layers import ShapeSpec
from det2lite.modeling.anchor_generator import DefaultAnchorGenerator
from det2lite.modeling.box_regression import Box2BoxTransform
from det2lite.modeling.matcher import Matcher
from det2lite.modeling.proposal_generator import RPN, StandardRPNHead, build_rpn_head
from det2lite.structures import Boxes, ImageList, Instances
from det2lite.utils.errors import BadValue
from det2lite.utils.events import EventStorage

LOG2 = math.log(2)


def build(**kwargs):
    """An RPN with one anchor of 8 pixels at each position of a map of stride 8."""
    options = {
        "in_features": ["map"],
        "head": StandardRPNHead(in_channels=3, num_anchors=1),
        "anchor_generator": DefaultAnchorGenerator(sizes=[8], aspect_ratios=[1], strides=[8]),
        "anchor_matcher": Matcher([0.3, 0.7], [0, -1, 1], allow_low_quality_matches=True),
        "box2box_transform": Box2BoxTransform(weights=(1, 1, 1, 1)),
        "batch_size_per_image": 4,
        "positive_fraction": 0.5,
        "pre_nms_topk": (10, 6),
        "post_nms_topk": (5, 3),
    }
    return RPN(**{**options, **kwargs})


def gt(*boxes, size=(32, 32)):
    return Instances(size, gt_boxes=Boxes(torch.tensor(boxes, dtype=torch.float32)))


def inputs(num_images=1, side=4):
    size = (8 * side, 8 * side)
    return ImageList(torch.zeros(num_images, 3, *size), [size] * num_images), {
        "map": torch.randn(num_images, 3, side, side)
    }


def test_head_has_one_convolution_or_several():
    one = StandardRPNHead(in_channels=4, num_anchors=3, box_dim=5)
    assert isinstance(one.conv, nn.Conv2d)
    assert set(one.state_dict()) == {
        f"{name}.{kind}" for name in ("conv", "objectness_logits", "anchor_deltas") for kind in ("weight", "bias")
    }
    logits, deltas = one([torch.zeros(2, 4, 5, 6), torch.zeros(2, 4, 1, 1)])
    assert [tuple(x.shape) for x in logits] == [(2, 3, 5, 6), (2, 3, 1, 1)]
    assert [tuple(x.shape) for x in deltas] == [(2, 15, 5, 6), (2, 15, 1, 1)]
    several = StandardRPNHead(in_channels=4, num_anchors=3, conv_dims=[-1, 7, 2])
    assert isinstance(several.conv, nn.Sequential)
    assert [conv.out_channels for conv in several.conv] == [4, 7, 2]
    assert "conv.conv2.weight" in several.state_dict()
    with pytest.raises(BadValue, match="CONV_DIMS"):
        StandardRPNHead(in_channels=4, num_anchors=3, conv_dims=[0])


def test_predictors_share_what_they_keep_in_mixed_precision():
    head = StandardRPNHead(in_channels=4, num_anchors=3, conv_dims=[-1, 6])
    seen = []
    for layer in (head.objectness_logits, head.anchor_deltas):
        layer.register_forward_pre_hook(lambda layer, inputs: seen.append((inputs[0].dtype, inputs[0].data_ptr())))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits, deltas = head([torch.rand(1, 4, 5, 6)])
    assert len(set(seen)) == 1 and seen[0][0] == logits[0].dtype == deltas[0].dtype == torch.float32


def test_head_needs_levels_that_are_alike():
    shapes = [ShapeSpec(channels=4, stride=8), ShapeSpec(channels=5, stride=16)]
    with pytest.raises(BadValue, match=r"equal channels \(\[4, 5\]\)"):
        build_rpn_head(get_cfg(), shapes)


def test_labels_by_hand():
    rpn = build(batch_size_per_image=100, positive_fraction=1.0)
    anchors = rpn.anchor_generator([torch.zeros(1, 3, 2, 2)])  # boxes of 8 x 8 that tile 16 x 16 pixels
    # the first object covers anchor 0, the second fits anchor 3 by 1/2 and no other better
    labels, boxes = rpn.label_and_sample_anchors(anchors, [gt([0, 0, 8, 8], [8, 8, 16, 12])])
    assert labels[0].tolist() == [1, 0, 0, 1]
    assert boxes[0][[0, 3]].tolist() == [[0, 0, 8, 8], [8, 8, 16, 12]]


def test_samples_are_limited():
    rpn = build(batch_size_per_image=4, positive_fraction=0.25)
    anchors = rpn.anchor_generator([torch.zeros(1, 3, 4, 4)])
    labels, _ = rpn.label_and_sample_anchors(anchors, [gt([0, 0, 8, 8], [8, 0, 16, 8])])
    assert [(labels[0] == value).sum().item() for value in (1, 0, -1)] == [1, 3, 12]


def test_anchors_over_the_edge_may_be_left_out():
    rpn = build(batch_size_per_image=100, anchor_boundary_thresh=0)
    anchors = rpn.anchor_generator([torch.zeros(1, 3, 2, 2)])
    labels, _ = rpn.label_and_sample_anchors(anchors, [gt([0, 0, 8, 8], size=(17, 10))])
    assert labels[0].tolist() == [1, -1, 0, -1]  # the right column ends at 16 of 10 pixels


def test_a_subclass_may_sample_in_its_own_way():
    class All(RPN):
        def _subsample_labels(self, label):
            return label.fill_(1)

    rpn = build()
    rpn.__class__ = All
    anchors = rpn.anchor_generator([torch.zeros(1, 3, 2, 2)])
    assert rpn.label_and_sample_anchors(anchors, [gt([0, 0, 8, 8])])[0][0].tolist() == [1] * 4


@pytest.mark.parametrize("weight", [1.0, {"loss_rpn_cls": 2.0, "loss_rpn_loc": 3.0}])
def test_losses_by_hand(weight):
    rpn = build(loss_weight=weight)
    anchors = rpn.anchor_generator([torch.zeros(1, 3, 2, 2)])
    labels = [torch.tensor([1, 0, -1, 0]), torch.tensor([-1, -1, 0, 1])]
    boxes = [anchors[0].tensor.clone(), anchors[0].tensor.clone()]
    boxes[0][0, 0::2] += 4  # half a width to the right
    boxes[1][3, 2] += 8  # twice as wide: the centre moves by half a width, too
    with EventStorage() as storage:
        losses = rpn.losses(anchors, [torch.zeros(2, 4)], labels, [torch.zeros(2, 4, 4)], boxes)
        assert storage.latest()["rpn/num_pos_anchors"][0] == 1
        assert storage.latest()["rpn/num_neg_anchors"][0] == 1.5
    cls_weight, loc_weight = (1, 1) if weight == 1.0 else (2, 3)
    assert losses["loss_rpn_cls"].item() == pytest.approx(cls_weight * 5 * LOG2 / 8)
    assert losses["loss_rpn_loc"].item() == pytest.approx(loc_weight * (0.5 + 0.5 + LOG2) / 8)


@pytest.mark.parametrize(
    ("kind", "expected"), [("giou", 0.5), ("diou", 0.5 + 4 / 128), ("ciou", 0.5 + 4 / 128 + 0.0032481)]
)
def test_losses_of_overlap_by_hand(kind, expected):
    rpn = build(box_reg_loss_type=kind)
    anchors = rpn.anchor_generator([torch.zeros(1, 3, 1, 1)])
    boxes = [torch.tensor([[0.0, 0, 8, 4]])]  # half of the anchor
    losses = rpn.losses(anchors, [torch.zeros(1, 1)], [torch.tensor([1])], [torch.zeros(1, 1, 4)], boxes)
    assert losses["loss_rpn_loc"].item() == pytest.approx(expected / 4, rel=1e-5)


def test_proposals_by_hand():
    rpn = build(nms_thresh=0.5).eval()
    anchors = rpn.anchor_generator([torch.zeros(1, 3, 2, 2)])
    logits, deltas = torch.tensor([[0.1, 0.4, 0.3, 0.2]]), torch.zeros(1, 4, 4)
    deltas[0, 1, 0] = 0.5  # 4 pixels to the right
    (found,) = rpn.predict_proposals(anchors, [logits], [deltas], [(16, 18)])
    # three of four anchors, the best first, cut at the image's edge
    assert found.proposal_boxes.tensor.tolist() == [[12, 0, 18, 8], [0, 8, 8, 16], [8, 8, 16, 16]]
    torch.testing.assert_close(found.objectness_logits, torch.tensor([0.4, 0.3, 0.2]))


def test_all_boxes_can_be_decoded_by_row():
    class Rows(Box2BoxTransform):
        def apply_deltas(self, deltas, boxes):
            assert deltas.dim() == boxes.dim() == 2
            return super().apply_deltas(deltas, boxes)

    rpn = build(box2box_transform=Rows(weights=(1, 1, 1, 1)), pre_nms_topk=(2, 2)).eval()
    anchors = rpn.anchor_generator([torch.zeros(1, 3, 2, 2)])
    (boxes,) = rpn._decode_proposals(anchors, [torch.zeros(3, 4, 4)])
    assert boxes.tolist() == [anchors[0].tensor.tolist()] * 3
    assert len(rpn.predict_proposals(anchors, [torch.randn(3, 4)], [torch.zeros(3, 4, 4)], [(16, 16)] * 3)) == 3


def test_batch_equals_single_images():
    torch.manual_seed(0)
    rpn = build().eval()
    images, features = inputs(3, side=6)
    batch, losses = rpn(images, features)
    assert losses == {}
    for i, found in enumerate(batch):
        one = ImageList(images.tensor[i : i + 1], images.image_sizes[i : i + 1])
        (single,), _ = rpn(one, {"map": features["map"][i : i + 1]})
        assert 0 < len(found) <= 3
        torch.testing.assert_close(found.proposal_boxes.tensor, single.proposal_boxes.tensor)
        torch.testing.assert_close(found.objectness_logits, single.objectness_logits)


def test_training_gives_proposals_without_gradient_and_losses_with():
    rpn = build()
    images, features = inputs(2)
    found, losses = rpn(images, features, [gt([0, 0, 8, 8]), gt([9, 9, 20, 18], [0, 0, 30, 30])])
    assert all(not p.proposal_boxes.tensor.requires_grad and len(p) <= 5 for p in found)
    assert set(losses) == {"loss_rpn_cls", "loss_rpn_loc"}
    sum(losses.values()).backward()
    assert all(parameter.grad is not None for parameter in rpn.parameters())
    with pytest.raises(ValueError, match="gt_instances"):
        rpn(images, features)


def test_no_ground_truth_in_the_whole_batch():
    rpn = build()
    images, features = inputs(2)
    nothing = Instances((32, 32), gt_boxes=Boxes(torch.zeros(0, 4)))
    _, losses = rpn(images, features, [nothing, nothing])
    assert losses["loss_rpn_loc"].item() == 0
    assert losses["loss_rpn_cls"].item() > 0
    sum(losses.values()).backward()
    assert all(parameter.grad.isfinite().all() for parameter in rpn.parameters())


def test_maps_that_are_not_finite_give_no_proposals():
    rpn = build().eval()
    for value in (float("inf"), float("nan")):
        images, features = inputs()
        (found,), _ = rpn(images, {"map": torch.full_like(features["map"], value)})
        assert len(found) == 0


def test_from_config():
    cfg = get_cfg()
    cfg.merge_from_list(["MODEL.RPN.LOSS_WEIGHT", 2.0, "MODEL.RPN.BBOX_REG_LOSS_WEIGHT", 3.0])
    rpn = RPN(cfg, {"res4": ShapeSpec(channels=8, stride=16)})
    assert rpn.loss_weight == {"loss_rpn_cls": 2.0, "loss_rpn_loc": 6.0}
    assert (rpn.pre_nms_topk, rpn.post_nms_topk) == ({True: 12000, False: 6000}, {True: 2000, False: 1000})
    assert rpn.rpn_head.objectness_logits.out_channels == 15
    assert rpn.anchor_matcher.allow_low_quality_matches
