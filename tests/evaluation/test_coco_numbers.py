import numpy as np
import pytest

from det2lite.evaluation.coco_ground_truth import CocoGroundTruth
from det2lite.evaluation.coco_numbers import (
    category_ap,
    compute_scores,
    per_category_table,
    summary_lines,
    summary_stats,
)
from det2lite.utils.errors import BadValue

PARAMS = [{}, {"maxDets": [1, 3, 100]}, {"imgIds": [3, 10, 17]}]


@pytest.mark.parametrize("task", ["bbox", "segm"])
@pytest.mark.parametrize("seed", range(8))
def test_numbers_are_those_of_pycocotools_to_the_last_digit(random_coco, pycocotools_reference, seed, task):
    dataset, results = random_coco(seed)
    truth = CocoGroundTruth(dataset)
    for params in PARAMS:
        expected = pycocotools_reference(dataset, results, task, **params)
        for fast in (True, False):
            options = {"max_dets": params.get("maxDets"), "image_ids": params.get("imgIds"), "fast": fast}
            scores = compute_scores(truth, results, task, **options)
            assert np.array_equal(scores.precision, expected.eval["precision"])
            assert np.array_equal(scores.recall, expected.eval["recall"])
            assert np.array_equal(summary_stats(scores), expected.stats)


def test_random_data_is_worth_comparing(random_coco):
    stats = [summary_stats(compute_scores(CocoGroundTruth(d), r, "bbox")) for d, r in map(random_coco, range(8))]
    assert min(s[0] for s in stats) > 0.1 and any(a["iscrowd"] for a in random_coco(0)[0]["annotations"])


def test_without_predictions_precision_is_zero_and_nan_without_ground_truth(random_coco, pycocotools_reference):
    dataset, results = random_coco(0)
    for task in ("bbox", "segm"):
        for fast in (True, False):
            scores = compute_scores(CocoGroundTruth(dataset), [], task, fast=fast)
            assert summary_stats(scores)[0] == 0 and np.isnan(category_ap(scores)[-1])
            empty = compute_scores(CocoGroundTruth(dataset | {"annotations": []}), results, task, fast=fast)
            assert (summary_stats(empty) == -1).all() and np.isnan(category_ap(empty)).all()


def test_scores_that_are_not_numbers_are_left_out(random_coco, caplog):
    dataset, results = random_coco(2)
    truth = CocoGroundTruth(dataset)
    bad = [results[0] | {"score": float("nan")}, results[0] | {"score": float("inf")}]
    expected = compute_scores(truth, results, "bbox")
    assert np.array_equal(compute_scores(truth, bad + results, "bbox").precision, expected.precision)
    assert "2 predictions" in caplog.text


def test_keypoints_with_sigmas_of_their_own(pycocotools_reference):
    points = [12, 12, 2, 30, 30, 2, 50, 50, 1]
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 10, 50, 50], "area": 2500.0, "iscrowd": 0}
    dataset = {
        "images": [{"id": 1, "height": 90, "width": 90}],
        "categories": [{"id": 1, "name": "triangle"}],
        "annotations": [annotation | {"keypoints": points, "num_keypoints": 3}],
    }
    moved = [13.0, 12, 0.5, 30, 33, 0.5, 50, 48, 0.5]
    results = [{"image_id": 1, "category_id": 1, "score": 0.9, "keypoints": moved}]
    sigmas = (0.05, 0.05, 0.1)
    expected = pycocotools_reference(dataset, results, "keypoints", kpt_oks_sigmas=np.array(sigmas))
    for fast in (True, False):
        scores = compute_scores(CocoGroundTruth(dataset), results, "keypoints", oks_sigmas=sigmas, fast=fast)
        assert np.array_equal(scores.precision, expected.eval["precision"])
        assert np.array_equal(summary_stats(scores), expected.stats) and 0.8 < expected.stats[0] < 1


@pytest.mark.parametrize(
    "num_truth, num_predicted, sigmas", [(3, 3, ()), (17, 3, ()), (3, 4, (0.1,) * 3), (3, 3, (0.1,))]
)
def test_numbers_of_keypoints_and_sigmas_must_agree(num_truth, num_predicted, sigmas):
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 10, 50, 50], "area": 2500.0, "iscrowd": 0}
    dataset = {
        "images": [{"id": 1, "height": 90, "width": 90}],
        "categories": [{"id": 1, "name": "triangle"}],
        "annotations": [annotation | {"keypoints": [20, 20, 2] * num_truth, "num_keypoints": num_truth}],
    }
    results = [{"image_id": 1, "category_id": 1, "score": 0.9, "keypoints": [20.0, 20.0, 1.0] * num_predicted}]
    with pytest.raises(BadValue, match="has . keypoints, but there are .* sigmas.*TEST.KEYPOINT_OKS_SIGMAS"):
        compute_scores(CocoGroundTruth(dataset), results, "keypoints", oks_sigmas=sigmas)


def test_summary_reads_as_coco_prints_it(random_coco, pycocotools_reference):
    dataset, results = random_coco(1)
    lines = summary_lines(compute_scores(CocoGroundTruth(dataset), results, "bbox", max_dets=[1, 10, 50]))
    assert len(lines) == 12
    assert lines[0].startswith(" Average Precision  (AP) @[ IoU=0.50:0.95 | area=   all | maxDets= 50 ] = 0.")
    assert lines[1].startswith(" Average Precision  (AP) @[ IoU=0.50      | area=   all | maxDets= 50 ]")
    assert lines[6].startswith(" Average Recall     (AR) @[ IoU=0.50:0.95 | area=   all | maxDets=  1 ]")


def test_categories_stand_in_columns():
    one = per_category_table({"cat": 12.3456})
    assert one.splitlines()[-1].split() == ["|", "cat", "|", "12.346", "|"]
    table = per_category_table({f"class {i}": float("nan") if i == 3 else float(i) for i in range(4)}).splitlines()
    assert len(table) == 4 and table[0].count("category") == 3
    assert "class 3" in table[3] and "nan" in table[3] and "2.000" in table[2]
