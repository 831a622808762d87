import copy
import json
import math
import random

import pytest
import torch

from det2lite.config import get_cfg
from det2lite.data import DatasetCatalog, MetadataCatalog
from det2lite.data.datasets import register_lvis_instances
from det2lite.evaluation import LVISEvaluator, build_evaluator, inference_on_dataset
from det2lite.evaluation.coco_ground_truth import CocoGroundTruth
from det2lite.evaluation.lvis_evaluation import compute_lvis_scores, metrics_of
from det2lite.structures import Boxes, Instances
from det2lite.utils.errors import BadValue

NAME = "det2lite_test_lvis"
METRICS = ["AP", "AP50", "AP75", "APs", "APm", "APl", "APr", "APc", "APf"]
HIT, MISS = [10, 10, 60, 60], [70, 0, 85, 9]


def category(id, frequency):
    return {"id": id, "name": f"c{id}", "synset": f"c{id}.n.01", "frequency": frequency, "image_count": 1}


def image(id, negative=(), not_exhaustive=()):
    return {
        "id": id,
        "height": 80,
        "width": 90,
        "coco_url": f"http://images.cocodataset.org/val2017/{id:012}.jpg",
        "neg_category_ids": list(negative),
        "not_exhaustive_category_ids": list(not_exhaustive),
    }


def annotation(id, image_id, category_id):
    square = [[10, 10, 60, 10, 60, 60, 10, 60]]
    return {"id": id, "image_id": image_id, "category_id": category_id, "bbox": [10, 10, 50, 50], "area": 2500,
            "segmentation": square}  # fmt: skip


def content(**image_1):
    return {
        "images": [image(1, **image_1), image(2)],
        "categories": [category(1, "r"), category(2, "c"), category(3, "f")],
        "annotations": [annotation(1, 1, 1), annotation(2, 2, 2)],
    }


@pytest.fixture
def register(tmp_path):
    def register(dataset, **metadata):
        path = tmp_path / "lvis.json"
        path.write_text(json.dumps(dataset))
        register_lvis_instances(NAME, metadata, str(path), str(tmp_path))

    yield register
    for catalog in (DatasetCatalog, MetadataCatalog):
        if NAME in catalog:
            catalog.pop(NAME)


def detections(*rows, masks=False):
    """rows: (class from 0, score, box XYXY)"""
    instances = Instances((80, 90))
    instances.pred_boxes = Boxes(torch.tensor([box for *_, box in rows], dtype=torch.float32).reshape(-1, 4))
    instances.scores = torch.tensor([score for _, score, _ in rows])
    instances.pred_classes = torch.tensor([label for label, *_ in rows], dtype=torch.int64)
    if masks:
        instances.pred_masks = torch.zeros(len(rows), 80, 90, dtype=torch.bool)
        instances.pred_masks[:, 10:60, 10:60] = True
    return {"instances": instances}


def run(evaluator, *outputs):
    batch = [{"image_id": i} for i in (1, 2)][: len(outputs)]
    return inference_on_dataset(lambda inputs: list(outputs), [batch] if batch else [], evaluator)


FOUND = detections((0, 0.9, HIT)), detections((1, 0.9, HIT))


def test_results_and_files(register, tmp_path, caplog):
    register(content())
    cfg = get_cfg()
    cfg.OUTPUT_DIR = str(tmp_path)
    both = detections((0, 0.9, HIT), masks=True), detections((1, 0.9, MISS), masks=True)
    with caplog.at_level("INFO"):
        results = run(build_evaluator(cfg, NAME), *both)
    assert list(results) == ["bbox", "segm"]
    for task, common in (("bbox", 0), ("segm", 100)):
        assert list(results[task]) == METRICS
        ap = (100 + common) / 2
        expected = {"AP": ap, "AP50": ap, "AP75": ap, "APm": ap, "APr": 100, "APc": common}
        assert {name: results[task][name] for name in expected} == pytest.approx(expected)
        assert all(math.isnan(results[task][name]) for name in ("APs", "APl", "APf"))
    assert "APr" in caplog.text
    saved = json.loads((tmp_path / "inference" / "lvis_instances_results.json").read_text())
    assert [r["category_id"] for r in saved] == [1, 2] and saved[0]["bbox"] == [10, 10, 50, 50]
    assert (tmp_path / "inference" / "instances_predictions.pth").is_file()


def precision_of(register, wrong, **image_1):
    """AP of category 1 where a better-scored detection beside the object is `wrong`."""
    register(content(**image_1))
    evaluator = LVISEvaluator(NAME, tasks=("bbox",))
    return run(evaluator, detections(wrong, (0, 0.5, HIT)), FOUND[1])["bbox"]


def test_surplus_detections_are_wrong_where_a_category_is_exhaustive(register):
    assert precision_of(register, (0, 0.9, MISS))["APr"] == pytest.approx(50)


def test_surplus_detections_do_not_count_where_it_is_not(register):
    assert precision_of(register, (0, 0.9, MISS), not_exhaustive=[1])["APr"] == pytest.approx(100)


@pytest.mark.parametrize("negative, expected", [([], 100), ([2], 50)])
def test_other_categories_count_only_where_they_were_looked_for(register, negative, expected):
    assert precision_of(register, (1, 0.95, MISS), negative=negative)["APc"] == pytest.approx(expected)


def test_detections_of_an_image_are_limited_over_all_categories(register):
    register(content())
    crowded = detections((2, 0.9, MISS), (2, 0.8, MISS), (0, 0.5, HIT)), FOUND[1]
    assert run(LVISEvaluator(NAME), *crowded)["bbox"]["APr"] == pytest.approx(100)
    assert run(LVISEvaluator(NAME, max_dets_per_image=2), *crowded)["bbox"]["APr"] == 0
    assert run(LVISEvaluator(NAME, max_dets_per_image=3), *crowded)["bbox"]["APr"] == pytest.approx(100)


def test_categories_of_the_metadata(register):
    register(content(), thing_dataset_id_to_contiguous_id={1: 1, 2: 0})
    swapped = detections((1, 0.9, HIT)), detections((0, 0.9, HIT))
    assert run(LVISEvaluator(NAME), *swapped)["bbox"]["AP"] == pytest.approx(100)
    with pytest.raises(BadValue, match="class 2"):
        run(LVISEvaluator(NAME), detections((2, 0.9, HIT)))


def test_nothing_found_and_nothing_to_find(register, caplog):
    register(content())
    evaluator = LVISEvaluator(NAME)
    assert run(evaluator, detections(), detections())["bbox"]["AP"] == 0 and "No predictions" in caplog.text
    assert run(evaluator) == {} and "[LVISEvaluator] Did not receive valid predictions." in caplog.text
    nan_score = detections((0, math.nan, HIT)), FOUND[1]
    assert run(evaluator, *nan_score)["bbox"]["AP"] == pytest.approx(50)
    assert evaluator.evaluate(img_ids=[2])["bbox"]["AP"] == pytest.approx(100)


def test_a_set_without_annotations_is_only_saved(register, tmp_path):
    register(content() | {"annotations": []})
    assert run(LVISEvaluator(NAME, output_dir=str(tmp_path)), *FOUND) == {}
    assert len(json.loads((tmp_path / "lvis_instances_results.json").read_text())) == 2


def test_proposals(register):
    register(content())
    proposals = Instances((80, 90), proposal_boxes=Boxes(torch.tensor([HIT]).float()))
    proposals.objectness_logits = torch.zeros(1)
    results = run(LVISEvaluator(NAME), {"proposals": proposals}, {"proposals": proposals[:0]})
    assert results["box_proposals"]["AR@100"] == pytest.approx(100)


def test_mistakes_are_named(register, tmp_path):
    with pytest.raises(BadValue, match="unknown tasks .'keypoints'.; LVISEvaluator knows bbox, segm"):
        LVISEvaluator(NAME, tasks=("keypoints",))
    with pytest.raises(BadValue, match="no json_file"):
        LVISEvaluator(NAME)


def random_data(count=25):
    """(ground truth, results) with everything that the rules distinguish."""
    draw = random.Random(7).random
    categories = [category(i, "rcf"[i % 3]) for i in range(1, 9)]
    dataset = {"images": [], "categories": categories, "annotations": []}
    results = []

    def box():
        sizes = [(15, 50, 120)[int(draw() * 3)] * (0.5 + 0.6 * draw()) for _ in range(2)]
        return [draw() * (300 - sizes[0]), draw() * (200 - sizes[1]), *sizes]

    def polygon(x, y, w, h):
        return [[x, y, x + w, y, x + w, y + h, x + w / 2, y + h, x, y + 0.6 * h]]

    def add_result(image_id, category_id, xywh, score):
        result = {"image_id": image_id, "category_id": category_id, "bbox": xywh, "score": score}
        results.append(result | {"segmentation": polygon(*xywh)})

    for image_id in range(1, count + 1):
        negative = [c["id"] for c in categories if draw() < 0.3]
        present = [c["id"] for c in categories if c["id"] not in negative and draw() < 0.5]
        entry = image(image_id, negative, [c for c in present if draw() < 0.3])
        dataset["images"].append(entry | {"height": 200, "width": 300})
        for category_id in present:
            for _ in range(1 + int(3 * draw())):
                xywh = box()
                entry = {"id": len(dataset["annotations"]) + 1, "image_id": image_id, "category_id": category_id}
                entry |= {"bbox": xywh, "area": 0.8 * xywh[2] * xywh[3], "segmentation": polygon(*xywh)}
                dataset["annotations"].append(entry)
                for _ in range(int(3 * draw())):
                    moved = [v + 8 * draw() - 4 for v in xywh[:2]] + [max(2, v + 8 * draw() - 4) for v in xywh[2:]]
                    add_result(image_id, category_id if draw() < 0.8 else 1 + int(8 * draw()), moved, draw())
        for _ in range(6):
            add_result(image_id, 1 + int(8 * draw()), box(), 0.6 * draw())
    return dataset, results


# what the package lvis 0.5.3 computes on `random_data()`
REFERENCE = {
    ("bbox", 300): [19.584499, 38.29731, 16.540451, 13.892481, 31.583016, 90.0, 24.002217, 15.140341, 21.083512],
    ("bbox", 6): [15.357251, 29.162061, 13.196426, 11.6272, 22.709247, 50.0, 16.047673, 12.21924, 18.03498],
    ("segm", 300): [19.194904, 37.810952, 16.693091, 13.28615, 31.426822, 90.0, 22.981965, 15.400965, 20.464137],
    ("segm", 6): [14.949966, 28.369982, 13.196426, 11.049593, 22.517705, 50.0, 15.252347, 12.298605, 17.399741],
}


@pytest.mark.parametrize("task, max_dets", list(REFERENCE))
def test_numbers_are_those_of_lvis(task, max_dets):
    dataset, results = random_data()
    truth = CocoGroundTruth(copy.deepcopy(dataset))
    scores = compute_lvis_scores(truth, copy.deepcopy(results), task, max_dets)
    frequencies = [c["frequency"] for c in dataset["categories"]]
    assert list(metrics_of(scores, frequencies).values()) == pytest.approx(REFERENCE[task, max_dets], abs=1e-5)
