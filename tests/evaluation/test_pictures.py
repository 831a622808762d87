import cv2
import numpy as np
import torch

from det2lite.data import Metadata
from det2lite.evaluation.pictures import PictureMaker
from det2lite.structures import Boxes, BoxMode, Instances


def sample(tmp_path, name, number, annotated=True):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    cv2.imwrite(str(path), np.full((40, 60, 3), 90, np.uint8))
    made = {"file_name": str(path), "image_id": number, "height": 40, "width": 60}
    box = {"bbox": [10, 10, 20, 20], "bbox_mode": BoxMode.XYWH_ABS, "category_id": 0}
    return made | {"annotations": [box]} if annotated else made


def output(*scores):
    found = Instances((40, 60), pred_boxes=Boxes(torch.tensor([[5.0, 5, 50, 30]] * len(scores)).reshape(-1, 4)))
    found.scores, found.pred_classes = torch.tensor(scores), torch.zeros(len(scores), dtype=torch.int64)
    return {"instances": found}


def test_truth_left_prediction_right(tmp_path):
    samples = [sample(tmp_path, "a/1.png", 1), sample(tmp_path, "b/1.png", 2), sample(tmp_path, "b/2.png", 3)]
    shown = []
    maker = PictureMaker(samples, Metadata(thing_classes=["x"]), folder=str(tmp_path / "out"), show=shown.append)
    inputs = [{"image_id": s["image_id"], "file_name": s["file_name"]} for s in samples]
    maker.process(inputs, [output(0.9), output(0.4), output()])
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["1_1.jpg", "1_2.jpg", "2.jpg"]
    assert all(picture.shape == (40, 120, 3) for picture in shown)
    drawn = [[np.ptp(half) > 0 for half in np.split(picture, 2, axis=1)] for picture in shown]
    assert drawn == [[True, True], [True, False], [True, False]]  # below 0.5 nothing is drawn
    assert maker.evaluate() is None


def test_without_truth(tmp_path):
    shown = []
    only = sample(tmp_path, "a.png", "x/y", annotated=False)
    PictureMaker([only], Metadata(), show=shown.append).process([only], [output(1.0)])
    assert shown[0].shape == (40, 60, 3) and sorted(p.name for p in tmp_path.iterdir()) == ["a.png"]
