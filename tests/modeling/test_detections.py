import pytest
import torch

from det2lite.modeling.box_coders.delta import Box2BoxTransform
from det2lite.modeling.detections import best_candidates, best_of_dense_levels, dense_detections, suppress
from det2lite.structures import Boxes

CODER = Box2BoxTransform(weights=(1.0, 1.0, 1.0, 1.0))


def detect(anchors, scores, deltas, image_sizes, topk_candidates=10):
    """As one-stage detectors do it: detections above 0.5, at most 10 an image."""
    anchor_boxes, deltas, top_scores, labels = best_of_dense_levels(anchors, scores, deltas, topk_candidates)
    boxes = CODER.apply_deltas(deltas, anchor_boxes)
    return dense_detections(boxes, top_scores, labels, image_sizes, scores[0].shape[2], 0.5, 0.5, 10)


def test_suppress_is_by_class_and_image():
    box = [0.0, 0, 10, 10]
    boxes = torch.tensor([box, box, box, box, [20, 20, 30, 30]])
    scores = torch.tensor([0.5, 0.6, 0.7, 0.8, 0.4])
    labels, image = torch.tensor([0, 0, 1, 0, 0]), torch.tensor([0, 0, 0, 1, 0])
    results, kept = suppress(boxes, scores, labels, image, [(40, 50), (60, 70), (80, 90)], 2, 0.5, -1)
    assert [k.tolist() for k in kept] == [[2, 1, 4], [3], []]
    assert results[0].pred_classes.tolist() == [1, 0, 0]
    assert [r.image_size for r in results] == [(40, 50), (60, 70), (80, 90)]
    assert len(results[2]) == 0 and results[2].pred_boxes.tensor.shape == (0, 4)
    best, _ = suppress(boxes, scores, labels, image, [(40, 50), (60, 70)], 2, 0.5, 1)
    assert [r.scores.tolist() for r in best] == [pytest.approx([0.7]), pytest.approx([0.8])]


def test_best_candidates_are_those_of_a_full_sort():
    torch.manual_seed(0)
    scores = torch.randn(2, 50, 7)
    for topk in (1, 5, 49, 200, 1000):
        top, rows, classes = best_candidates(scores, topk)
        want = scores.flatten(1).sort(dim=1, descending=True).values[:, :topk]
        torch.testing.assert_close(top, want)
        torch.testing.assert_close(scores[torch.arange(2)[:, None], rows, classes], want)
    assert best_candidates(torch.zeros(2, 0, 7), 5)[0].shape == (2, 0)


def two_levels():
    anchors = [Boxes(torch.tensor([[0.0, 0, 8, 8], [8, 0, 16, 8]])), Boxes(torch.tensor([[0.0, 0, 16, 16]]))]
    scores = [torch.zeros(2, 2, 3), torch.zeros(2, 1, 3)]
    deltas = [torch.zeros(2, 2, 4), torch.zeros(2, 1, 4)]
    return anchors, scores, deltas


def test_dense_detections_by_hand():
    anchors, scores, deltas = two_levels()
    scores[0][0, 1, 2], scores[0][0, 0, 1], scores[1][0, 0, 1] = 0.9, 0.8, 0.6
    deltas[0][0, 1] = torch.tensor([0.5, 0.25, 0, 0])  # 4 to the right, 2 down
    first, second = detect(anchors, scores, deltas, [(16, 16), (9, 9)])
    torch.testing.assert_close(first.pred_boxes.tensor[0], torch.tensor([12.0, 2, 20, 10]))  # not clipped
    assert first.pred_classes.tolist() == [2, 1, 1]  # IoU of the boxes of class 1 is 1/4
    assert len(second) == 0 and second.image_size == (9, 9)


def test_dense_detections_drop_what_is_not_finite():
    anchors, scores, deltas = two_levels()
    scores[0][:] = torch.nan
    scores[1][:] = 0.9
    deltas[1][0] = torch.nan
    results = detect(anchors, scores, deltas, [(16, 16), (16, 16)])
    assert [len(r) for r in results] == [0, 3]


def test_topk_is_of_a_level_and_an_image():
    anchors, scores, deltas = two_levels()
    scores[0][:] = torch.tensor([[2.0, -1, -1], [3, 1, -1]])
    scores[1][:] = -5
    boxes, _, top_scores, labels = best_of_dense_levels(anchors, scores, deltas, 2)
    assert top_scores.tolist() == [[3, 2, -5, -5]] * 2 and labels[:, :2].tolist() == [[0, 0]] * 2
    assert boxes[0, :2].tolist() == [[8, 0, 16, 8], [0, 0, 8, 8]]
    first, _ = detect(anchors, scores, deltas, [(16, 16)] * 2, topk_candidates=2)
    assert first.scores.tolist() == [3, 2]


def test_no_positions():
    (found,) = detect([Boxes(torch.zeros(0, 4))], [torch.zeros(1, 0, 3)], [torch.zeros(1, 0, 4)], [(1, 1)])
    assert len(found) == 0
