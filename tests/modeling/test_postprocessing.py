import pytest
import torch

from det2lite.modeling import postprocessing
from det2lite.modeling.postprocessing import detector_postprocess, sem_seg_labels, sem_seg_postprocess
from det2lite.structures import Boxes, Instances


def results(boxes, **fields):
    return Instances((50, 100), pred_boxes=Boxes(torch.tensor(boxes).reshape(-1, 4)), **fields)


def test_boxes_are_scaled_and_clipped_and_empty_ones_dropped():
    found = results([[10.0, 10, 20, 20], [90, 40, 120, 60], [60, 60, 70, 70]], scores=torch.tensor([0.9, 0.8, 0.7]))
    output = detector_postprocess(found, 100, 300)
    assert output.image_size == (100, 300)
    assert output.pred_boxes.tensor.tolist() == [[30, 20, 60, 40], [270, 80, 300, 100]]
    torch.testing.assert_close(output.scores, torch.tensor([0.9, 0.8]))
    assert found.pred_boxes.tensor[0].tolist() == [10, 10, 20, 20]  # what came in is not changed


def test_masks_are_pasted():
    output = detector_postprocess(results([[10.0, 10, 20, 20]], pred_masks=torch.ones(1, 1, 28, 28)), 100, 200)
    assert output.pred_masks.shape == (1, 100, 200)
    assert output.pred_masks.dtype == torch.bool
    assert output.pred_masks[0, 20:40, 20:40].all()
    assert output.pred_masks.sum() == 400


def test_threshold_of_masks():
    found = results([[10.0, 10, 20, 20]], pred_masks=torch.full((1, 1, 28, 28), 0.4))
    assert not detector_postprocess(found, 50, 100).pred_masks.any()
    assert detector_postprocess(found, 50, 100, mask_threshold=0.3).pred_masks.sum() == 100


def test_keypoints_are_scaled():
    keypoints = torch.tensor([[[15.0, 15, 0.5]]])
    output = detector_postprocess(results([[10.0, 10, 20, 20]], pred_keypoints=keypoints), 100, 300)
    assert output.pred_keypoints.tolist() == [[[45, 30, 0.5]]]
    assert keypoints[0, 0, 0] == 15


def test_proposals():
    found = Instances((50, 100), proposal_boxes=Boxes(torch.tensor([[10.0, 10, 20, 20]])))
    assert detector_postprocess(found, 25, 50).proposal_boxes.tensor.tolist() == [[5, 5, 10, 10]]
    with pytest.raises(ValueError, match="neither"):
        detector_postprocess(Instances((5, 5), scores=torch.ones(1)), 5, 5)


def test_no_detections():
    fields = {"scores": torch.zeros(0), "pred_masks": torch.zeros(0, 1, 28, 28), "pred_keypoints": torch.zeros(0, 4, 3)}
    output = detector_postprocess(results([], **fields), 80, 60)
    assert len(output) == 0
    assert output.pred_masks.shape == (0, 80, 60)


def test_sizes_may_be_tensors():
    output = detector_postprocess(results([[10.0, 10, 20, 20]]), torch.tensor(100), torch.tensor(200))
    assert output.image_size == (100, 200)
    assert output.pred_boxes.tensor.tolist() == [[20, 20, 40, 40]]


def test_semantic_logits_lose_their_padding_and_are_resized():
    logits = torch.zeros(2, 32, 32)
    logits[:, :10, :20] = 3
    output = sem_seg_postprocess(logits, (10, 20), 25, 40)
    assert output.shape == (2, 25, 40)
    torch.testing.assert_close(output, torch.full_like(output, 3))


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("size", [(30, 41), (150, 200), (7, 9)])
def test_labels_class_by_class_are_those_of_all_logits(monkeypatch, memory_format, size):
    logits = torch.randn(2, 9, 32, 48, generator=torch.Generator().manual_seed(0))
    logits = logits.contiguous(memory_format=memory_format)
    logits[1, 4], logits[1, 6] = logits[1, 2], 100.0  # equal ones: the first is taken
    logits[1, 7] = 100.0
    for result in logits:
        expected = sem_seg_postprocess(result, (30, 41), *size).argmax(dim=0)
        for limit in (1 << 28, 0):
            monkeypatch.setattr(postprocessing, "LOGITS_AT_ONCE", limit)
            labels = sem_seg_labels(result, (30, 41), *size)
            assert labels.dtype == torch.int64 and torch.equal(labels, expected)
