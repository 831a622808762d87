import pytest
import torch

from det2lite.modeling.box_regression import Box2BoxTransformLinear

SOURCE = torch.tensor([[0.0, 0, 10, 20]])  # its centre is (5, 10)
TARGET = torch.tensor([[1.0, 2, 9, 18]])


@pytest.mark.parametrize(("normalize", "expected"), [(True, [0.4, 0.4, 0.4, 0.4]), (False, [4, 8, 4, 8])])
def test_distances_by_hand_and_back(normalize, expected):
    coder = Box2BoxTransformLinear(normalize_by_size=normalize)
    deltas = coder.get_deltas(SOURCE, TARGET)
    torch.testing.assert_close(deltas, torch.tensor([expected], dtype=torch.float32))
    torch.testing.assert_close(coder.apply_deltas(deltas, SOURCE), TARGET)


def test_negative_distances_are_zero():
    boxes = Box2BoxTransformLinear(normalize_by_size=False).apply_deltas(torch.tensor([[-3.0, -1, 2, 4]]), SOURCE)
    assert boxes.tolist() == [[5, 10, 7, 14]]


def test_classes_and_leading_dimensions():
    coder = Box2BoxTransformLinear()
    deltas, source = torch.rand(2, 3, 8), SOURCE.expand(2, 3, 4)
    boxes = coder.apply_deltas(deltas, source)
    assert boxes.shape == (2, 3, 8)
    torch.testing.assert_close(boxes[1, 2, 4:], coder.apply_deltas(deltas[1, 2, 4:], source[1, 2]))


def test_no_boxes():
    nothing = torch.zeros(0, 4)
    assert Box2BoxTransformLinear().get_deltas(nothing, nothing).shape == (0, 4)
    assert Box2BoxTransformLinear().apply_deltas(nothing, nothing).shape == (0, 4)
