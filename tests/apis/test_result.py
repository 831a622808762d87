import json
import sys
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from det2lite.apis.classes import Classes
from det2lite.apis.drawing import VideoDrawer
from det2lite.apis.masks import CroppedMasks
from det2lite.apis.predictions import result_of
from det2lite.apis.result import DetectionResult
from det2lite.structures import Boxes, Instances, RotatedBoxes
from det2lite.utils.errors import BadValue

CLASSES = Classes(("cat", "dog"), (17, 18))


def some_result(**changes):
    masks = torch.zeros(3, 20, 30, dtype=torch.bool)
    for index, (x0, y0, x1, y1) in enumerate([(2, 3, 12, 9), (20, 10, 25, 15), (0, 0, 1, 1)]):
        masks[index, y0:y1, x0:x1] = True
    values = {
        "image_size": (20, 30),
        "boxes": np.array([[2, 3, 12, 9], [20, 10, 25, 15], [0, 0, 1, 1]], dtype=np.float32),
        "scores": np.array([0.75, 0.5, 0.25], dtype=np.float32),
        "class_ids": np.array([1, 0, 1]),
        "cropped_masks": CroppedMasks.from_dense(masks),
        "keypoints": np.arange(18, dtype=np.float32).reshape(3, 2, 3),
        "classes": CLASSES,
    }
    return DetectionResult(**{**values, **changes})


def test_choosing():
    result = some_result()
    assert len(result) == 3 and [one.class_name for one in result] == ["dog", "cat", "dog"]
    assert result[1].score == 0.5 and result[-1].class_id == 1 and result[0].category_id == 18
    assert result[0].mask.sum() == 60 and result[0].mask.shape == (20, 30)
    for index in (slice(0, 2), [0, 1], np.array([True, True, False]), torch.tensor([True, True, False])):
        chosen = result[index]
        assert chosen.class_names == ["dog", "cat"] and chosen.masks.sum() == 85 and chosen.keypoints.shape == (2, 2, 3)
    assert len(result[result.scores > 0.3]) == len(result.above(0.5)) == 2
    assert len(result[[]]) == len(result[result.scores > 1]) == 0 and result[[]].masks.shape == (0, 20, 30)
    for wrong in (3, -4, np.array([True])):
        with pytest.raises(IndexError):
            result[wrong]
    assert repr(result) == "DetectionResult(3 detections in 30 x 20 pixels: 2 dog, 1 cat)"


def test_coco():
    first, second, third = some_result().to_coco(image_id=42)
    assert first["image_id"] == 42 and first["category_id"] == 18 and second["category_id"] == 17
    assert first["bbox"] == [2, 3, 10, 6] and first["score"] == 0.75
    assert first["segmentation"]["size"] == [20, 30] and first["keypoints"] == [-0.5, 0.5, 2, 2.5, 3.5, 5]
    assert [e["category_id"] for e in some_result().to_coco(1, {0: 5, 1: 6})] == [6, 5, 6]
    assert [e["category_id"] for e in some_result().to_coco(1, [5, 6])] == [6, 5, 6]
    assert [e["category_id"] for e in some_result(classes=Classes()).to_coco(1)] == [1, 0, 1]
    with pytest.raises(BadValue, match="class 1"):
        some_result().to_coco(1, [5])
    assert some_result()[[]].to_coco() == []
    json.dumps(third)


def test_dict_and_file(tmp_path):
    result = some_result(source="a.jpg")
    result.save(tmp_path / "new" / "x.json")
    content = json.loads((tmp_path / "new" / "x.json").read_text())
    assert content == result.to_dict() and (content["height"], content["width"], content["source"]) == (20, 30, "a.jpg")
    first = content["detections"][0]
    assert first.keys() == {"box", "score", "class_id", "class_name", "category_id", "mask", "keypoints"}
    assert first["box"] == [2, 3, 12, 9] and first["class_name"] == "dog"


def test_supervision(monkeypatch):
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(BadValue, match="pip install supervision"):
        some_result().to_supervision()
    monkeypatch.setitem(sys.modules, "supervision", SimpleNamespace(Detections=lambda **fields: fields))
    fields = some_result().to_supervision()
    assert fields["xyxy"].shape == (3, 4) and fields["mask"].shape == (3, 20, 30) and fields["confidence"][0] == 0.75
    assert fields["class_id"].tolist() == [1, 0, 1] and fields["data"]["class_name"].tolist() == ["dog", "cat", "dog"]
    assert some_result(cropped_masks=None).to_supervision()["mask"] is None


def test_pictures(tmp_path):
    image = np.full((20, 30, 3), 90, np.uint8)
    path = tmp_path / "i.png"
    cv2.imwrite(str(path), image)
    for result in (some_result(source=str(path)), some_result(image=image), some_result(image=Image.fromarray(image))):
        picture = result.plot()
        assert picture.size == (30, 20) and (np.asarray(picture) != 90).any()
    assert (np.asarray(some_result(image=image).plot(score_threshold=0.9)) == 90).all()
    some_result(image=image).show_result(out_file=tmp_path / "out.jpg")
    some_result(image=image).save(tmp_path / "out.pdf")
    assert cv2.imread(str(tmp_path / "out.jpg")).shape == (20, 30, 3) and (tmp_path / "out.pdf").stat().st_size
    with pytest.raises(BadValue, match="image itself"):
        some_result(source=str(path)).save(path)
    with pytest.raises(BadValue, match="pass it"):
        some_result().plot()
    with pytest.raises(BadValue, match=r"'\.xyz'"):
        some_result(image=image).save(tmp_path / "out.xyz")


def test_large_pictures_are_scaled_down(monkeypatch):
    monkeypatch.setattr("det2lite.apis.drawing.MAX_PIXELS", 150)
    sem_seg = np.zeros((20, 30), np.int32)
    panoptic = (np.ones((20, 30), np.int32), [{"id": 1, "category_id": 0, "isthing": True}])
    image = np.full((20, 30, 3), 90, np.uint8)
    for result in (some_result(), some_result(sem_seg=sem_seg), some_result(panoptic_seg=panoptic)):
        assert result.plot(image).size == (15, 10)


def test_marks_of_small_objects_are_small_in_videos_too():
    def painted(drawer, side):
        boxes = np.array([[200, 200, 200 + side, 200 + side]], dtype=np.float32)
        result = DetectionResult((600, 600), boxes, np.ones(1, np.float32), np.zeros(1, np.int64), classes=CLASSES)
        return drawer.draw(np.zeros((600, 600, 3), np.uint8), result).any(axis=2).sum()

    usual, large = VideoDrawer(CLASSES.metadata), VideoDrawer(CLASSES.metadata)
    large._suit_sizes = lambda result: None
    assert painted(VideoDrawer(CLASSES.metadata), 12) < painted(large, 12)
    small = painted(usual, 12)
    painted(usual, 300)  # one frame of large objects hardly changes the size of marks
    assert small <= painted(usual, 12) < 1.6 * small


def instances(**fields):
    return Instances((20, 30), **fields)


def test_from_predictions():
    boxes = Boxes(torch.tensor([[1.0, 2, 3, 4]]))
    found = instances(pred_boxes=boxes, scores=torch.tensor([0.5]), pred_classes=torch.tensor([1]))
    result = result_of({"instances": found}, (20, 30), CLASSES)
    assert result.boxes.tolist() == [[1, 2, 3, 4]] and result.class_names == ["dog"] and result.masks is None
    rotated = instances(pred_boxes=RotatedBoxes(torch.tensor([[10.0, 10, 8, 2, 90]])))
    result = result_of({"instances": rotated}, (20, 30), CLASSES)
    assert np.allclose(result.boxes, [[9, 6, 11, 14]], atol=1e-5) and result.to_coco()[0]["bbox"] == [10, 10, 8, 2, 90]
    proposals = instances(proposal_boxes=boxes, objectness_logits=torch.tensor([0.0]))
    result = result_of({"proposals": proposals}, (20, 30), CLASSES)
    assert result.scores.tolist() == [0.5] and result.class_names == ["object"] and result.are_proposals
    sem_seg = torch.stack([torch.zeros(20, 30), torch.ones(20, 30)])
    result = result_of({"sem_seg": sem_seg}, (20, 30), CLASSES)
    assert len(result) == 0 and not result.finds_objects and (result.sem_seg == 1).all()
    ids = torch.ones(20, 30, dtype=torch.int32)
    result = result_of({"panoptic_seg": (ids, []), "instances": found}, (20, 30), CLASSES)
    assert result.panoptic_seg[0].shape == (20, 30) and len(result) == 1
    empty = instances(pred_boxes=Boxes(torch.zeros(0, 4)), scores=torch.zeros(0), pred_classes=torch.zeros(0).long())
    empty.pred_masks = torch.zeros(0, 20, 30, dtype=torch.bool)
    result = result_of({"instances": empty}, (20, 30), CLASSES)
    assert len(result) == 0 and result.masks.shape == (0, 20, 30) and result.to_dict()["detections"] == []
