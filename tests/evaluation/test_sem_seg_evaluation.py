import json

import numpy as np
import pycocotools.mask as mask_util
import pytest
import torch
from PIL import Image

from det2lite.config import get_cfg
from det2lite.data import DatasetCatalog, MetadataCatalog
from det2lite.evaluation import SemSegEvaluator, build_evaluator, inference_on_dataset
from det2lite.evaluation.sem_seg_evaluation import load_image_into_numpy_array
from det2lite.utils.errors import BadValue, MissingFile

NAME = "det2lite_test_sem_seg"
TRUTH = [[0, 0, 0, 0], [1, 1, 255, 255]]
PREDICTED = [[0, 0, 0, 1], [1, 0, 0, 1]]


@pytest.fixture
def register(tmp_path):
    """`register(*truths, **metadata)`: a data set of images 0.jpg, 1.jpg, ... with these maps."""

    def register(*truths, **metadata):
        samples = []
        for i, truth in enumerate(truths):
            path = tmp_path / f"{i}.png"
            Image.fromarray(np.array(truth, np.uint8)).save(path)
            samples.append({"file_name": f"{i}.jpg", "sem_seg_file_name": str(path)})
        DatasetCatalog.register(NAME, lambda: samples)
        MetadataCatalog.get(NAME).set(
            **{"stuff_classes": ["sky", "sea"], "ignore_label": 255, "evaluator_type": "sem_seg"} | metadata
        )

    yield register
    for catalog in (DatasetCatalog, MetadataCatalog):
        if NAME in catalog:
            catalog.pop(NAME)


def scores_of(labels, num_classes=2):
    """Scores whose best class is that of the label map."""
    return {"sem_seg": torch.nn.functional.one_hot(torch.tensor(labels), num_classes).permute(2, 0, 1).float()}


def run(evaluator, *outputs, names=None):
    inputs = [{"file_name": name} for name in names or [f"{i}.jpg" for i in range(len(outputs))]]
    return inference_on_dataset(lambda batch: list(outputs), [inputs] if inputs else [], evaluator)


def test_results_and_files(register, tmp_path, caplog):
    register(TRUTH)
    cfg = get_cfg()
    cfg.OUTPUT_DIR = str(tmp_path)
    with caplog.at_level("INFO"):
        results = run(build_evaluator(cfg, NAME), scores_of(PREDICTED))
    assert list(results) == ["sem_seg"]
    results = results["sem_seg"]
    names = ["mIoU", "fwIoU"]
    for name in ("sky", "sea"):
        names += [f"IoU-{name}", f"BoundaryIoU-{name}", f"min(IoU, B-Iou)-{name}"]
    assert list(results) == [*names, "mACC", "pACC", "ACC-sky", "ACC-sea"]
    # sky: 3 right of 4 true and 4 predicted; sea: 1 right of 2 true and 2 predicted
    assert results["IoU-sky"] == pytest.approx(60) and results["IoU-sea"] == pytest.approx(100 / 3)
    assert results["mIoU"] == pytest.approx((60 + 100 / 3) / 2) and results["mACC"] == pytest.approx(62.5)
    assert results["fwIoU"] == pytest.approx(40 + 100 / 9) and results["pACC"] == pytest.approx(400 / 6)
    assert results["BoundaryIoU-sky"] == pytest.approx(60), "so small an image is all boundary"
    assert "| sea " in caplog.text and "mACC" in caplog.text

    folder = tmp_path / "inference"
    predictions = json.loads((folder / "sem_seg_predictions.json").read_text())
    assert [(p["file_name"], p["category_id"]) for p in predictions] == [("0.jpg", 0), ("0.jpg", 1)]
    assert mask_util.decode(predictions[1]["segmentation"]).tolist() == PREDICTED
    assert torch.load(folder / "sem_seg_evaluation.pth", weights_only=True) == results


def test_boundaries_count_alone(register):
    truth = np.zeros((100, 100), np.uint8)
    truth[30:70, 30:70] = 1
    predicted = truth.copy()
    predicted[45:55, 45:55] = 0  # a hole far from the boundary, 3 pixels wide, of the true square
    register(truth)
    results = run(SemSegEvaluator(NAME), scores_of(predicted.astype(int)))["sem_seg"]
    assert results["IoU-sea"] == pytest.approx(100 * 1500 / 1600)
    outer = 40**2 - 34**2
    around_hole = 16**2 - 10**2
    assert results["BoundaryIoU-sea"] == pytest.approx(100 * outer / (outer + around_hole))
    assert results["min(IoU, B-Iou)-sea"] == results["BoundaryIoU-sea"]


def test_ignored_pixels_count_nowhere(register):
    truth = np.full((50, 50), 255, np.uint8)
    truth[:25] = 1
    register(truth)
    predicted = np.ones((50, 50), int)
    results = run(SemSegEvaluator(NAME), scores_of(predicted))["sem_seg"]
    assert results["mIoU"] == results["pACC"] == 100
    assert np.isnan(results["IoU-sky"]) and np.isnan(results["ACC-sky"])
    wrong = predicted.copy()
    wrong[25:] = 0
    assert run(SemSegEvaluator(NAME), scores_of(wrong))["sem_seg"]["IoU-sea"] == 100


def test_images_add_up_and_reset_forgets(register):
    register([[0, 0]], [[1, 0]])
    evaluator = SemSegEvaluator(NAME, distributed=False)
    both = [scores_of([[0, 0]]), scores_of([[1, 1]])]
    for _ in range(2):
        assert run(evaluator, *both)["sem_seg"]["pACC"] == 75
    assert run(evaluator, both[0])["sem_seg"]["pACC"] == 100


def test_no_images_and_one_pixel(register):
    register([[1]])
    assert np.isnan(run(SemSegEvaluator(NAME))["sem_seg"]["mIoU"])
    assert run(SemSegEvaluator(NAME), scores_of([[1]]))["sem_seg"]["mIoU"] == 100


def test_original_categories(register):
    register([[0, 1]], stuff_dataset_id_to_contiguous_id={92: 0, 200: 1})
    evaluator = SemSegEvaluator(NAME)
    encoded = evaluator.encode_json_sem_seg(np.array([[1, 1], [0, 1]]), "a.jpg")
    assert [e["category_id"] for e in encoded] == [92, 200]
    assert mask_util.decode(encoded[0]["segmentation"]).tolist() == [[0, 0], [1, 0]]
    with pytest.raises(BadValue, match="class 2"):
        evaluator.encode_json_sem_seg(np.array([[2]]), "a.jpg")


def test_own_loading_function(register):
    register([[0, 1]])
    asked = []

    def load(path, dtype):
        asked.append(path)
        return np.array([[1, 1]], dtype)

    evaluator = SemSegEvaluator(NAME, sem_seg_loading_fn=load)
    assert run(evaluator, scores_of([[1, 1]]))["sem_seg"]["pACC"] == 100
    assert len(asked) == 1 and asked[0].endswith("0.png")


def test_deep_maps_are_read_exactly(tmp_path):
    path = tmp_path / "deep.tif"
    Image.fromarray(np.array([[3000, 65535]], np.uint16)).save(path)
    assert load_image_into_numpy_array(str(path), dtype=int).tolist() == [[3000, 65535]]


def test_mistakes_are_named(register, tmp_path):
    register([[0, 1]], [[0, 7]])
    evaluator = SemSegEvaluator(NAME)
    one = scores_of([[0, 1]])
    for names, output, message in (
        (["other.jpg"], one, "other.jpg: the image is not in data set"),
        (["0.jpg"], scores_of([[0], [1]]), r"0.png: the map is of shape \(1, 2\).*\(2, 1\)"),
        (["0.jpg"], scores_of([[0, 2]], 3), "class 2, but .* has 2 classes"),
        (["1.jpg"], one, "1.png: a pixel has label 7, but there are 2 classes"),
    ):
        with pytest.raises(BadValue, match=message):
            run(evaluator, output, names=names)
    (tmp_path / "0.png").unlink()
    with pytest.raises(MissingFile, match="0.png"):
        run(evaluator, one)
    with pytest.raises(BadValue, match="num_classes is 5"):
        SemSegEvaluator(NAME, num_classes=5)


def test_data_set_without_maps():
    DatasetCatalog.register(NAME, lambda: [{"file_name": "a.jpg"}])
    try:
        with pytest.raises(BadValue, match="a.jpg has no sem_seg_file_name"):
            SemSegEvaluator(NAME)
    finally:
        DatasetCatalog.pop(NAME)
