import pytest
import torch
from torch import nn

from det2lite.layers import ShapeSpec
from det2lite.modeling.roi_heads import (
    ROI_HEADS_REGISTRY,
    ROI_MASK_HEAD_REGISTRY,
    StandardROIHeads,
    build_roi_heads,
)
from det2lite.structures import Boxes, ImageList, Instances
from det2lite.utils.errors import BadValue

SHAPES = {f"p{level}": ShapeSpec(channels=16, stride=2**level) for level in range(2, 7)}
IMAGES = ImageList(torch.zeros(2, 3, 64, 64), [(64, 64)] * 2)
KEYPOINTS = ["MODEL.KEYPOINT_ON", True]


def features(requires_grad=False):
    torch.manual_seed(0)
    return {f"p{i}": torch.rand(2, 16, 64 >> i, 64 >> i, requires_grad=requires_grad) for i in range(2, 7)}


def proposals(count=8):
    corners = torch.rand(2, count, 2) * 40
    boxes = torch.cat([corners, corners + 4 + torch.rand(2, count, 2) * 20], dim=2)
    return [Instances((64, 64), proposal_boxes=Boxes(b), objectness_logits=torch.zeros(count)) for b in boxes]


def targets(ground_truth, keypoints=0):
    first = ground_truth((64, 64), [[5, 5, 30, 30], [20, 20, 60, 50]], [0, 1], keypoints=keypoints)
    second = ground_truth((64, 64), [[10, 10, 40, 40]], [2], masks="bitmask", keypoints=keypoints)
    return [first, second]


def test_parts_from_config(tiny_config):
    heads = build_roi_heads(tiny_config(), SHAPES)
    assert heads.in_features == heads.box_in_features == ["p2", "p3", "p4", "p5"]
    assert heads.mask_on and not heads.keypoint_on
    assert heads.box_pooler.output_size == (7, 7)
    assert heads.mask_pooler.output_size == (14, 14)
    assert heads.box_head.output_shape == ShapeSpec(channels=32)
    assert {name.split(".")[0] for name in heads.state_dict()} == {"box_head", "box_predictor", "mask_head"}


def test_training(tiny_config, ground_truth):
    heads = build_roi_heads(tiny_config(*KEYPOINTS), SHAPES)
    maps = features(requires_grad=True)
    sampled, losses = heads(IMAGES, maps, proposals(), targets(ground_truth, keypoints=4))
    assert set(losses) == {"loss_cls", "loss_box_reg", "loss_mask", "loss_keypoint"}
    assert all(len(s) == len(s.gt_classes) > 0 for s in sampled)
    sum(losses.values()).backward()
    assert all(parameter.grad.isfinite().all() for parameter in heads.parameters())
    assert maps["p2"].grad.count_nonzero() > 0
    with pytest.raises(ValueError, match="targets"):
        heads(IMAGES, features(), proposals())


def test_inference(tiny_config):
    heads = build_roi_heads(tiny_config(*KEYPOINTS, "MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.0), SHAPES).eval()
    with torch.no_grad():
        found, losses = heads(IMAGES, features(), proposals())
    assert losses == {}
    for image in found:
        assert set(image.get_fields()) == {
            *("pred_boxes", "scores", "pred_classes", "pred_masks", "pred_keypoints", "pred_keypoint_heatmaps")
        }
        assert image.pred_masks.shape == (len(image), 1, 28, 28)
        assert image.pred_keypoints.shape == (len(image), 4, 3)
        assert (image.scores.diff() <= 0).all()


def test_given_boxes(tiny_config):
    heads = build_roi_heads(tiny_config(), SHAPES).eval()
    boxes = torch.tensor([[5.0, 5, 20, 20]])
    given = [Instances((64, 64), pred_boxes=Boxes(b)) for b in (boxes, boxes[:0])]
    for instances in given:
        instances.pred_classes = torch.zeros(len(instances), dtype=torch.int64)
    first, second = heads.forward_with_given_boxes(features(), given)
    assert first.pred_boxes.tensor.tolist() == boxes.tolist()
    assert (first.pred_masks.shape, second.pred_masks.shape) == ((1, 1, 28, 28), (0, 1, 28, 28))
    with pytest.raises(RuntimeError, match="eval"):
        heads.train().forward_with_given_boxes(features(), given)
    lacking = [Instances((32, 32), pred_boxes=Boxes([[0, 0, 1, 1]]))]
    with pytest.raises(AssertionError, match="pred_classes"):
        heads.eval().forward_with_given_boxes(features(), lacking)


@pytest.mark.parametrize("training", [True, False])
def test_no_proposals(tiny_config, ground_truth, training):
    cfg = tiny_config(*KEYPOINTS, "MODEL.ROI_HEADS.PROPOSAL_APPEND_GT", False)
    heads = build_roi_heads(cfg, SHAPES).train(training)
    result, losses = heads(IMAGES, features(), proposals(0), targets(ground_truth, 4) if training else None)
    assert [len(r) for r in result] == [0, 0]
    if training:
        assert {name: loss.item() for name, loss in losses.items()} == dict.fromkeys(losses, 0.0)
        sum(losses.values()).backward()
        assert all(parameter.grad.count_nonzero() == 0 for parameter in heads.parameters())


def test_no_ground_truth(tiny_config, ground_truth):
    heads = build_roi_heads(tiny_config(), SHAPES)
    nothing = ground_truth((64, 64), [[1, 1, 2, 2]], [0])[:0]
    sampled, losses = heads(IMAGES, features(), proposals(), [nothing, nothing])
    assert all((s.gt_classes == 3).all() for s in sampled)
    assert losses["loss_box_reg"].item() == losses["loss_mask"].item() == 0
    assert losses["loss_cls"].item() > 0
    sum(losses.values()).backward()
    assert all(parameter.grad is not None for parameter in heads.parameters())


def test_masks_are_trained_on_predicted_boxes_where_asked(tiny_config, ground_truth):
    heads = build_roi_heads(tiny_config("MODEL.ROI_BOX_HEAD.TRAIN_ON_PRED_BOXES", True), SHAPES)
    for parameter in heads.box_predictor.bbox_pred.parameters():
        nn.init.zeros_(parameter)
    with torch.no_grad():
        heads.box_predictor.bbox_pred.bias[0::4] = 10.0  # weights are 10: one width to the right
    plain = heads.label_and_sample_proposals(proposals(), targets(ground_truth))
    before = [p.proposal_boxes.tensor.clone() for p in plain]
    heads._forward_box(features(), plain)
    for image, boxes in zip(plain, before, strict=True):
        width = boxes[:, 2:3] - boxes[:, :1]
        expected = boxes + torch.cat([width, 0 * width, width, 0 * width], dim=1)
        torch.testing.assert_close(image.proposal_boxes.tensor, expected)
        assert not image.proposal_boxes.tensor.requires_grad


@pytest.mark.parametrize(
    "overrides",
    [
        ["MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG", True, "MODEL.ROI_MASK_HEAD.CLS_AGNOSTIC_MASK", True],
        ["MODEL.ROI_BOX_HEAD.USE_SIGMOID_CE", True],
        ["MODEL.ROI_BOX_HEAD.BBOX_REG_LOSS_TYPE", "ciou"],
        ["MODEL.ROI_BOX_HEAD.POOLER_TYPE", "ROIPool", "MODEL.ROI_MASK_HEAD.POOLER_TYPE", "ROIAlign"],
    ],
)
def test_variants_train_and_predict(tiny_config, ground_truth, overrides):
    heads = build_roi_heads(tiny_config(*overrides, "MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.0), SHAPES)
    _, losses = heads(IMAGES, features(), proposals(), targets(ground_truth))
    sum(losses.values()).backward()
    assert all(parameter.grad.isfinite().all() for parameter in heads.parameters())
    found, _ = heads.eval()(IMAGES, features(), proposals())
    assert all(len(f) > 0 and f.pred_masks.shape[1:] == (1, 28, 28) for f in found)


def test_a_head_without_pooler_sees_the_maps(tiny_config):
    @ROI_MASK_HEAD_REGISTRY.register()
    class MapsHead(nn.Module):
        def __init__(self, cfg, input_shape):
            super().__init__()
            self.strides = {name: shape.stride for name, shape in input_shape.items()}

        def forward(self, x, instances):
            return x

    overrides = ["MODEL.ROI_MASK_HEAD.POOLER_TYPE", "", "MODEL.ROI_MASK_HEAD.NAME", "MapsHead"]
    heads = build_roi_heads(tiny_config(*overrides), SHAPES).eval()
    assert heads.mask_pooler is None
    assert heads.mask_head.strides == {"p2": 4, "p3": 8, "p4": 16, "p5": 32}
    maps = features()
    seen = heads._forward_mask(maps, proposals())
    assert list(seen) == ["p2", "p3", "p4", "p5"]
    assert seen["p2"] is maps["p2"]


def test_a_subclass_may_replace_a_part(tiny_config):
    @ROI_HEADS_REGISTRY.register()
    class DoubledScores(StandardROIHeads):
        @classmethod
        def _init_box_head(cls, cfg, input_shape):
            return {**super()._init_box_head(cfg, input_shape), "box_in_features": ["p3"]}

        def _init_mask_head(self, cfg, input_shape):  # a plain method is not called by from_config
            raise AssertionError

        def _forward_box(self, features, proposals):
            return [*super()._forward_box({"p2": None, **features}, proposals)]

    heads = build_roi_heads(tiny_config("MODEL.ROI_HEADS.NAME", "DoubledScores"), SHAPES)
    assert heads.box_in_features == ["p3"]
    assert not heads.mask_on


def test_features_must_have_equal_channels(tiny_config):
    with pytest.raises(BadValue, match=r"different channels: \[8, 16\]"):
        build_roi_heads(tiny_config(), {**SHAPES, "p3": ShapeSpec(channels=8, stride=8)})
