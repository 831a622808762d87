import json

import numpy as np
import pytest
import torch

from det2lite.evaluation.keep import PredictionKeeper
from det2lite.structures import Boxes, Instances
from det2lite.utils.errors import BadValue
from det2lite.utils.safe_pickle import load_pickle

INPUTS = [
    {"image_id": 7, "file_name": "a.png", "height": 4, "width": 6},
    {"image_id": "b", "file_name": "b.png", "height": 1, "width": 1},
]


def outputs():
    """Two objects in the first image, the second of one pixel; none in the second."""
    found = Instances((4, 6), pred_boxes=Boxes(torch.tensor([[0.0, 0, 2, 3], [5, 3, 6, 4]])))
    found.scores, found.pred_classes = torch.tensor([0.75, 0.5]), torch.tensor([1, 0])
    masks = torch.zeros(2, 4, 6, dtype=torch.bool)
    masks[0, :3, :2] = masks[1, 3, 5] = True
    found.pred_masks = masks
    none = Instances((1, 1), pred_boxes=Boxes(torch.zeros(0, 4)), scores=torch.zeros(0))
    none.pred_classes, none.pred_masks = torch.zeros(0, dtype=torch.int64), torch.zeros(0, 1, 1, dtype=torch.bool)
    return [{"instances": found}, {"instances": none}]


def keep(path, **options):
    keeper = PredictionKeeper(path, **options)
    keeper.process(INPUTS, outputs())
    keeper.reset()
    keeper.process(INPUTS, outputs())
    assert keeper.evaluate() is None


def test_json_as_coco_has_it(tmp_path):
    keep(tmp_path / "a.json", category_ids=[3, 90])
    first, second = json.loads((tmp_path / "a.json").read_text())
    assert first["image_id"] == 7 and first["category_id"] == 90 and second["category_id"] == 3
    assert first["bbox"] == [0.0, 0.0, 2.0, 3.0] and first["score"] == 0.75
    assert first["segmentation"]["size"] == [4, 6]
    keep(tmp_path / "b.json")
    assert [entry["category_id"] for entry in json.loads((tmp_path / "b.json").read_text())] == [1, 0]


def test_arrays(tmp_path):
    keep(tmp_path / "a.pkl", class_names=["x", "y"], category_ids=[3, 90])
    kept = load_pickle(str(tmp_path / "a.pkl"))
    assert kept["class_names"] == ["x", "y"] and kept["category_ids"] == [3, 90]
    first, second = kept["images"]
    assert first["file_name"] == "a.png" and (first["height"], first["width"]) == (4, 6)
    np.testing.assert_array_equal(first["boxes"], [[0, 0, 2, 3], [5, 3, 6, 4]])
    assert first["classes"].tolist() == [1, 0] and len(first["masks"]) == 2
    assert second["image_id"] == "b" and second["boxes"].shape == (0, 4) and second["masks"] == []


def test_what_cannot_be_kept(tmp_path):
    with pytest.raises(BadValue, match=r"\.json, \.pkl"):
        PredictionKeeper(tmp_path / "a.txt")
    keeper = PredictionKeeper(tmp_path / "a.json")
    with pytest.raises(BadValue, match="no instances"):
        keeper.process(INPUTS[:1], [{"sem_seg": torch.zeros(2, 4, 6)}])
    assert list(tmp_path.iterdir()) == []
