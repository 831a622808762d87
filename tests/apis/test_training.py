import json
import logging
from pathlib import Path

import cv2
import numpy as np
import pytest

from det2lite.apis import evaluate, init_detector, train
from det2lite.data import DatasetCatalog, MetadataCatalog
from det2lite.data.datasets import register_coco_instances
from det2lite.utils.errors import BadValue

CONFIG = Path(__file__).parents[2] / "configs/quick_start/mask_rcnn_shapes.yaml"
SMALL = {
    "SOLVER.MAX_ITER": 1,
    "SOLVER.IMS_PER_BATCH": 1,
    "SOLVER.STEPS": (),
    "SOLVER.BASE_LR": 1e-4,
    "INPUT.MIN_SIZE_TRAIN": (32,),
    "INPUT.MIN_SIZE_TEST": 32,
    "MODEL.ROI_HEADS.NUM_CLASSES": 2,
    "MODEL.ROI_HEADS.SCORE_THRESH_TEST": 0.0,
    "TEST.EVAL_PERIOD": 0,
    "DATASETS.TRAIN": ("api_train_test",),
    "DATASETS.TEST": ("api_train_test",),
}


@pytest.fixture
def dataset(tmp_path):
    """Two images with an object each, of categories with the ids 5 and 9."""
    boxes = {1: [4, 4, 20, 20], 2: [10, 8, 30, 16]}
    content = {
        "images": [{"id": i, "file_name": f"{i}.png", "height": 48, "width": 64} for i in boxes],
        "categories": [{"id": 5, "name": "ant"}, {"id": 9, "name": "bee"}],
        "annotations": [],
    }
    for number, (x, y, w, h) in boxes.items():
        outline = [x, y, x + w, y, x + w, y + h, x, y + h]
        annotation = {"id": number, "image_id": number, "category_id": 5 if number == 1 else 9, "bbox": [x, y, w, h]}
        content["annotations"].append({**annotation, "area": w * h, "iscrowd": 0, "segmentation": [outline]})
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((48, 64, 3), 80 * number, np.uint8))
    (tmp_path / "data.json").write_text(json.dumps(content))
    register_coco_instances("api_train_test", {}, str(tmp_path / "data.json"), str(tmp_path))
    loggers = [logging.getLogger(name) for name in ("det2lite", "fvcore")]
    before = [(list(logger.handlers), logger.propagate, logger.level) for logger in loggers]
    yield tmp_path
    for logger, (handlers, propagate, level) in zip(loggers, before, strict=True):
        logger.handlers[:], logger.propagate, logger.level = handlers, propagate, level
    DatasetCatalog.pop("api_train_test")
    MetadataCatalog.pop("api_train_test")


def test_train_predict_evaluate(dataset):
    options = [part for pair in SMALL.items() for part in pair]
    metrics = train(CONFIG, output_dir=dataset / "run", device="cpu", options=options)
    assert metrics.keys() >= {"bbox", "segm"}
    weights = dataset / "run" / "model_final.pth"
    with pytest.raises(BadValue, match="holds a run already"):
        train(CONFIG, output_dir=dataset / "run", device="cpu", options=options)
    (dataset / "run" / "last_checkpoint").unlink()
    with pytest.raises(BadValue, match="resume=True"):  # a checkpoint alone is a run
        train(CONFIG, output_dir=dataset / "run", device="cpu", options=options)
    (dataset / "run" / "last_checkpoint").write_text("model_final.pth")
    again = evaluate(checkpoint=weights, output_dir=dataset / "eval", device="cpu")
    assert again["bbox"]["AP"] == pytest.approx(metrics["bbox"]["AP"], abs=1e-6)
    assert (dataset / "eval" / "inference" / "coco_instances_results.json").is_file()
    assert evaluate(checkpoint=weights, datasets="api_train_test", device="cpu", output_dir=dataset / "eval").keys()
    model = init_detector(checkpoint=weights, device="cpu")
    assert model.class_names == ["ant", "bee"] and model.classes.category_ids == (5, 9)
    assert {entry["category_id"] for entry in model(dataset / "1.png").to_coco(1)} <= {5, 9}
    resumed = train(
        CONFIG, output_dir=dataset / "run", device="cpu", options=[*options, "SOLVER.MAX_ITER", 2], resume=True
    )
    assert resumed.keys() >= {"bbox", "segm"}
