import pytest
import torch

from det2lite.modeling.matcher import Matcher
from det2lite.modeling.roi_heads import ROIHeads, select_foreground_proposals
from det2lite.modeling.roi_heads.roi_heads import select_proposals_with_visible_keypoints
from det2lite.structures import Boxes, Instances, Keypoints
from det2lite.utils.events import EventStorage

A, NEAR_A, B, FAR = [0.0, 0, 10, 10], [0.0, 0, 10, 9], [20.0, 20, 30, 40], [50.0, 50, 60, 60]


def build(cls=ROIHeads, **kwargs):
    options = {"num_classes": 3, "batch_size_per_image": 4, "positive_fraction": 0.5, "proposal_append_gt": False}
    return cls(proposal_matcher=Matcher([0.5], [0, 1]), **{**options, **kwargs})


def proposals(*boxes):
    result = Instances((64, 64), proposal_boxes=Boxes(torch.tensor(boxes).reshape(-1, 4)))
    result.objectness_logits = torch.arange(len(boxes)).float()
    return result


def targets(boxes, classes, **fields):
    result = Instances((64, 64), gt_boxes=Boxes(torch.tensor(boxes).reshape(-1, 4)))
    result.gt_classes = torch.tensor(classes, dtype=torch.int64)
    for name, value in fields.items():
        result.set(name, value)
    return result


def test_proposals_get_the_fields_of_their_object():
    gt = targets([A, B], [2, 1], gt_weight=torch.tensor([0.2, 0.1]), other=torch.zeros(2))
    (sampled,) = build().label_and_sample_proposals([proposals(FAR, B, NEAR_A)], [gt])
    order = sampled.objectness_logits.argsort()
    sampled = sampled[order]
    assert sampled.gt_classes.tolist() == [3, 1, 2]
    assert sampled.gt_boxes.tensor[1:].tolist() == [B, A]
    torch.testing.assert_close(sampled.gt_weight[1:], torch.tensor([0.1, 0.2]))
    assert not sampled.has("other")


def test_objects_come_first_and_are_limited():
    with EventStorage() as storage:
        (sampled,) = build().label_and_sample_proposals([proposals(FAR, A, A, NEAR_A, FAR, FAR)], [targets([A], [0])])
        latest = {name: value for name, (value, _) in storage.latest().items()}
    assert sampled.gt_classes.tolist() == [0, 0, 3, 3]
    assert latest == {"roi_head/num_fg_samples": 2, "roi_head/num_bg_samples": 2}


@pytest.mark.parametrize("append", [False, True])
def test_ground_truth_may_be_a_proposal_too(append):
    (sampled,) = build(proposal_append_gt=append).label_and_sample_proposals([proposals(FAR)], [targets([A], [0])])
    assert sampled.gt_classes.tolist() == ([0, 3] if append else [3])


def test_without_objects_all_is_background():
    (sampled,) = build(proposal_append_gt=True).label_and_sample_proposals([proposals(A, B)], [targets([], [])])
    assert sampled.gt_classes.tolist() == [3, 3]
    assert not sampled.has("gt_boxes")


def test_without_proposals():
    (sampled,) = build().label_and_sample_proposals([proposals()], [targets([A], [0])])
    assert len(sampled) == 0
    assert sampled.gt_boxes.tensor.shape == (0, 4)


def test_ignored_proposals_are_not_sampled():
    heads = build()
    chosen, classes = heads._sample_proposals(torch.zeros(3).long(), torch.tensor([-1, 0, 1]), torch.tensor([1]))
    assert (chosen.tolist(), classes.tolist()) == ([2, 1], [1, 3])


def test_a_subclass_may_sample_in_its_own_way():
    class First(ROIHeads):
        def _sample_proposals(self, matched_idxs, matched_labels, gt_classes):
            return torch.tensor([0]), gt_classes[matched_idxs[:1]]

    (sampled,) = build(First).label_and_sample_proposals([proposals(FAR, A)], [targets([A], [0])])
    assert sampled.proposal_boxes.tensor.tolist() == [FAR]


def test_forward_is_for_subclasses():
    with pytest.raises(NotImplementedError):
        build()(None, {}, [])


def test_foreground():
    found = proposals(A, B, FAR)
    found.gt_classes = torch.tensor([3, 0, -1])
    empty = proposals()
    empty.gt_classes = torch.zeros(0).long()
    with pytest.raises(AssertionError):
        select_foreground_proposals(found, 3)
    selected, masks = select_foreground_proposals([found, empty], 3)
    assert [len(s) for s in selected] == [1, 0]
    assert selected[0].proposal_boxes.tensor.tolist() == [B]
    assert masks[0].tolist() == [False, True, False]


def test_visible_keypoints_inside_the_box():
    found = proposals(A, A, A, A)
    keypoints = torch.tensor([[5.0, 5, 2], [10, 10, 1], [5, 5, 0], [11, 5, 2]])[:, None]
    found.gt_keypoints = Keypoints(keypoints)
    with EventStorage() as storage:
        first, second = select_proposals_with_visible_keypoints([found, proposals()])
        assert storage.latest()["keypoint_head/num_fg_samples"][0] == 1
    assert first.objectness_logits.tolist() == [0, 1]  # a corner belongs to the box
    assert len(second) == 0
