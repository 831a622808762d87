import json
import math
import os
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from det2lite.config import get_cfg
from det2lite.data import MetadataCatalog
from det2lite.evaluation import (
    CityscapesInstanceEvaluator,
    CityscapesSemSegEvaluator,
    build_evaluator,
    inference_on_dataset,
)
from det2lite.structures import Instances
from det2lite.utils.errors import BadValue, MissingFile, UserError

NAME = "det2lite_test_cityscapes"
HEIGHT, WIDTH = 40, 80
ROAD, PERSON, CAR = 7, 24, 26  # label ids
THINGS = ["person", "rider", "car"]
STEM = "aachen_000000_000019"
IMAGE = f"/images/aachen/{STEM}_leftImg8bit.png"


@pytest.fixture
def metadata(tmp_path):
    """One image: road, two cars of 15 x 20 pixels, and a strip of 4 rows that is not evaluated."""
    instances = np.full((HEIGHT, WIDTH), ROAD, np.uint16)
    instances[5:20, 10:30] = 1000 * CAR
    instances[5:20, 50:70] = 1000 * CAR + 1
    instances[36:] = 4  # static
    folder = tmp_path / "gtFine" / "val" / "aachen"
    folder.mkdir(parents=True)
    Image.fromarray(instances).save(folder / f"{STEM}_gtFine_instanceIds.png")
    labels = np.where(instances >= 1000, instances // 1000, instances).astype(np.uint8)
    Image.fromarray(labels).save(folder / f"{STEM}_gtFine_labelIds.png")
    metadata = MetadataCatalog.get(NAME)
    metadata.set(gt_dir=str(folder.parent), thing_classes=THINGS)
    yield metadata
    MetadataCatalog.pop(NAME)


def detections(*rows):
    """rows: (class, score, rows from, to, columns from, to)"""
    masks = torch.zeros(len(rows), HEIGHT, WIDTH, dtype=torch.bool)
    for mask, (_, _, y0, y1, x0, x1) in zip(masks, rows, strict=True):
        mask[y0:y1, x0:x1] = True
    instances = Instances((HEIGHT, WIDTH), pred_masks=masks, scores=torch.tensor([r[1] for r in rows]))
    instances.pred_classes = torch.tensor([r[0] for r in rows], dtype=torch.int64)
    return {"instances": instances}


def scores_of(train_ids):
    return {"sem_seg": torch.nn.functional.one_hot(torch.tensor(train_ids), 19).permute(2, 0, 1).float()}


def run(evaluator, output, file_name=IMAGE):
    return inference_on_dataset(lambda batch: [output], [[{"file_name": file_name}]], evaluator)


@pytest.fixture
def scripts():
    pytest.importorskip("cityscapesscripts", reason="an optional package: pip install cityscapesscripts")


CAR_1, CAR_2 = (2, 0.9, 5, 20, 10, 30), (2, 0.8, 5, 20, 50, 70)


def test_instances(scripts, metadata, caplog, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    metadata.set(evaluator_type="cityscapes_instance")
    evaluator = build_evaluator(get_cfg(), NAME)
    assert isinstance(evaluator, CityscapesInstanceEvaluator)
    with caplog.at_level("INFO"):
        results = run(evaluator, detections(CAR_1, CAR_2))
    # persons and riders do not occur, and are left out of the mean
    assert results == {"segm": pytest.approx({"AP": 100, "AP50": 100})}
    assert list(results["segm"]) == ["AP", "AP50"] and "| car" in caplog.text
    assert not os.path.exists(evaluator._temp_dir) and os.getcwd() == str(tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["gtFine"], "nothing is left behind"


def test_overlap_and_classes_count(scripts, metadata):
    # 10 of 15 rows: IoU 2/3, enough for the thresholds 0.5, 0.55, 0.6, 0.65
    half = run(CityscapesInstanceEvaluator(NAME), detections((2, 0.9, 5, 15, 10, 30), (2, 0.8, 5, 15, 50, 70)))
    assert half["segm"] == pytest.approx({"AP": 40, "AP50": 100})
    persons = detections(*((0, *row[1:]) for row in (CAR_1, CAR_2)))
    assert run(CityscapesInstanceEvaluator(NAME), persons)["segm"]["AP50"] == 0


def test_no_instances(scripts, metadata):
    for output in (detections(), {}):
        assert run(CityscapesInstanceEvaluator(NAME), output)["segm"] == {"AP": 0, "AP50": 0}


def test_semantic_maps(scripts, metadata, caplog):
    metadata.set(evaluator_type="cityscapes_sem_seg")
    train_ids = np.zeros((HEIGHT, WIDTH), int)  # road
    train_ids[5:20, 10:30] = 13  # the first car; the second is taken for road
    evaluator = build_evaluator(get_cfg(), NAME)
    assert isinstance(evaluator, CityscapesSemSegEvaluator)
    with caplog.at_level("INFO"):
        results = run(evaluator, scores_of(train_ids))["sem_seg"]
    assert list(results) == ["IoU", "iIoU", "IoU_sup", "iIoU_sup"]
    road = 36 * WIDTH - 600
    iou_road, iou_car = road / (road + 300), 0.5
    # the other classes do not occur
    assert results["IoU"] == pytest.approx(100 * (iou_road + iou_car) / 2)
    assert results["IoU_sup"] == pytest.approx(100 * (iou_road + iou_car) / 2), "flat and vehicle"
    assert results["iIoU"] == results["iIoU_sup"] == pytest.approx(50)
    assert "| car" in caplog.text
    assert run(evaluator, scores_of(np.where(train_ids == 13, 13, 0)))["sem_seg"]["IoU"] == results["IoU"]


def test_mistakes_are_named(scripts, metadata, tmp_path):
    evaluator = CityscapesInstanceEvaluator(NAME)
    with pytest.raises(BadValue, match="Found no prediction for ground truth .*aachen_000000_000019"):
        run(evaluator, detections(CAR_1), file_name="/images/bonn_000000_000019_leftImg8bit.png")
    with pytest.raises(BadValue, match="class 7, but data set .* has 3 classes"):
        run(evaluator, detections((7, *CAR_1[1:])))
    small = {"sem_seg": torch.rand(19, 4, 4)}
    with pytest.raises(BadValue, match="Image widths of .* are not equal"):
        run(CityscapesSemSegEvaluator(NAME), small)
    with pytest.raises(BadValue, match="class 25, but Cityscapes has 19 training ids"):
        run(CityscapesSemSegEvaluator(NAME), {"sem_seg": torch.arange(26).float()[:, None, None]})
    for path in (tmp_path / "gtFine" / "val" / "aachen").iterdir():
        path.unlink()
    with pytest.raises(MissingFile, match="no ground truth to evaluate"):
        run(evaluator, detections(CAR_1))


def test_segments_too(scripts, metadata, tmp_path):
    ids = np.zeros((HEIGHT, WIDTH), np.uint8)
    ids[5:20, 10:30] = 1
    (tmp_path / "panoptic").mkdir()
    Image.fromarray(np.stack([ids, ids * 0, ids * 0], axis=-1)).save(tmp_path / "panoptic" / "a.png")
    segment = {"id": 1, "category_id": CAR, "iscrowd": 0, "area": 300}
    content = {
        "images": [{"id": STEM, "file_name": "a.png", "height": HEIGHT, "width": WIDTH}],
        "annotations": [{"image_id": STEM, "file_name": "a.png", "segments_info": [segment]}],
        "categories": [{"id": CAR, "name": "car", "isthing": 1}],
    }
    (tmp_path / "panoptic.json").write_text(json.dumps(content))
    metadata.set(
        evaluator_type="cityscapes_panoptic_seg",
        panoptic_json=str(tmp_path / "panoptic.json"),
        panoptic_root=str(tmp_path / "panoptic"),
        thing_dataset_id_to_contiguous_id={CAR: 2},
        stuff_dataset_id_to_contiguous_id={ROAD: 0},
    )
    segments = [{"id": 1, "category_id": 2, "isthing": True}]
    train_ids = np.where(ids, 13, 0)
    output = detections(CAR_1) | scores_of(train_ids) | {"panoptic_seg": (torch.tensor(ids), segments)}
    evaluator = build_evaluator(get_cfg(), NAME, str(tmp_path / "out"))
    results = inference_on_dataset(lambda batch: [output], [[{"file_name": IMAGE, "image_id": STEM}]], evaluator)
    assert list(results) == ["panoptic_seg", "sem_seg", "segm"]
    assert results["panoptic_seg"]["PQ"] == 100 and math.isnan(results["panoptic_seg"]["PQ_st"])


def test_without_the_package(metadata, monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "cityscapesscripts"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "cityscapesscripts", None)
    with pytest.raises(UserError, match="pip install cityscapesscripts") as caught:
        CityscapesInstanceEvaluator(NAME)
    assert isinstance(caught.value, ImportError)
