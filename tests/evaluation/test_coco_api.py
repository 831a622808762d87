import copy

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from det2lite.evaluation import coco_evaluation
from det2lite.evaluation.coco_api import COCOeval_opt, COCOevalMaxDets, RotatedCOCOeval


def same(found, expected):
    for name in ("precision", "recall", "scores"):
        assert np.array_equal(found.eval[name], expected.eval[name]), name
    assert found.eval["counts"] == expected.eval["counts"]
    assert np.array_equal(found.stats, expected.stats)


CASES = [
    {},
    {"useCats": 0},
    {"maxDets": [2, 4, 100]},
    {"imgIds": [3, 3, 17]},
    {"catIds": [4, 1]},
    {"iouThrs": np.array([0.5, 0.75])},
]


@pytest.mark.parametrize("task", ["bbox", "segm"])
@pytest.mark.parametrize("params", CASES, ids=str)
def test_fast_evaluation_has_the_interface_and_numbers_of_pycocotools(random_coco, pycocotools_reference, task, params):
    dataset, results = random_coco(4)
    same(
        pycocotools_reference(dataset, results, task, cls=COCOeval_opt, **params),
        pycocotools_reference(dataset, results, task, **params),
    )


def assert_equal(found, expected):
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key in expected:
            assert_equal(found[key], expected[key])
    elif isinstance(expected, np.ndarray):
        assert found.dtype == expected.dtype and np.array_equal(found, expected)
    else:
        assert found == expected


@pytest.mark.parametrize("task", ["bbox", "segm"])
def test_matches_of_each_image_are_there_for_who_reads_them(random_coco, pycocotools_reference, task, capsys):
    dataset, results = random_coco(4)
    limits = {"maxDets": [5, 1, 2]}  # pycocotools sorts them
    found = pycocotools_reference(dataset, results, task, cls=COCOeval_opt, **limits)
    expected = pycocotools_reference(dataset, results, task, **limits)
    found.params.iouThrs = [0.5]  # of the next evaluation
    capsys.readouterr()
    assert len(found.evalImgs) == len(expected.evalImgs) > 0
    assert capsys.readouterr().out == ""
    for one, other in zip(found.evalImgs, expected.evalImgs, strict=True):
        assert_equal(one, other)
    assert_equal(found.ious, expected.ious)
    assert found.evalImgs is found.evalImgs and found.params.iouThrs == [0.5]
    found.evaluate()
    assert {len(one["dtMatches"]) for one in found.evalImgs if one} == {1}
    new = COCOeval_opt(iouType=task)
    assert len(new.evalImgs) == 0 and new.ious == {}


def test_string_ids_and_no_detections(random_coco, pycocotools_reference):
    dataset, results = copy.deepcopy(random_coco(2))
    for image in dataset["images"]:
        image["id"] = f"image {image['id']}"
    for entry in dataset["annotations"] + results:
        entry["image_id"] = f"image {entry['image_id']}"
    for found in (results, []):
        same(
            pycocotools_reference(dataset, found, "bbox", cls=COCOeval_opt),
            pycocotools_reference(dataset, found, "bbox"),
        )


@pytest.mark.parametrize(("key", "in_results"), [("area", False), ("iscrowd", False), ("score", True)])
def test_what_an_entry_lacks_is_missed_as_by_pycocotools(random_coco, pycocotools_reference, key, in_results):
    dataset, results = copy.deepcopy(random_coco(2))
    del (results if in_results else dataset["annotations"])[0][key]
    for cls in (COCOeval, COCOeval_opt):
        with pytest.raises(KeyError, match=key):
            pycocotools_reference(dataset, results, "bbox", cls=cls)


def test_annotation_0_and_scores_that_are_not_numbers(random_coco, pycocotools_reference):
    dataset, results = copy.deepcopy(random_coco(2))
    for change, value in ((dataset["annotations"][0], {"id": 0}), (results[0], {"score": float("nan")})):
        change.update(value)
        same(
            pycocotools_reference(dataset, results, "bbox", cls=COCOeval_opt),
            pycocotools_reference(dataset, results, "bbox"),
        )


def test_summary_of_another_number_of_detections(random_coco, pycocotools_reference):
    dataset, results = random_coco(5)
    few = pycocotools_reference(dataset, results, "bbox", cls=COCOevalMaxDets, maxDets=[1, 2, 3])
    values = few.eval["precision"][:, :, :, 0, 2]
    assert few.stats[0] == np.mean(values[values > -1]) > 0
    assert few.stats[0] < pycocotools_reference(dataset, results, "bbox").stats[0]
    usual = pycocotools_reference(dataset, results, "segm", cls=COCOevalMaxDets)
    assert np.array_equal(usual.stats, pycocotools_reference(dataset, results, "segm").stats)
    with pytest.raises(RuntimeError, match="accumulate"):
        COCOevalMaxDets(iouType="bbox").summarize()


def test_names_are_found_where_detectron2_has_them():
    assert coco_evaluation.COCOeval_opt is COCOeval_opt and coco_evaluation.COCOevalMaxDets is COCOevalMaxDets
    with pytest.raises(AttributeError, match="Nothing"):
        _ = coco_evaluation.Nothing


def test_evaluation_of_projects(random_coco, pycocotools_reference):
    dataset, results = random_coco(4)
    truth = COCO()
    truth.dataset = dataset
    truth.createIndex()
    found = coco_evaluation._evaluate_predictions_on_coco(truth, copy.deepcopy(results), "segm")
    assert type(found) is COCOeval_opt
    same(found, pycocotools_reference(dataset, results, "segm"))
    few = coco_evaluation._evaluate_predictions_on_coco(
        truth, copy.deepcopy(results), "bbox", img_ids=[3, 17], max_dets_per_image=[1, 2, 3]
    )
    expected = pycocotools_reference(dataset, results, "bbox", cls=COCOevalMaxDets, maxDets=[1, 2, 3], imgIds=[3, 17])
    assert np.array_equal(few.stats, expected.stats)
    with pytest.raises(AssertionError, match="three limits"):
        coco_evaluation._evaluate_predictions_on_coco(truth, results, "bbox", max_dets_per_image=[100])
    with pytest.raises(AssertionError, match="no results"):
        coco_evaluation._evaluate_predictions_on_coco(truth, [], "bbox")


def test_rotated_evaluation_of_projects(capsys):
    images, categories = [{"id": 1, "height": 100, "width": 100}], [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}]
    boxes = [[50, 50, 40, 20, 30], [10, 10, 10, 10]]  # the second is upright, XYWH
    annotations = [
        {"id": i + 1, "image_id": 1, "category_id": 1, "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
        for i, box in enumerate(boxes)
    ]
    truth = COCO()
    truth.dataset = {"images": images, "categories": categories, "annotations": annotations}
    truth.createIndex()
    # found exactly; and with half of its height, an IoU of 0.5
    found = [[50, 50, 40, 20, 210], [15, 15, 10, 5, 0]]
    results = [{"image_id": 1, "category_id": 1, "bbox": box, "score": 0.9 - i / 10} for i, box in enumerate(found)]
    evaluation = RotatedCOCOeval(truth, truth.loadRes(results), "bbox")
    evaluation.evaluate()
    assert evaluation.ious[1, 1] == pytest.approx(np.array([[1, 0], [0, 0.5]]), abs=1e-6)
    assert evaluation.ious[1, 2] == []
    evaluation.accumulate()
    evaluation.params.iouThrs = np.array([0.5])
    assert evaluation.eval["recall"][0, 0, 0, -1] == pytest.approx(1.0)  # at IoU 0.5
    assert evaluation.eval["recall"][1, 0, 0, -1] == pytest.approx(0.5)
    with pytest.raises(AssertionError, match="crowds"):
        evaluation.compute_iou_dt_gt(found, boxes, [0, 1])
    with pytest.raises(AssertionError, match="4 or 5 numbers"):
        evaluation.boxlist_to_tensor([[1, 2, 3]], 5)
