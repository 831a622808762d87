import pytest
import torch
import torchvision

from det2lite.layers import batched_nms, batched_nms_rotated, nms, nms_rotated
from det2lite.layers.nms import _nms_moved_apart, _nms_rotated, _rotated_survivors
from det2lite.structures.rotated_iou import pairwise_iou_rotated


def random_boxes(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * 100
    boxes = torch.cat([corner, corner + 1 + torch.rand(count, 2, generator=generator) * 60], dim=1)
    return boxes, torch.rand(count, generator=generator)


def test_by_hand():
    boxes = torch.tensor([[0, 0, 10, 10], [0, 0, 10, 9], [20, 20, 30, 30.0]])
    scores = torch.tensor([0.5, 0.9, 0.7])
    assert nms(boxes, scores, 0.5).tolist() == [1, 2]
    assert batched_nms(boxes, scores, torch.tensor([0, 0, 0]), 0.5).tolist() == [1, 2]
    assert batched_nms(boxes, scores, torch.tensor([0, 1, 0]), 0.5).tolist() == [1, 2, 0]
    assert batched_nms(boxes, scores, torch.tensor([0, 0, 0]), 0.95).tolist() == [1, 2, 0]


@pytest.mark.parametrize("count", [1, 50, 3000])
@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.8])
def test_equals_one_nms_per_class(count, threshold):
    boxes, scores = random_boxes(count)
    classes = torch.randint(-3, 30, (count,), generator=torch.Generator().manual_seed(1)) * 1000
    kept = []
    for one in classes.unique():
        index = (classes == one).nonzero()[:, 0]
        kept.append(index[torchvision.ops.nms(boxes[index], scores[index], threshold)])
    kept = torch.cat(kept)
    kept = kept[scores[kept].argsort(descending=True)]
    assert torch.equal(batched_nms(boxes, scores, classes, threshold), kept)
    assert torch.equal(torch.jit.script(batched_nms)(boxes, scores, classes, threshold), kept)
    assert torch.equal(_nms_moved_apart(boxes - 50, scores, classes, threshold), kept)


def test_equal_scores_keep_their_order():
    boxes = torch.arange(6.0)[:, None] * 20 + torch.tensor([0, 0, 10, 10.0])
    kept = batched_nms(boxes, torch.ones(6), torch.tensor([2, 1, 0, 2, 1, 0]), 0.5)
    assert kept.tolist() == [0, 1, 2, 3, 4, 5]


def test_nothing():
    none = torch.zeros(0, dtype=torch.long)
    assert batched_nms(torch.zeros(0, 4), torch.zeros(0), none, 0.5).tolist() == []
    assert batched_nms_rotated(torch.zeros(0, 5), torch.zeros(0), none, 0.5).tolist() == []
    assert nms_rotated(torch.zeros(0, 5), torch.zeros(0), 0.5).tolist() == []


def test_half_precision_boxes():
    boxes, scores = random_boxes(40)
    classes = torch.zeros(40, dtype=torch.long)
    want = nms(boxes.half().float(), scores.half().float(), 0.5)
    assert torch.equal(batched_nms(boxes.half(), scores.half(), classes, 0.5), want)


class TestRotated:
    def greedy(self, boxes, scores, classes, threshold):
        iou, kept = pairwise_iou_rotated(boxes, boxes), []
        for i in scores.argsort(descending=True).tolist():
            if all(classes[i] != classes[j] or iou[i, j] <= threshold for j in kept):
                kept.append(i)
        return kept

    @pytest.mark.parametrize("threshold", [0.1, 0.5, 0.9])
    def test_equals_the_greedy_loop(self, threshold):
        torch.manual_seed(0)
        boxes = torch.rand(200, 5) * torch.tensor([60, 60, 40, 40, 360.0]) + 1
        scores, classes = torch.rand(200), torch.randint(0, 3, (200,))
        assert batched_nms_rotated(boxes, scores, classes, threshold).tolist() == self.greedy(
            boxes, scores, classes, threshold
        )
        want = self.greedy(boxes, scores, torch.zeros(200), threshold)
        assert nms_rotated(boxes, scores, threshold).tolist() == want
        assert torch.jit.script(nms_rotated)(boxes, scores, threshold).tolist() == want

    def test_in_parts_it_is_the_same(self):
        torch.manual_seed(1)
        boxes = torch.rand(300, 5) * torch.tensor([60, 60, 40, 40, 360.0]) + 1
        scores, classes = torch.rand(300), torch.randint(0, 3, (300,))
        want = self.greedy(boxes, scores, classes, 0.3)
        assert _nms_rotated(boxes, scores, classes, 0.3, many=50).tolist() == want
        order = scores.argsort(descending=True)
        kept = _rotated_survivors(boxes[order], classes[order], 0.3, block=16, size=40)
        assert order[kept].tolist() == want

    def test_at_angle_zero_it_is_nms(self):
        boxes, scores = random_boxes(100)
        center, size = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
        rotated = torch.cat([center, size, torch.zeros(100, 1)], dim=1)
        assert torch.equal(nms_rotated(rotated, scores, 0.4), nms(boxes, scores, 0.4))
