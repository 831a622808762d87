import pytest
import torch

from det2lite.layers import ShapeSpec
from det2lite.modeling import build_model
from det2lite.modeling.matcher import Matcher
from det2lite.modeling.roi_heads import CascadeROIHeads
from det2lite.modeling.roi_heads.cascade_rcnn import _ScaleGradient
from det2lite.structures import Boxes, Instances
from det2lite.utils.errors import BadValue
from det2lite.utils.events import EventStorage

CASCADE = ("MODEL.ROI_HEADS.NAME", "CascadeROIHeads", "MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG", True)
SHAPES = {
    name: ShapeSpec(channels=16, stride=stride) for name, stride in (("p2", 4), ("p3", 8), ("p4", 16), ("p5", 32))
}


@pytest.fixture
def heads(tiny_config):
    torch.manual_seed(0)
    return CascadeROIHeads(tiny_config(*CASCADE), SHAPES)


def boxes_of(*boxes):
    return Boxes(torch.tensor(boxes).reshape(-1, 4))


def test_gradient_is_scaled():
    x = torch.randn(3, requires_grad=True)
    y = _ScaleGradient.apply(x, 0.25)
    assert torch.equal(y, x)
    y.sum().backward()
    assert x.grad.tolist() == [0.25] * 3


def test_parts_of_the_stages(heads):
    assert heads.num_cascade_stages == 3
    assert [m.thresholds[1] for m in heads.proposal_matchers] == [0.5, 0.6, 0.7]
    assert heads.proposal_matcher is heads.proposal_matchers[0]
    assert [p.box2box_transform.weights[0] for p in heads.box_predictor] == [10.0, 20.0, 30.0]
    assert heads.box_predictor[2].bbox_pred.out_features == 4
    assert heads.mask_on


def test_labels_get_stricter(heads):
    target = Instances((100, 100), gt_boxes=boxes_of([0.0, 0, 10, 10]), gt_classes=torch.tensor([1]))
    empty = Instances((100, 100), gt_boxes=boxes_of(), gt_classes=torch.zeros(0, dtype=torch.long))
    for stage, want in enumerate([[1, 1, 3], [1, 3, 3], [3, 3, 3]]):
        # IoU 0.65, 0.55 and 0.45
        proposals = [
            Instances((100, 100), proposal_boxes=boxes_of(*[[0, 0, 10, h] for h in (6.5, 5.5, 4.5)])) for _ in range(2)
        ]
        with EventStorage() as storage:
            first, second = heads._match_and_label_boxes(proposals, stage, [target, empty])
        assert first.gt_classes.tolist() == want
        assert first.gt_boxes.tensor[0].tolist() == [0, 0, 10, 10]
        assert second.gt_classes.tolist() == [3, 3, 3] and second.gt_boxes.tensor.sum() == 0
        assert storage.latest()[f"stage{stage}/roi_head/num_fg_samples"][0] == want.count(1) / 2


def test_proposals_of_the_next_stage(heads):
    boxes = torch.tensor([[-5.0, 0, 5, 8], [20, 0, 30, 10]], requires_grad=True)
    heads.train()
    (kept,) = heads._create_proposals_from_boxes([boxes], [(10, 10)])
    assert kept.proposal_boxes.tensor.tolist() == [[0, 0, 5, 8]]  # the other one is outside
    assert not kept.proposal_boxes.tensor.requires_grad
    heads.eval()
    (both,) = heads._create_proposals_from_boxes([boxes], [(10, 10)])
    assert both.proposal_boxes.tensor.tolist() == [[0, 0, 5, 8], [10, 0, 10, 10]]


def test_training(tiny_config, tiny_batch):
    torch.manual_seed(0)
    model = build_model(tiny_config(*CASCADE)).train()
    with EventStorage() as storage:
        losses = model(tiny_batch)
    stages = {f"{name}_stage{k}" for name in ("loss_cls", "loss_box_reg") for k in range(3)}
    assert set(losses) == stages | {"loss_mask", "loss_rpn_cls", "loss_rpn_loc"}
    assert "stage2/fast_rcnn/cls_accuracy" in storage.latest()
    sum(losses.values()).backward()
    assert all(torch.isfinite(p.grad).all() for p in model.roi_heads.parameters())


def test_training_without_objects(tiny_config, tiny_batch):
    model = build_model(tiny_config(*CASCADE)).train()
    for inputs in tiny_batch:
        inputs["instances"] = inputs["instances"][:0]
    losses = model(tiny_batch)
    sum(losses.values()).backward()
    assert losses["loss_box_reg_stage2"] == 0 and losses["loss_mask"] == 0
    assert all(torch.isfinite(loss) for loss in losses.values())


def test_scores_are_means_of_the_stages(heads):
    heads.eval()
    heads.mask_on = False
    for stage, predictor in enumerate(heads.box_predictor):
        predictor.test_score_thresh = 0.05
        for parameter in predictor.parameters():
            parameter.data.zero_()
        if stage == 0:
            predictor.cls_score.bias.data[1] = 100.0  # sure of class 1; the others say 1/4 for each
    proposals = [
        Instances((40, 60), proposal_boxes=boxes_of([4.0, 4, 30, 30])),
        Instances((40, 60), proposal_boxes=boxes_of()),
    ]
    features = {name: torch.zeros(2, 16, 64 // s.stride, 64 // s.stride) for name, s in SHAPES.items()}
    (first, second), losses = heads(None, features, proposals)
    assert losses == {} and len(second) == 0
    assert first.pred_classes.tolist() == [1, 0, 2]
    assert first.scores.tolist() == pytest.approx([1.5 / 3, 0.5 / 3, 0.5 / 3])
    assert first.pred_boxes.tensor[0].tolist() == [4, 4, 30, 30]


def test_mistakes(tiny_config, heads):
    with pytest.raises(BadValue, match="CLS_AGNOSTIC_BBOX_REG"):
        CascadeROIHeads(tiny_config(*CASCADE, "MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG", False), SHAPES)
    with pytest.raises(BadValue, match="IOU_THRESHOLDS 0.4"):
        CascadeROIHeads(tiny_config(*CASCADE, "MODEL.ROI_HEADS.IOU_THRESHOLDS", [0.4]), SHAPES)
    with pytest.raises(BadValue, match="2 IOUS for 3"):
        CascadeROIHeads(tiny_config(*CASCADE, "MODEL.ROI_BOX_CASCADE_HEAD.IOUS", (0.5, 0.6)), SHAPES)
    parts = {"box_in_features": [], "box_pooler": None, "box_heads": [], "box_predictors": []}
    with pytest.raises(ValueError, match="proposal_matchers"):
        CascadeROIHeads(**parts, proposal_matchers=[], proposal_matcher=Matcher([0.5], [0, 1]))
    with pytest.raises(ValueError, match="each stage, got 0, 0 and 1"):
        CascadeROIHeads(**parts, proposal_matchers=[Matcher([0.5], [0, 1])])
    heads.train()
    with pytest.raises(ValueError, match="targets"):
        heads(None, {}, [])
