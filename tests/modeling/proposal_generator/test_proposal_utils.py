import pytest
import torch

from det2lite.modeling.proposal_generator.proposal_utils import (
    add_ground_truth_to_proposals,
    find_top_rpn_proposals,
)
from det2lite.structures import Boxes, Instances

NAN, INF = float("nan"), float("inf")


def find(boxes, logits, sizes=((100, 100),), nms=0.5, pre=10, post=10, min_size=0.0, training=False):
    """boxes, logits: for each level a list of images of boxes, and of logits."""
    boxes = [torch.tensor(level).reshape(len(sizes), -1, 4) for level in boxes]
    return find_top_rpn_proposals(
        boxes, [torch.tensor(level) for level in logits], list(sizes), nms, pre, post, min_size, training
    )


A, A2, B = [0.0, 0, 10, 10], [0.0, 0, 10, 9], [20.0, 20, 30, 40]  # A and A2 overlap by 0.9


def test_best_first_without_overlaps():
    (result,) = find([[A, A2, B]], [[[0.1, 0.5, 0.9]]])
    assert result.image_size == (100, 100)
    assert result.proposal_boxes.tensor.tolist() == [B, A2]
    torch.testing.assert_close(result.objectness_logits, torch.tensor([0.9, 0.5]))


def test_levels_do_not_suppress_each_other():
    (result,) = find([[A], [A2, B]], [[[0.5]], [[0.4, 0.9]]])
    assert result.proposal_boxes.tensor.tolist() == [B, A, A2]


def test_images_do_not_suppress_each_other():
    first, second = find([[[A, B], [A2, A]]], [[[0.5, 0.1], [0.8, 0.7]]], sizes=[(100, 100), (100, 100)])
    assert first.proposal_boxes.tensor.tolist() == [A, B]
    assert second.proposal_boxes.tensor.tolist() == [A2]


def test_counts_are_by_level_before_and_by_image_after():
    (result,) = find([[A, B], [[50.0, 50, 60, 60], [70.0, 70, 80, 80]]], [[[3.0, 2]], [[1.0, 0]]], pre=1)
    assert result.objectness_logits.tolist() == [3, 1]
    (result,) = find([[A, B]], [[[3.0, 2]]], post=1)
    assert result.objectness_logits.tolist() == [3]


def test_boxes_are_clipped_to_their_own_image_before_small_ones_go():
    boxes = [[[-5.0, -5, 200, 200], [60.0, 10, 90, 20]], [[0.0, 0, 55, 3], [-9.0, 0, 0, 9]]]
    first, second = find([boxes], [[[1.0, 0.5], [1.0, 0.5]]], sizes=[(40, 80), (30, 50)], nms=1.0)
    assert first.proposal_boxes.tensor.tolist() == [[0, 0, 80, 40], [60, 10, 80, 20]]
    assert second.proposal_boxes.tensor.tolist() == [[0, 0, 50, 3]]
    (result,) = find([[A, B]], [[[1.0, 0.5]]], min_size=10)  # sides must be longer
    assert len(result) == 0


def test_values_that_are_not_finite():
    boxes, logits = [[A, [NAN, 0, 5, 5], B, [0.0, 0, INF, 3]]], [[[INF, 0.5, 0.3, 0.2]]]
    (result,) = find(boxes, logits)
    assert result.proposal_boxes.tensor.tolist() == [B]
    with pytest.raises(FloatingPointError, match="diverged"):
        find(boxes, logits, training=True)


def test_nothing_to_choose_from():
    (result,) = find([[]], [[[]]])
    assert result.proposal_boxes.tensor.shape == (0, 4)
    (result,) = find([[[0.0, 0, 0, 0]]], [[[1.0]]])
    assert len(result) == 0


def test_batch_equals_single_images():
    torch.manual_seed(0)
    corners = torch.rand(3, 60, 2) * 80
    boxes = [torch.cat([corners, corners + torch.rand(3, 60, 2) * 40], dim=2) for _ in range(2)]
    logits, sizes = [torch.randn(3, 60), torch.randn(3, 60)], [(100, 90), (70, 100), (60, 60)]
    batch = find_top_rpn_proposals(boxes, logits, sizes, 0.6, 40, 30, 1.0, False)
    for i, result in enumerate(batch):
        own = [part[i : i + 1] for part in boxes], [part[i : i + 1] for part in logits]
        (single,) = find_top_rpn_proposals(*own, sizes[i : i + 1], 0.6, 40, 30, 1.0, False)
        assert len(result) > 10
        torch.testing.assert_close(result.proposal_boxes.tensor, single.proposal_boxes.tensor)
        torch.testing.assert_close(result.objectness_logits, single.objectness_logits)


def test_traces_serve_other_sizes():
    def boxes_of_first_image(boxes, logits, size):
        result = find_top_rpn_proposals([boxes], [logits], [size], 0.7, 100, 50, 0.0, False)[0]
        return result.proposal_boxes.tensor, result.objectness_logits

    def inputs(count, size):
        corners = torch.rand(2, count, 2) * 20
        boxes = torch.cat([corners, corners + torch.rand(2, count, 2) * 100], dim=2)
        return boxes, torch.rand(2, count), torch.tensor(size)

    torch.manual_seed(0)
    traced = torch.jit.trace(boxes_of_first_image, inputs(200, [100, 100]), check_trace=False)
    for other in (inputs(20, [30, 80]), inputs(500, [70, 20])):
        expected = boxes_of_first_image(*other)
        torch.testing.assert_close(traced(*other), expected)
        assert expected[0].amax(dim=0).tolist()[2:] == other[2].flip(0).tolist()


def proposals(count):
    return Instances((9, 9), proposal_boxes=Boxes(torch.ones(count, 4)), objectness_logits=torch.zeros(count))


@pytest.mark.parametrize("as_instances", [True, False])
def test_ground_truth_joins_as_sure_proposals(as_instances):
    boxes = Boxes(torch.tensor([[1.0, 2, 3, 4]]))
    gt = Instances((9, 9), gt_boxes=boxes, gt_classes=torch.tensor([5])) if as_instances else boxes
    (result,) = add_ground_truth_to_proposals([gt], [proposals(2)])
    assert result.proposal_boxes.tensor.tolist() == [[1] * 4, [1] * 4, [1, 2, 3, 4]]
    assert result.objectness_logits[:2].tolist() == [0, 0]
    assert result.objectness_logits[2].sigmoid() == pytest.approx(1)
    assert list(result.get_fields()) == ["proposal_boxes", "objectness_logits"]


def test_ground_truth_without_proposals_and_proposals_without_ground_truth():
    none = Boxes(torch.zeros(0, 4))
    first, second = add_ground_truth_to_proposals([none, Boxes(torch.ones(3, 4))], [proposals(2), proposals(0)])
    assert (len(first), len(second)) == (2, 3)
    assert add_ground_truth_to_proposals([], []) == []


def test_ground_truth_must_fit_the_proposals():
    with pytest.raises(ValueError, match="ground truth of 2 images for proposals of 1"):
        add_ground_truth_to_proposals([Boxes(torch.ones(1, 4))] * 2, [proposals(1)])
    odd = proposals(1)
    odd.weight = torch.ones(1)
    with pytest.raises(ValueError, match="'weight'"):
        add_ground_truth_to_proposals([Boxes(torch.ones(1, 4))], [odd])
    gt = Instances((9, 9), gt_boxes=Boxes(torch.ones(1, 4)), weight=torch.full((1,), 7.0))
    assert add_ground_truth_to_proposals([gt], [odd])[0].weight.tolist() == [1, 7]
