import numpy as np
import pycocotools.mask as mask_util
import pytest
import torch

from det2lite.evaluation.coco_results import encode_crop, encode_masks, instances_from_coco_json, instances_to_coco_json
from det2lite.structures import BitMasks, Boxes, Instances
from det2lite.utils.errors import BadValue


def as_pycocotools(mask):
    rle = mask_util.encode(np.asfortranarray(mask.numpy().astype(np.uint8)))
    return {"size": rle["size"], "counts": rle["counts"].decode()}


@pytest.mark.parametrize("shape", [(40, 5, 7), (3, 1, 1), (5, 1, 9), (5, 9, 1), (300, 4, 3)])
@pytest.mark.parametrize("density", [0.1, 0.5, 0.95])
def test_masks_are_encoded_as_pycocotools_does(shape, density):
    masks = torch.rand(shape, generator=torch.Generator().manual_seed(0)) < density
    masks[0], masks[-1] = False, True
    encoded = encode_masks(masks)
    assert encoded == [as_pycocotools(mask) for mask in masks]
    assert encoded == encode_masks(masks.numpy().astype(np.uint8))
    assert np.array_equal(np.stack([mask_util.decode(rle) for rle in encoded]), masks.numpy())


def test_corners_and_full_columns():
    masks = torch.zeros(4, 6, 8, dtype=torch.bool)
    masks[0, 0, 0] = masks[0, 5, 7] = True
    masks[1, :, 2:5] = True
    masks[2, 3:, 6:] = True
    masks[3, :, 2] = masks[3, 0, 3] = masks[3, 5, 1] = True
    assert encode_masks(masks) == [as_pycocotools(mask) for mask in masks]


def test_a_crop_is_encoded_as_the_whole_mask():
    mask = torch.zeros(9, 7, dtype=torch.bool)
    mask[2:5, 1:4] = torch.tensor([[0, 1, 0], [1, 1, 0], [0, 1, 0]], dtype=torch.bool)
    assert encode_crop(mask[2:5, 1:4].numpy(), 1, 2, (9, 7)) == as_pycocotools(mask)
    assert encode_crop(mask.numpy(), 0, 0, (9, 7)) == as_pycocotools(mask)
    assert encode_crop(np.zeros((0, 0), bool), 3, 3, (9, 7)) == as_pycocotools(torch.zeros(9, 7))


def test_no_masks_and_no_pixels():
    assert encode_masks(torch.zeros(0, 4, 4, dtype=torch.bool)) == []
    assert [rle["size"] for rle in encode_masks(torch.zeros(2, 0, 4, dtype=torch.bool))] == [[0, 4]] * 2


def detections(n):
    instances = Instances((6, 8))
    instances.pred_boxes = Boxes(torch.tensor([[1.0, 2.0, 4.0, 6.0], [0.0, 0.0, 8.0, 6.0]])[:n])
    instances.scores = torch.tensor([0.5, 0.25])[:n]
    instances.pred_classes = torch.tensor([3, 0])[:n]
    return instances


def test_boxes_are_xywh():
    assert instances_to_coco_json(detections(2), 7) == [
        {"image_id": 7, "category_id": 3, "bbox": [1.0, 2.0, 3.0, 4.0], "score": 0.5},
        {"image_id": 7, "category_id": 0, "bbox": [0.0, 0.0, 8.0, 6.0], "score": 0.25},
    ]
    assert instances_to_coco_json(detections(0), 7) == []


@pytest.mark.parametrize("kind", [lambda m: m, BitMasks])
def test_masks_and_keypoints_come_along(kind):
    instances = detections(1)
    mask = torch.zeros(1, 6, 8, dtype=torch.bool)
    mask[0, 5, 7] = True
    instances.pred_masks = kind(mask)
    instances.pred_keypoints = torch.tensor([[[1.0, 2.0, 0.75], [3.5, 4.5, 0.5]]])
    (result,) = instances_to_coco_json(instances, "name")
    assert result["keypoints"] == [0.5, 1.5, 0.75, 3.0, 4.0, 0.5]
    assert np.argwhere(mask_util.decode(result["segmentation"])).tolist() == [[5, 7]]
    assert instances.pred_keypoints[0, 0, 0] == 1.0


def test_there_and_back():
    instances = Instances((6, 7))
    instances.pred_boxes = Boxes(torch.tensor([[1.0, 2, 4, 6], [0, 0, 7, 5]]))
    instances.scores = torch.tensor([0.75, 0.25])
    instances.pred_classes = torch.tensor([0, 1])
    instances.pred_masks = torch.rand(2, 6, 7, generator=torch.Generator().manual_seed(0)) > 0.5
    instances.pred_keypoints = torch.tensor([[[1.5, 2.5, 0.5]], [[3.0, 4.0, 1.0]]])
    results = instances_to_coco_json(instances, 3)
    back = instances_from_coco_json(results, (6, 7))
    for name, value in instances.get_fields().items():
        expected, found = (getattr(v, "tensor", v) for v in (value, back.get(name)))
        assert torch.equal(expected, found), name
    results = [{**r, "category_id": {0: 17, 1: 4}[r["category_id"]]} for r in results]
    best = instances_from_coco_json(results, (6, 7), {4: 1, 17: 0}, score_threshold=0.5)
    assert best.pred_classes.tolist() == [0] and best.scores.tolist() == [0.75]
    assert len(instances_from_coco_json([], (6, 7))) == 0


def test_entries_that_are_no_detections():
    good = {"category_id": 1, "bbox": [0, 0, 1, 1], "score": 0.5}
    for change, words in (
        ({"bbox": [1, 2]}, "cannot be read"),
        ({"bbox": None}, "cannot be read"),
        ({"score": "high"}, "cannot be read"),
        ({"segmentation": {"size": [9, 9], "counts": [81]}}, "masks of"),
        ({"keypoints": [1.0, 2.0]}, "cannot be read"),
    ):
        with pytest.raises(BadValue, match=words):
            instances_from_coco_json([{**good, **change}], (6, 7))
    with pytest.raises(BadValue, match="no 1;|no 1\\)"):
        instances_from_coco_json([good], (6, 7), {2: 0})
