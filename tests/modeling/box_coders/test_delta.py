import math

import pytest
import torch

from det2lite.modeling.box_regression import Box2BoxTransform, Box2BoxTransformRotated

LOG2 = math.log(2)


def random_boxes(count):
    corner = torch.rand(count, 2) * 100
    return torch.cat([corner, corner + 1 + torch.rand(count, 2) * 50], dim=1)


def test_deltas_by_hand():
    coder = Box2BoxTransform(weights=(10, 10, 5, 5))
    deltas = coder.get_deltas(torch.tensor([[0.0, 0, 10, 20]]), torch.tensor([[5.0, 5, 25, 15]]))
    torch.testing.assert_close(deltas, torch.tensor([[10.0, 0, 5 * LOG2, -5 * LOG2]]))


def test_boxes_by_hand():
    coder = Box2BoxTransform(weights=(1, 2, 1, 2))
    boxes = coder.apply_deltas(torch.tensor([[0.5, 1.0, LOG2, 0.0]]), torch.tensor([[0.0, 0, 10, 20]]))
    torch.testing.assert_close(boxes, torch.tensor([[0.0, 10, 20, 30]]))  # centre (10, 20), size (20, 20)


@pytest.mark.parametrize("weights", [(1, 1, 1, 1), (5, 5, 10, 10), [10.0, 10.0, 5.0, 5.0]])
def test_round_trip(weights):
    torch.manual_seed(0)
    coder = Box2BoxTransform(weights=weights)
    source, target = random_boxes(20), random_boxes(20)
    torch.testing.assert_close(coder.apply_deltas(coder.get_deltas(source, target), source), target)


def test_growth_is_limited():
    coder = Box2BoxTransform(weights=(1, 1, 1, 1), scale_clamp=LOG2)
    boxes = coder.apply_deltas(torch.tensor([[0.0, 0, 1000, 1000]]), torch.tensor([[0.0, 0, 2, 2]]))
    assert boxes.tolist() == [[-1, -1, 3, 3]]
    wild = Box2BoxTransform(weights=(1, 1, 1, 1))
    wild = wild.apply_deltas(torch.tensor([[0.0, 0, 99, 0]]), torch.tensor([[0, 0, 16, 1]]))
    torch.testing.assert_close(wild[0, 2] - wild[0, 0], torch.tensor(1000.0))


def test_deltas_of_several_classes():
    coder = Box2BoxTransform(weights=(10, 10, 5, 5))
    source, deltas = random_boxes(3), torch.randn(3, 8)
    both = coder.apply_deltas(deltas, source)
    assert both.shape == (3, 8)
    torch.testing.assert_close(both[:, 4:], coder.apply_deltas(deltas[:, 4:], source))


def test_leading_dimensions():
    coder = Box2BoxTransform(weights=(10, 10, 5, 5))
    source, deltas = random_boxes(6), torch.randn(6, 4)
    batched = coder.apply_deltas(deltas.view(2, 3, 4), source.view(2, 3, 4))
    torch.testing.assert_close(batched.view(6, 4), coder.apply_deltas(deltas, source))


def test_half_precision_is_decoded_in_float32():
    coder = Box2BoxTransform(weights=(1, 1, 1, 1))
    boxes = coder.apply_deltas(torch.zeros(1, 4, dtype=torch.bfloat16), torch.tensor([[1001.0, 3, 1003, 5]]))
    assert boxes.tolist() == [[1001, 3, 1003, 5]]


def test_no_boxes():
    coder = Box2BoxTransform(weights=(1, 1, 1, 1))
    nothing = torch.zeros(0, 4)
    assert coder.get_deltas(nothing, nothing).shape == (0, 4)
    assert coder.apply_deltas(torch.zeros(0, 12), nothing).shape == (0, 12)


def test_a_source_without_width_is_refused():
    box = torch.tensor([[3.0, 0, 3, 5]])
    with pytest.raises(ValueError, match="positive width"):
        Box2BoxTransform(weights=(1, 1, 1, 1)).get_deltas(box, box)


def test_rotated_deltas_by_hand():
    coder = Box2BoxTransformRotated(weights=(1, 1, 1, 1, 2))
    deltas = coder.get_deltas(torch.tensor([[0.0, 0, 10, 20, 0]]), torch.tensor([[5.0, 10, 20, 10, 90]]))
    torch.testing.assert_close(deltas, torch.tensor([[0.5, 0.5, LOG2, -LOG2, math.pi]]))


def test_rotated_angles_take_the_short_way():
    coder = Box2BoxTransformRotated(weights=(1, 1, 1, 1, 1))
    source, target = torch.tensor([[0.0, 0, 4, 4, 170]]), torch.tensor([[0.0, 0, 4, 4, -170]])
    deltas = coder.get_deltas(source, target)
    torch.testing.assert_close(deltas[0, 4], torch.tensor(math.radians(20)))
    torch.testing.assert_close(coder.apply_deltas(deltas, source), target)


def test_rotated_round_trip():
    torch.manual_seed(0)
    coder = Box2BoxTransformRotated(weights=(5, 5, 10, 10, 1))
    source, target = (torch.cat([torch.rand(9, 4) * 50 + 1, torch.rand(9, 1) * 360 - 180], dim=1) for _ in range(2))
    decoded = coder.apply_deltas(coder.get_deltas(source, target), source)
    torch.testing.assert_close(decoded, target, rtol=1e-4, atol=1e-3)
    assert coder.apply_deltas(torch.zeros(0, 10), torch.zeros(0, 5)).shape == (0, 10)


def test_traces_serve_other_numbers_of_boxes():
    coder = Box2BoxTransform(weights=(10.0, 10.0, 5.0, 5.0))
    traced = torch.jit.trace(coder.apply_deltas, (torch.randn(10, 8), random_boxes(10)))
    for count in (0, 1, 30):
        deltas, boxes = torch.randn(count, 8), random_boxes(count)
        torch.testing.assert_close(traced(deltas, boxes), coder.apply_deltas(deltas, boxes))


def test_torchscript_gives_the_same():
    def encode_and_decode(deltas, boxes):
        coder = Box2BoxTransform((10.0, 10.0, 5.0, 5.0))
        return coder.apply_deltas(deltas, boxes), coder.get_deltas(boxes, boxes + 1)

    inputs = torch.randn(4, 4), random_boxes(4)
    torch.testing.assert_close(torch.jit.script(encode_and_decode)(*inputs), encode_and_decode(*inputs))
