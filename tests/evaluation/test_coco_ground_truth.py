import json

import pytest

from det2lite.evaluation.coco_ground_truth import CocoGroundTruth
from det2lite.utils.errors import BadValue, MissingFile

CATEGORIES = [{"id": 5, "name": "cat"}]


def dataset(ids, **annotation):
    images = [{"id": i, "height": 10, "width": 10} for i in ids]
    entry = {"id": 1, "image_id": ids[0], "category_id": 5, "bbox": [1, 1, 4, 3], "iscrowd": 0, "area": 7.0}
    return {"images": images, "categories": CATEGORIES, "annotations": [entry | annotation]}


def test_integer_ids_stay():
    truth = CocoGroundTruth(dataset([4, 0]))
    assert sorted(truth.api.getImgIds()) == [0, 4]
    assert truth.image_id(4) == 4 and truth.has_annotations
    assert truth.numbered([{"image_id": 4}]) == [{"image_id": 4}]


def test_other_ids_are_numbered_without_changing_the_source():
    source = dataset(["b", "a"])
    truth = CocoGroundTruth(source)
    assert truth.image_id("b") == 1 and truth.numbered([{"image_id": "a", "score": 1}]) == [{"image_id": 2, "score": 1}]
    assert truth.api.loadAnns([1])[0]["image_id"] == 1
    assert source == dataset(["b", "a"])
    with pytest.raises(BadValue, match="'c'"):
        truth.image_id("c")


def test_a_missing_area_is_that_of_the_box(caplog):
    source = dataset([1])
    del source["annotations"][0]["area"]
    assert CocoGroundTruth(source).api.loadAnns([1])[0]["area"] == 12
    assert "1 annotations have no area" in caplog.text and "area" not in source["annotations"][0]


def test_a_file_without_annotations(tmp_path):
    path = tmp_path / "test.json"
    path.write_text(json.dumps({"images": [{"id": 1, "height": 2, "width": 2}], "categories": CATEGORIES}))
    assert not CocoGroundTruth(path).has_annotations


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("{nope", "not JSON"),
        ("[1]", "'images'"),
        ('{"images": []}', "'categories'"),
        (json.dumps(dataset([1], bbox=[1, 2, 3])), "bbox"),
    ],
)
def test_bad_files_are_named(tmp_path, text, word):
    path = tmp_path / "bad.json"
    path.write_text(text)
    with pytest.raises(BadValue) as error:
        CocoGroundTruth(path)
    assert str(path) in str(error.value) and word in str(error.value)
    with pytest.raises(MissingFile):
        CocoGroundTruth(tmp_path / "nothing.json")


def test_fields_that_nobody_looks_at_may_be_anything():
    source = dataset([1], id="a1", iscrowd=None, attributes=None)
    source["info"] = {"version": 1}
    source["images"][0] |= {"license": "mine", "date_captured": 2020, "file_name": None}
    source["categories"] = [{"id": 5, "name": 7, "supercategory": 3, "skeleton": "none"}]
    api = CocoGroundTruth(source).api
    assert api.getImgIds() == [1] and api.loadCats([5])[0]["name"] == "7"
    (annotation,) = api.loadAnns(api.getAnnIds(imgIds=[1]))
    assert annotation["bbox"] == [1, 1, 4, 3] and annotation["area"] == 7
