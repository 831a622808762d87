import math

import pytest
import torch

from det2lite.layers import ShapeSpec
from det2lite.modeling.box_regression import Box2BoxTransform
from det2lite.modeling.roi_heads.fast_rcnn import (
    FastRCNNOutputLayers,
    _log_classification_stats,
    fast_rcnn_inference,
    fast_rcnn_inference_single_image,
)
from det2lite.structures import Boxes, Instances
from det2lite.utils.events import EventStorage

NAN, INF = float("nan"), float("inf")
LOG2, LOG3 = math.log(2), math.log(3)
A, A2, B = [0.0, 0, 10, 10], [0.0, 0, 10, 9], [20.0, 20, 30, 40]


def build(num_classes=2, **kwargs):
    coder = Box2BoxTransform(weights=(1, 1, 1, 1))
    return FastRCNNOutputLayers(ShapeSpec(channels=4), box2box_transform=coder, num_classes=num_classes, **kwargs)


def regions(boxes, classes, gt_boxes=None):
    result = Instances((50, 60), proposal_boxes=Boxes(torch.tensor(boxes).reshape(-1, 4)))
    result.gt_classes = torch.tensor(classes, dtype=torch.int64)
    if gt_boxes is not None:
        result.gt_boxes = Boxes(torch.tensor(gt_boxes).reshape(-1, 4))
    return result


def detect(boxes, scores, shape=(50, 60), score_thresh=0.1, nms=0.5, topk=10):
    return fast_rcnn_inference_single_image(
        torch.tensor(boxes), torch.tensor(scores), shape, score_thresh, nms, topk
    )


def test_suppression_is_by_class():
    # one box for all classes; the last column is the background's
    found, rows = detect([A, A2, B], [[0.6, 0.3, 0.1], [0.5, 0.4, 0.1], [0.05, 0.15, 0.8]])
    assert found.pred_boxes.tensor.tolist() == [A, A2, B]
    assert found.pred_classes.tolist() == [0, 1, 1]
    torch.testing.assert_close(found.scores, torch.tensor([0.6, 0.4, 0.15]))
    assert rows.tolist() == [0, 1, 2]
    assert found.image_size == (50, 60)


def test_boxes_of_each_class():
    found, rows = detect([[*A, *B]], [[0.4, 0.5, 0.1]])
    assert found.pred_boxes.tensor.tolist() == [B, A]
    assert (found.pred_classes.tolist(), rows.tolist()) == ([1, 0], [0, 0])


def test_the_score_must_be_above_the_threshold():
    assert len(detect([A, B], [[0.25, 0.75], [0.5, 0.5]], score_thresh=0.25)[0]) == 1


@pytest.mark.parametrize(("topk", "count"), [(-1, 3), (0, 0), (2, 2), (9, 3)])
def test_topk(topk, count):
    boxes = [A, B, [40.0, 40, 50, 50]]
    found, rows = detect(boxes, [[0.3, 0.7], [0.9, 0.1], [0.5, 0.5]], topk=topk)
    assert rows.tolist() == [1, 2, 0][:count]
    assert len(found) == count


def test_boxes_are_clipped_before_suppression():
    found, _ = detect([[-5.0, -5, 100, 100]], [[0.9, 0.1]])
    assert found.pred_boxes.tensor.tolist() == [[0, 0, 60, 50]]


def test_rows_that_are_not_finite_are_dropped():
    boxes = [A, [NAN, 0, 5, 5], B, [0.0, 0, INF, 3]]
    found, rows = detect(boxes, [[0.9, NAN], [0.9, 0.1], [0.8, 0.2], [0.9, 0.1]])
    assert found.pred_boxes.tensor.tolist() == [B]
    assert rows.tolist() == [2]


def test_batch_equals_single_images():
    torch.manual_seed(0)
    boxes, scores, shapes = [], [], [(80, 90), (60, 60), (100, 40)]
    for count in (30, 0, 50):
        corners = torch.rand(count, 5, 2) * 60
        boxes.append(torch.cat([corners, corners + torch.rand(count, 5, 2) * 40], dim=2).flatten(1))
        scores.append(torch.randn(count, 6).softmax(dim=1))
    batch, rows = fast_rcnn_inference(boxes, scores, shapes, 0.2, 0.5, 12)
    assert [len(found) > 0 for found in batch] == [True, False, True]
    for i, found in enumerate(batch):
        single, own = fast_rcnn_inference_single_image(boxes[i], scores[i], shapes[i], 0.2, 0.5, 12)
        assert rows[i].tolist() == own.tolist()
        for name, value in found.get_fields().items():
            value, other = (v.tensor if isinstance(v, Boxes) else v for v in (value, single.get(name)))
            torch.testing.assert_close(value, other)


def test_nothing():
    assert fast_rcnn_inference([], [], [], 0.1, 0.5, 10) == ([], [])
    (found,), (rows,) = fast_rcnn_inference([torch.zeros(0, 8)], [torch.zeros(0, 3)], [(5, 5)], 0.1, 0.5, 10)
    assert (found.pred_boxes.tensor.shape, len(rows)) == ((0, 4), 0)
    assert len(detect([A], [[0.0, 1.0]])[0]) == 0


def test_layers():
    layers = build(num_classes=5)
    assert {name: tuple(p.shape) for name, p in layers.named_parameters()} == {
        "cls_score.weight": (6, 4),
        "cls_score.bias": (6,),
        "bbox_pred.weight": (20, 4),
        "bbox_pred.bias": (20,),
    }
    scores, deltas = layers(torch.zeros(3, 2, 2, 1))
    assert (scores.shape, deltas.shape) == ((3, 6), (3, 20))
    assert build(cls_agnostic_bbox_reg=True).bbox_pred.out_features == 4
    coder = Box2BoxTransform(weights=(1, 1, 1, 1))
    assert FastRCNNOutputLayers(7, box2box_transform=coder, num_classes=1).cls_score.in_features == 7


@pytest.mark.parametrize("agnostic", [False, True])
@pytest.mark.parametrize("weight", [1.0, {"loss_box_reg": 10.0}])
def test_losses_by_hand(agnostic, weight):
    layers = build(cls_agnostic_bbox_reg=agnostic, loss_weight=weight)
    # an object of class 1 whose box lies half a width to the right, and background
    proposals = [regions([A, B], [1, 2], [[5.0, 0, 15, 10], B])]
    deltas = torch.zeros(2, 4 if agnostic else 8)
    deltas[:, 0:4] += 0 if agnostic else 99  # predictions for class 0 do not matter
    losses = layers.losses((torch.zeros(2, 3), deltas), proposals)
    assert losses["loss_cls"].item() == pytest.approx(LOG3)
    assert losses["loss_box_reg"].item() == pytest.approx(0.5 / 2 * (1 if weight == 1.0 else 10))


@pytest.mark.parametrize(("kind", "distance"), [("giou", 0), ("diou", 25 / 325), ("ciou", 25 / 325)])
def test_losses_of_overlap_by_hand(kind, distance):
    layers = build(box_reg_loss_type=kind)
    losses = layers.losses((torch.zeros(2, 3), torch.zeros(2, 8)), [regions([A, B], [1, 2], [[5.0, 0, 15, 10], B])])
    assert losses["loss_box_reg"].item() == pytest.approx((2 / 3 + distance) / 2, rel=1e-5)


def test_images_without_ground_truth_need_no_boxes():
    layers = build()
    proposals = [regions([A], [2]), regions([B], [0], [B])]
    losses = layers.losses((torch.zeros(2, 3), torch.zeros(2, 8)), proposals)
    assert losses["loss_box_reg"].item() == 0


@pytest.mark.parametrize("sigmoid", [False, True])
@pytest.mark.parametrize("proposals", [[], [regions([], [], [])]])
def test_no_regions(sigmoid, proposals):
    layers = build(use_sigmoid_ce=sigmoid)
    x = torch.zeros(0, 4, requires_grad=True)
    predictions = layers(x)
    losses = layers.losses(predictions, proposals)
    assert all(loss.item() == 0 for loss in losses.values())
    sum(losses.values()).backward()
    assert all(parameter.grad.count_nonzero() == 0 for parameter in layers.parameters())
    found, rows = layers.inference(predictions, proposals)
    assert [len(f) for f in found] == [len(r) for r in rows] == [0] * len(proposals)


def test_sigmoid_cross_entropy_by_hand():
    layers = build(use_sigmoid_ce=True)
    logits = torch.tensor([[0.0, 0.0, 50.0], [0.0, math.log(3), -50.0]])  # the background's column does not matter
    loss = layers.sigmoid_cross_entropy_loss(logits, torch.tensor([2, 1]))
    assert loss.item() == pytest.approx((3 * LOG2 + math.log(4 / 3)) / 2)
    probabilities = layers.predict_probs((logits, None), [regions([A, B], [0, 0])])[0]
    assert probabilities[1, 1].item() == pytest.approx(0.75)


def test_federated_loss_asks_about_present_and_drawn_classes():
    weights = torch.tensor([1.0, 0, 0, 1.0])
    options = {"use_sigmoid_ce": True, "use_fed_loss": True, "get_fed_loss_cls_weights": lambda: weights}
    layers = build(num_classes=4, fed_loss_num_classes=3, **options)
    assert "fed_loss_cls_weights" not in layers.state_dict()
    # class 1 and the background are present, so one of classes 0 and 3 is drawn
    classes = layers.get_fed_loss_classes(torch.tensor([1, 4, 4]), 3, 4, weights)
    assert sorted(classes.tolist()) in ([0, 1, 4], [1, 3, 4])
    loss = layers.sigmoid_cross_entropy_loss(torch.zeros(3, 5), torch.tensor([1, 4, 4]))
    assert loss.item() == pytest.approx(2 * LOG2)
    with pytest.raises(ValueError, match="sigmoid"):
        build(use_fed_loss=True)
    with pytest.raises(ValueError, match="4 class weights for 2 classes"):
        build(**options)


def test_predicted_boxes():
    layers = build()
    deltas = torch.zeros(3, 8)
    deltas[:, 4] = 0.5  # for class 1, half a width to the right
    proposals = [regions([A], [0]), regions([A, B], [1, 2])]
    first, second = layers.predict_boxes((None, deltas), proposals)
    assert first.tolist() == [[*A, 5, 0, 15, 10]]
    assert second.shape == (2, 8)
    first, second = layers.predict_boxes_for_gt_classes((None, deltas), proposals)
    assert (first.tolist(), second[0].tolist()) == ([A], [5, 0, 15, 10])
    assert second.shape == (2, 4)  # that of the background is any
    agnostic = build(cls_agnostic_bbox_reg=True)
    assert agnostic.predict_boxes_for_gt_classes((None, torch.zeros(3, 4)), proposals)[1].tolist() == [A, B]
    assert len(layers.predict_boxes_for_gt_classes((None, deltas[:0]), [])) == 0


def test_probabilities_and_inference():
    layers = build(test_score_thresh=0.3, test_nms_thresh=0.5, test_topk_per_image=1)
    logits = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]]).log()
    proposals = [regions([A, B], [0, 0]), regions([A], [0])]
    probabilities = layers.predict_probs((logits, None), proposals)
    torch.testing.assert_close(probabilities[0], logits[:2].exp())
    (first, second), rows = layers.inference((logits, torch.zeros(3, 8)), proposals)
    torch.testing.assert_close(first.pred_boxes.tensor, torch.tensor([B]))
    assert (first.pred_classes.tolist(), rows[0].tolist(), len(second)) == ([1], [1], 0)


def test_proposals_must_not_carry_gradients():
    proposal = regions([A], [0], [A])
    proposal.proposal_boxes.tensor.requires_grad_()
    with pytest.raises(ValueError, match="no gradient"):
        build().losses((torch.zeros(1, 3), torch.zeros(1, 8)), [proposal])


def test_statistics():
    logits = torch.tensor([[2.0, 1, 0], [0, 1, 2], [0, 2, 1], [0, 0, 1]])
    with EventStorage() as storage:
        _log_classification_stats(logits, torch.tensor([0, 0, 2, 2]), "stage0")
        _log_classification_stats(logits[:0], torch.tensor([], dtype=torch.int64), "nothing")
        latest = {name: value for name, (value, _) in storage.latest().items()}
    assert latest == {"stage0/cls_accuracy": 0.5, "stage0/fg_cls_accuracy": 0.5, "stage0/false_negative": 0.5}


def test_from_config(tiny_config):
    cfg = tiny_config("MODEL.ROI_BOX_HEAD.BBOX_REG_LOSS_WEIGHT", 4.0, "TEST.DETECTIONS_PER_IMAGE", 7)
    layers = FastRCNNOutputLayers(cfg, ShapeSpec(channels=2, height=3, width=3))
    assert (layers.cls_score.in_features, layers.cls_score.out_features) == (18, 4)
    assert layers.loss_weight == {"loss_box_reg": 4.0}
    assert (layers.test_topk_per_image, layers.test_score_thresh, layers.test_nms_thresh) == (7, 0.05, 0.5)
