import math

import pytest
import torch

from det2lite.export.torchscript_patch import patch_instances
from det2lite.structures import Boxes, Instances, RotatedBoxes, pairwise_iou, pairwise_iou_rotated
from det2lite.structures.rotated_iou import matched_iou_rotated


def corners(box):
    x, y, width, height, degrees = box
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    signs = ((-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5))
    return [(x + cos * a * width + sin * b * height, y - sin * a * width + cos * b * height) for a, b in signs]


def clipped_area(polygon, clipper):
    """Sutherland-Hodgman in Python floats, as a reference."""
    for i in range(4):
        (ax, ay), (bx, by) = clipper[i], clipper[(i + 1) % 4]
        sides = [(bx - ax) * (y - ay) - (by - ay) * (x - ax) for x, y in polygon]
        out = []
        for j in range(len(polygon)):
            (px, py), (qx, qy), before, after = polygon[j - 1], polygon[j], sides[j - 1], sides[j]
            if (before >= 0) != (after >= 0):
                t = before / (before - after)
                out.append((px + t * (qx - px), py + t * (qy - py)))
            if after >= 0:
                out.append((qx, qy))
        polygon = out
        if not polygon:
            return 0.0
    return sum(p[0] * q[1] - q[0] * p[1] for p, q in zip(polygon, polygon[1:] + polygon[:1], strict=True)) / 2


def reference_iou(boxes1, boxes2):
    def iou(a, b):
        inter = abs(clipped_area(corners(a), corners(b)))
        return inter / (a[2] * a[3] + b[2] * b[3] - inter)

    return torch.tensor([[iou(a, b) for b in boxes2.double().tolist()] for a in boxes1.double().tolist()]).float()


def test_iou_by_hand():
    unit = RotatedBoxes([[0.5, 0.5, 1, 1, 0]])
    others = [
        ([0.25, 0.5, 0.5, 1, 0], 0.5),
        ([0.25, 0.25, 0.5, 0.5, 0], 0.25),
        ([1, 1, 1, 1, 0], 1 / 7),
        ([0.5, 0.5, 1, 1, 90], 1),
        ([0.5, 0.5, 1, 1, 45], 2**0.5 / 2),
        ([1.5, 0.5, 1, 1, 0], 0),
        ([0.5, 0.5, 0, 1, 0], 0),
        ([9, 9, 1, 1, 30], 0),
    ]
    iou = pairwise_iou_rotated(unit, RotatedBoxes([box for box, _ in others]))
    torch.testing.assert_close(iou, torch.tensor([[want for _, want in others]]))


@pytest.mark.parametrize("scale", [1e-2, 1, 1e4])
def test_iou_equals_clipping_also_where_sides_coincide(scale):
    torch.manual_seed(0)
    size = torch.tensor([50, 50, 40, 40, 720.0])
    boxes1 = torch.rand(50, 5) * size - torch.tensor([0, 0, -0.1, -0.1, 360])
    boxes2 = torch.rand(50, 5) * size - torch.tensor([0, 0, -0.1, -0.1, 360])
    boxes2[:10] = boxes1[:10]
    boxes2[5:10, 4] += 90
    boxes2[10:20] = boxes1[10:20] + torch.randn(10, 5) * 1e-6
    boxes1[20:30, 4] = boxes2[20:30, 4] = 0
    boxes2[30:40] = boxes1[30:40] = boxes1[30:40].round() + 1
    boxes1[30:40, 4] = boxes2[30:40, 4] = 0
    boxes2[30:40, 0] += boxes1[30:40, 2]  # side by side
    boxes1[:, :4] *= scale
    boxes2[:, :4] *= scale
    torch.testing.assert_close(
        pairwise_iou_rotated(RotatedBoxes(boxes1), RotatedBoxes(boxes2)),
        reference_iou(boxes1, boxes2),
        rtol=0,
        atol=1e-5,
    )


def test_iou_at_angle_zero_is_that_of_boxes():
    torch.manual_seed(0)
    rotated = torch.cat([torch.rand(30, 4) * 10 + 1, torch.zeros(30, 1)], dim=1)
    half = rotated[:, 2:4] / 2
    boxes = Boxes(torch.cat([rotated[:, :2] - half, rotated[:, :2] + half], dim=1))
    iou = pairwise_iou_rotated(RotatedBoxes(rotated), RotatedBoxes(rotated))
    torch.testing.assert_close(iou, pairwise_iou(boxes, boxes), rtol=1e-5, atol=1e-5)


def test_nearly_equal_boxes():
    box = torch.tensor([[296.6620178, 458.7388305, 23.515729904, 47.677001953, 0.08795166]])
    same = torch.tensor([[296.66201, 458.73882, 23.51573, 47.67702, 0.087951]])
    torch.testing.assert_close(matched_iou_rotated(box, same), torch.ones(1), rtol=0, atol=1e-5)
    large = torch.tensor([[2563.7446, 1436.7905, 2174.7034, 214.095, 115.11835]])
    torch.testing.assert_close(matched_iou_rotated(large, large), torch.ones(1))


@pytest.mark.parametrize(("n", "m"), [(0, 0), (0, 2), (2, 0)])
def test_iou_of_nothing(n, m):
    assert pairwise_iou_rotated(RotatedBoxes(torch.rand(n, 5)), RotatedBoxes(torch.rand(m, 5))).shape == (n, m)


def test_basics():
    boxes = RotatedBoxes([[5, 5, 20, 4, 370], [5, 30, 0, 4, -190]])
    assert isinstance(boxes, Boxes) and len(boxes) == 2 and boxes.area().tolist() == [80, 0]
    assert boxes.nonempty().tolist() == [True, False]
    assert boxes.inside_box((20, 20)).tolist() == [True, False]
    assert boxes.inside_box((20, 20), 11).tolist() == [True, True]
    assert boxes.get_centers().tolist() == [[5, 5], [5, 30]]
    assert boxes[0].tensor.shape == (1, 5) and len(boxes[boxes.nonempty()]) == 1
    assert [box.shape for box in boxes] == [(5,), (5,)]
    copy = boxes.clone()
    copy.normalize_angles()
    assert copy.tensor[:, 4].tolist() == [10, 170] and boxes.tensor[0, 4] == 370
    assert RotatedBoxes.cat([boxes, copy]).tensor.shape == (4, 5) and len(RotatedBoxes.cat([])) == 0
    assert RotatedBoxes([]).tensor.shape == (0, 5) and repr(boxes).startswith("RotatedBoxes(tensor(")
    assert boxes.to("cpu").device == torch.device("cpu")


def test_scripted_boxes_have_length_and_device():
    def count(x: torch.Tensor):
        boxes = RotatedBoxes(x)
        return len(boxes), boxes.device

    assert torch.jit.script(count)(torch.rand(3, 5)) == (3, torch.device("cpu"))


def test_scripted_instances_of_rotated_boxes():
    def double(x: Instances):
        both = x.cat([x, x])
        return both, RotatedBoxes.cat([both.pred_boxes, x.pred_boxes]).tensor

    with patch_instances({"pred_boxes": RotatedBoxes}) as typed:
        boxes = torch.rand(3, 5)
        both, three_times = torch.jit.script(double)(typed((9, 9), pred_boxes=RotatedBoxes(boxes)))
        assert len(both) == 6 and torch.equal(three_times, boxes.repeat(3, 1))


def test_clip_leaves_turned_boxes():
    boxes = RotatedBoxes([[5, 5, 20, 4, 0.5], [5, 5, 20, 4, 45], [50, 50, 4, 4, 0], [6, 5, 2, 2, 360]])
    boxes.clip((10, 12))
    assert boxes.tensor.tolist() == [[6, 5, 12, 4, 0.5], [5, 5, 20, 4, 45], [12, 10, 0, 0, 0], [6, 5, 2, 2, 0]]
    none = RotatedBoxes([])
    none.clip((10, 12))
    assert len(none) == 0


def test_scale():
    boxes = RotatedBoxes([[5, 5, 20, 4, 0], [5, 5, 20, 4, 90], [5, 5, 10, 10, 45]])
    boxes.scale(2, 0.5)
    torch.testing.assert_close(boxes.tensor[0], torch.tensor([10, 2.5, 40, 2, 0]))
    torch.testing.assert_close(boxes.tensor[1], torch.tensor([10, 2.5, 10, 8, 90]))
    side = 10 * math.sqrt((4 + 0.25) / 2)
    torch.testing.assert_close(boxes.tensor[2], torch.tensor([10, 2.5, side, side, math.degrees(math.atan2(2, 0.5))]))
