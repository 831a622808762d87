"""Detections kept as columns and pieces of files are those that were given."""

import copy
import io
import itertools
import json
import math
import pickle

import numpy as np
import pytest
import torch

from det2lite.evaluation.coco_ground_truth import CocoGroundTruth
from det2lite.evaluation.coco_numbers import compute_scores, keys_of
from det2lite.evaluation.detections import Detections, ImageDetections, packed
from det2lite.evaluation.lvis_evaluation import compute_lvis_scores
from det2lite.evaluation.result_files import results_as_json, save_predictions, write_results

ORIGINAL = {0: 10, 1: 20}
CODE = {"size": [4, 3], "counts": "240"}  # 2 pixels, 4 of the mask, 6 others


def entry(category=0, score=0.1, **more):
    return {"image_id": "a/ü.jpg", "category_id": category, "bbox": [1.5, 0.1, 3.25, 1e-07], "score": score, **more}


def by_image(results):
    groups = itertools.groupby(results, key=lambda result: result["image_id"])
    return [packed(list(group), None, with_text=True) for _, group in groups]


@pytest.mark.parametrize("more", [{}, {"segmentation": CODE}, {"keypoints": [1.0, 2.0, 1.0]}])
def test_reads_as_the_list_that_it_was_made_of(more):
    entries = [entry(1, **more), entry(0, 0.7, **more)]
    found = packed(entries, ORIGINAL, with_text=False)
    assert isinstance(found, ImageDetections) and found.text is None
    for again in (found, pickle.loads(pickle.dumps(found))):
        assert list(again) == entries and again == entries and len(again) == 2 and again[-1] == entries[-1]
        assert again.categories.tolist() == [20, 10] and again.scores.tolist() == [0.1, 0.7]
    assert list(Detections([found])) == [entry(20, **more), entry(10, 0.7, **more)]
    assert keys_of(Detections([found])) == keys_of(entries) == entries[0].keys()
    if "segmentation" in more:
        assert found.areas.tolist() == [4, 4]


def test_what_is_changed_later_does_not_change_what_is_kept():
    entries = [entry(0)]
    found = packed(entries, None, with_text=True)
    entries[0]["bbox"][0] = found[0]["score"] = 99
    assert list(found) == [entry(0)]


@pytest.mark.parametrize(
    "entries",
    [[], [entry(2)], [entry(), entry(keypoints=[])], [entry(extra=1)], [{"image_id": 1}], ({"image_id": 1},)],
    ids=["none", "unknown class", "different keys", "foreign key", "no box", "no list"],
)
def test_what_is_of_another_kind_stays_as_it_is(entries):
    assert packed(entries, ORIGINAL, with_text=True) is entries


@pytest.mark.parametrize("count", [0, 1, 2, 2500])
def test_files_are_those_of_the_dicts(count):
    numbers = [{"image_id": i, "instances": [entry(i % 2, i / 7, segmentation=CODE)] * (i % 3)} for i in range(count)]
    predictions = [p | {"instances": packed(p["instances"], ORIGINAL, with_text=True)} for p in numbers]
    file = io.BytesIO()
    save_predictions(predictions, file)
    file.seek(0)
    assert torch.load(file, weights_only=True) == numbers
    original = [r | {"category_id": ORIGINAL[r["category_id"]]} for p in numbers for r in p["instances"]]
    file = io.BytesIO()
    write_results(Detections([p["instances"] for p in predictions if p["instances"]]), file)
    assert file.getvalue() == results_as_json(original)


def test_a_pickle_of_many_objects_is_put_together_with_others():
    """Each image's pickle notes more than 256 objects, and the next one's notes are its own."""
    boxes = [[float(n), 0.0, 1.0, 1.0] for n in range(300)]
    images = [[entry(0, i / 7) | {"bbox": list(box), "segmentation": dict(CODE)} for box in boxes] for i in range(3)]
    predictions = [{"image_id": i, "instances": packed(e, None, with_text=False)} for i, e in enumerate(images)]
    file = io.BytesIO()
    save_predictions(predictions, file)
    file.seek(0)
    assert [p["instances"] for p in torch.load(file, weights_only=True)] == images


def test_files_with_proposals_and_with_numbers_that_are_not_finite():
    entries = [entry(score=math.nan), entry(score=math.inf)]
    found = packed(entries, None, with_text=True)
    file = io.BytesIO()
    save_predictions([{"image_id": 1, "instances": found, "proposals": torch.arange(3)}], file)
    file.seek(0)
    loaded = torch.load(file, weights_only=True)[0]
    assert loaded["proposals"].tolist() == [0, 1, 2] and loaded["instances"][1] == entries[1]
    file = io.BytesIO()
    write_results(Detections([found, packed([entry()], None, with_text=True)]), file)
    read = json.loads(file.getvalue())
    assert math.isnan(read[0]["score"]) and read[1]["score"] == math.inf and read[2] == entry()


@pytest.mark.parametrize("task", ["bbox", "segm"])
@pytest.mark.parametrize("seed", range(4))
def test_numbers_are_those_of_pycocotools_to_the_last_digit(random_coco, pycocotools_reference, seed, task):
    dataset, results = random_coco(seed)
    expected = pycocotools_reference(dataset, results, task)
    for fast in (True, False):
        scores = compute_scores(CocoGroundTruth(dataset), Detections(by_image(results)), task, fast=fast)
        assert np.array_equal(scores.precision, expected.eval["precision"])
        assert np.array_equal(scores.recall, expected.eval["recall"])


@pytest.mark.parametrize("task", ["bbox", "segm"])
@pytest.mark.parametrize("max_dets", [-1, 5, 300])
def test_numbers_of_lvis_are_those_of_the_dicts(random_coco, task, max_dets):
    dataset, results = random_coco(3)
    for image in dataset["images"]:
        image |= {"neg_category_ids": [1, 4, 7, 10], "not_exhaustive_category_ids": []}
    for category in dataset["categories"]:
        category["frequency"] = "f"
    dataset["annotations"] = [a for a in dataset["annotations"] if not a["iscrowd"]]
    both = [copy.deepcopy(results), Detections(by_image(results))]
    scores = [compute_lvis_scores(CocoGroundTruth(copy.deepcopy(dataset)), r, task, max_dets) for r in both]
    assert scores[0].precision.max() > 0.5
    assert np.array_equal(scores[0].precision, scores[1].precision)
    assert np.array_equal(scores[0].recall, scores[1].recall)


def test_scores_that_are_not_numbers_are_left_out(random_coco, caplog):
    dataset, results = random_coco(2)
    truth = CocoGroundTruth(dataset)
    bad = [results[0] | {"score": math.nan}, results[0] | {"score": -math.inf}]
    for task in ("bbox", "segm"):
        expected = compute_scores(truth, Detections(by_image(results)), task)
        found = compute_scores(truth, Detections(by_image(bad + results)), task)
        assert np.array_equal(found.precision, expected.precision)
        none = compute_scores(truth, Detections(by_image(bad)), task)
        assert none.precision.max() == 0
    assert "2 predictions" in caplog.text
