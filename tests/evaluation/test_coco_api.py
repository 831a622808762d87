import copy

import numpy as np
import pytest

from det2lite.evaluation import coco_evaluation
from det2lite.evaluation.coco_api import COCOeval_opt, COCOevalMaxDets


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
