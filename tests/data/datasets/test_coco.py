import copy
import json
import os

import numpy as np
import pycocotools.mask as mask_util
import pytest

from det2lite.data.catalog import DatasetCatalog, MetadataCatalog
from det2lite.data.datasets.coco import (
    convert_to_coco_dict,
    convert_to_coco_json,
    load_coco_json,
    load_sem_seg,
    register_coco_instances,
)
from det2lite.structures import BoxMode
from det2lite.utils.errors import BadValue, MissingFile, UserError

MASK = np.zeros((6, 8), dtype=np.uint8)
MASK[1:4, 2:5] = 1
TRIANGLE = [0.0, 0.0, 4.0, 0.0, 0.0, 4.0]
CONTENT = {
    "images": [
        {"id": 9, "file_name": "b.jpg", "height": 6, "width": 8},
        {"id": 4, "file_name": "a/a.jpg", "height": 6, "width": 8, "license": 1},
    ],
    "categories": [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}],
    "annotations": [
        {"id": 1, "image_id": 9, "category_id": 7, "bbox": [1, 2, 3, 4], "iscrowd": 0, "area": 12, "note": "x"},
        {"id": 2, "image_id": 9, "category_id": 3, "bbox": [0, 0, 4, 4], "segmentation": [[1, 1, 2, 2], TRIANGLE]},
        {
            "id": 3,
            "image_id": 9,
            "category_id": 3,
            "bbox": [2, 1, 3, 3],
            "iscrowd": 1,
            "segmentation": {"size": [6, 8], "counts": [13, 3, 3, 3, 3, 3, 20]},
        },
    ],
}


@pytest.fixture
def write(tmp_path):
    def write(content):
        path = tmp_path / "coco.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return str(path)

    return write


@pytest.fixture
def name():
    yield "coco_format_test"
    DatasetCatalog.pop("coco_format_test", None)
    MetadataCatalog.pop("coco_format_test", None)


def test_load(write, name):
    first, second = load_coco_json(write(CONTENT), "root", name)
    assert (first["image_id"], second["image_id"]) == (4, 9)  # by id
    assert first == {
        "file_name": os.path.join("root", "a/a.jpg"), "height": 6, "width": 8, "image_id": 4, "annotations": [],
    }  # fmt: skip
    plain, polygon, crowd = second["annotations"]
    assert plain == {"iscrowd": 0, "bbox": [1, 2, 3, 4], "category_id": 1, "bbox_mode": BoxMode.XYWH_ABS}
    assert polygon["segmentation"] == [TRIANGLE] and polygon["category_id"] == 0
    assert crowd["iscrowd"] == 1 and np.array_equal(mask_util.decode(crowd["segmentation"]), MASK)
    meta = MetadataCatalog.get(name)
    assert meta.thing_classes == ["cat", "dog"]
    assert meta.thing_dataset_id_to_contiguous_id == {3: 0, 7: 1}


def test_load_without_a_name_keeps_category_ids(write):
    annotations = load_coco_json(write(CONTENT), "", extra_annotation_keys=["note", "area"])[1]["annotations"]
    assert [a["category_id"] for a in annotations] == [7, 3, 3]
    assert annotations[0]["note"] == "x" and annotations[0]["area"] == 12 and "note" not in annotations[1]


def test_instance_without_a_usable_polygon_is_left_out(write, caplog):
    content = copy.deepcopy(CONTENT)
    content["annotations"][0]["segmentation"] = [[1, 1, 2, 2], [0, 0, 1, 1, 2, 2, 3]]
    content["annotations"][1]["segmentation"] = []
    annotations = load_coco_json(write(content), "")[1]["annotations"]
    assert [a["bbox"] for a in annotations] == [[0, 0, 4, 4], [2, 1, 3, 3]]
    assert "segmentation" not in annotations[0] and "left out 1 instances" in caplog.text


def test_keypoints_move_to_the_centre_of_pixels(write):
    content = copy.deepcopy(CONTENT)
    content["annotations"] = [content["annotations"][0] | {"keypoints": [0, 0, 0, 5, 3, 2]}]
    path = write(content)
    for _ in range(2):
        assert load_coco_json(path, "")[1]["annotations"][0]["keypoints"] == [0.5, 0.5, 0, 5.5, 3.5, 2]


def test_file_without_annotations_is_a_test_set(write):
    content = {"images": CONTENT["images"], "categories": CONTENT["categories"]}
    assert [d["annotations"] for d in load_coco_json(write(content), "")] == [[], []]
    assert load_coco_json(write({"images": []}), "") == []


def test_rotated_boxes(write, caplog):
    samples = load_coco_json(write(change(1, bbox=[4, 3, 5, 2, -30.5])), "")
    found = {a["bbox_mode"]: a["bbox"] for d in samples for a in d["annotations"] if len(a["bbox"]) == 5}
    assert found == {BoxMode.XYWHA_ABS: [4, 3, 5, 2, -30.5]}
    modes = [a["bbox_mode"] for d in samples for a in d["annotations"]]
    assert modes.count(BoxMode.XYWH_ABS) == len(modes) - 1 > 0
    assert "1 boxes of five numbers are read as rotated" in caplog.text


def change(position, **values):
    content = copy.deepcopy(CONTENT)
    for key, value in values.items():
        if value is None:
            content["annotations"][position].pop(key)
        else:
            content["annotations"][position][key] = value
    return content


WRONG = {
    "empty": ("", "the file is empty"),
    "no JSON": ("<html>", "not JSON"),
    "truncated": (json.dumps(CONTENT)[:-30], "cut off"),
    "nested": ("[" * 100000, "not JSON"),
    "a list": ([1], "not in the COCO format: .* found a list"),
    "another object": ({"a": 1}, "expected an object with 'images'"),
    "images no list": ({"images": {}, "annotations": 3}, "'annotations' must be a list"),
    "image without size": ({"images": [{"id": 1, "file_name": "x"}]}, "image 1 has no 'height' and no 'width'"),
    "image size": ({"images": [CONTENT["images"][0] | {"width": 0}]}, "image 9: height 6 and width 0"),
    "image id kinds": ({"images": [CONTENT["images"][0], CONTENT["images"][1] | {"id": "a"}]}, "image ids"),
    "image twice": ({"images": CONTENT["images"][:1] * 2}, "image id 9 occurs twice"),
    "category twice": (CONTENT | {"categories": CONTENT["categories"] * 2}, "category id 7 occurs twice"),
    "annotation twice": (change(1, id=1), "annotation id 1 occurs twice"),
    "no bbox": (change(1, bbox=None), "annotation 2 of image 9 has no 'bbox'"),
    "empty bbox": (change(1, bbox=[]), "annotation 2 of image 9: bbox .* four numbers"),
    "bbox of text": (change(1, bbox=[1, 2, "3", 4]), "annotation 2 of image 9: bbox .* four numbers"),
    "nan in bbox": (change(1, bbox=[1, 2, float("nan"), 4]), "four numbers"),
    "huge number": (change(1, bbox=[1, 2, 10**400, 4]), "four numbers"),
    "unknown category": (change(0, category_id=8), "annotation 1 of image 9: category_id 8 is not in 'categories'"),
    "category a list": (change(0, category_id=[8]), "'category_id' must be a number"),
    "no category": (change(0, category_id=None), "annotation 1 has no 'category_id'"),
    "unknown image": (change(0, image_id=5), "annotation 1 is of image 5, which is not in 'images'"),
    "ignore": (change(0, ignore=1), "annotation 1 of image 9: \"ignore\" is not supported"),
    "segmentation": (change(0, segmentation="abc"), "annotation 1 of image 9: 'segmentation' must be"),
    "polygon of text": (change(0, segmentation=[["a"] * 6]), "annotation 1 of image 9: 'segmentation' must be"),
    "rle size": (change(0, segmentation={"size": [9, 9], "counts": "1"}), "annotation 1 of image 9: not a run-length"),
    "rle runs": (change(0, segmentation={"size": [6, 8], "counts": [50]}), "runs that add up to 6 x 8"),
    "rle keys": (change(0, segmentation={"size": [6, 8]}), "not a run-length mask"),
    "keypoints": (change(0, keypoints=[1, 2]), "annotation 1 of image 9: 'keypoints' must be"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_named(write, case):
    content, words = WRONG[case]
    path = write(content)
    with pytest.raises(UserError, match=words) as info:
        load_coco_json(path, "")
    assert path in str(info.value) and "\n" not in str(info.value)


def test_binary_and_missing_files(tmp_path):
    (tmp_path / "x.json").write_bytes(b"\x89PNG\xff\xfe\x00")
    with pytest.raises(BadValue, match="x.json"):
        load_coco_json(tmp_path / "x.json", "")
    with pytest.raises(MissingFile, match="none.json"):
        load_coco_json(tmp_path / "none.json", "")


def test_minival_of_coco_2014_repeats_ids(tmp_path):
    path = tmp_path / "instances_minival2014.json"
    path.write_text(json.dumps(change(1, id=1)))
    assert len(load_coco_json(path, "")[1]["annotations"]) == 3


def test_register_and_conflicting_classes(write, name):
    register_coco_instances(name, {"note": 3}, write(CONTENT), "root")
    meta = MetadataCatalog.get(name)
    assert (meta.note, meta.evaluator_type, meta.image_root) == (3, "coco", "root") and meta.json_file == write(CONTENT)
    assert len(DatasetCatalog.get(name)) == 2
    write(CONTENT | {"categories": [*CONTENT["categories"], {"id": 8, "name": "owl"}]})
    with pytest.raises(UserError, match="'thing_classes' of data set"):
        DatasetCatalog.get(name)
    with pytest.raises(TypeError):
        register_coco_instances(3, {}, "a", "b")
    with pytest.raises(TypeError):
        register_coco_instances("z", {}, "a", None)
    assert "z" not in DatasetCatalog


def semantic_folders(tmp_path, maps, images):
    for folder, names in (("maps", maps), ("images", images)):
        (tmp_path / folder).mkdir()
        for file in names:
            (tmp_path / folder / file).touch()
    return str(tmp_path / "maps"), str(tmp_path / "images")


def test_semantic_maps_are_paired_by_name(tmp_path, caplog):
    maps, images = semantic_folders(tmp_path, ["b.png", "a.png", "c.txt"], ["a.jpg", "b.jpg", "d.jpg"])
    assert load_sem_seg(maps, images) == [
        {"file_name": os.path.join(images, f"{n}.jpg"), "sem_seg_file_name": os.path.join(maps, f"{n}.png")}
        for n in "ab"
    ]
    assert "the 2 in both are used" in caplog.text
    with pytest.raises(MissingFile, match="no .png file is named like a .bmp"):
        load_sem_seg(maps, images, image_ext="bmp")
    with pytest.raises(MissingFile, match="no such folder"):
        load_sem_seg(str(tmp_path / "none"), images)


def instance(box=(2, 1, 5, 4), **more):
    return {"bbox": list(box), "bbox_mode": BoxMode.XYXY_ABS, "category_id": 0} | more


def register(name, *instances, **metadata):
    record = {"file_name": "x.jpg", "image_id": 4, "height": 6, "width": 8, "annotations": list(instances)}
    DatasetCatalog.register(name, lambda: [record])
    MetadataCatalog.get(name).set(thing_classes=["cat", "dog"], **metadata)


def test_convert(name):
    rle = mask_util.encode(np.asfortranarray(MASK))
    register(
        name,
        instance(np.array([2.0, 1, 5, 4.0004]), iscrowd=1, segmentation=rle),
        instance(segmentation=[TRIANGLE, np.array(TRIANGLE) + 1]),
        instance(segmentation={"size": [6, 8], "counts": [13, 3, 3, 3, 3, 3, 20]}),
        instance((15, 15, 3, 3)),
        instance((5, 5, 4, 2, 30), bbox_mode=BoxMode.XYWHA_ABS),
        instance(keypoints=np.array([[1.5, 2.5, 2], [0.5, 0.5, 0]])),
        thing_dataset_id_to_contiguous_id={3: 0, 7: 1},
    )
    content = json.loads(json.dumps(convert_to_coco_dict(name)))
    assert content["images"] == [{"id": 4, "file_name": "x.jpg", "height": 6, "width": 8}]
    assert content["categories"] == [{"id": 3, "name": "cat"}, {"id": 7, "name": "dog"}]
    crowd, polygons, runs, inverted, rotated, points = content["annotations"]
    assert [a["id"] for a in content["annotations"]] == [1, 2, 3, 4, 5, 6]
    assert crowd["bbox"] == [2, 1, 3, 3] and crowd["area"] == 9 and crowd["category_id"] == 3 and crowd["iscrowd"] == 1
    assert np.array_equal(mask_util.decode(crowd["segmentation"]), MASK) and crowd["image_id"] == 4
    assert polygons["area"] == 16 and polygons["segmentation"][1] == [1, 1, 5, 1, 1, 5]
    assert runs["area"] == 9 and runs["segmentation"]["counts"] == rle["counts"].decode()
    assert inverted["bbox"] == [15, 15, -12, -12]
    assert rotated["bbox"] == [5, 5, 4, 2, 30] and rotated["area"] == 8
    assert points["keypoints"] == [1, 2, 2, 0, 0, 0] and points["num_keypoints"] == 1 and points["area"] == 9


def test_convert_and_load_again(name, tmp_path, write):
    register(name, instance(iscrowd=1, segmentation=mask_util.encode(np.asfortranarray(MASK))), instance())
    convert_to_coco_json(name, tmp_path / "new" / "out.json")
    crowd, plain = load_coco_json(tmp_path / "new" / "out.json", "")[0]["annotations"]
    assert np.array_equal(mask_util.decode(crowd["segmentation"]), MASK)
    assert plain["bbox"] == [2, 1, 3, 3]
    assert os.listdir(tmp_path / "new") == ["out.json"]


def test_convert_wrong_boxes(name):
    register(name, instance((1, 2, 3)))
    with pytest.raises(BadValue, match="4 numbers"):
        convert_to_coco_dict(name)


def test_convert_without_annotations_or_images(name):
    register(name)
    assert convert_to_coco_dict(name)["annotations"] == []
    DatasetCatalog.remove(name)
    DatasetCatalog.register(name, list)
    assert convert_to_coco_dict(name)["images"] == []


def test_conversion_is_cached_and_whole(name, tmp_path, monkeypatch):
    path = tmp_path / "out.json"
    path.write_text("old")
    register(name, instance())
    convert_to_coco_json(name, str(path))
    assert path.read_text() == "old"
    with monkeypatch.context() as patch:
        patch.setattr(json, "dump", lambda *args: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            convert_to_coco_json(name, str(path), allow_cached=False)
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["out.json"]
    convert_to_coco_json(name, str(path), allow_cached=False)
    assert len(json.loads(path.read_text())["annotations"]) == 1


LONG = int("7" * 400)


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (("images", 0, "width"), str(LONG)),
        (("images", 0, "height"), -LONG),
        (("images", 0, "id"), [LONG]),
        (("images", 0, "file_name"), LONG),
        (("annotations", 0, "image_id"), LONG),
        (("annotations", 0, "category_id"), LONG),
        (("annotations", 0, "bbox"), [LONG] * 2000),
        (("annotations", 2, "segmentation", "size"), [LONG, 8]),
        (("annotations", 2, "segmentation", "size"), [8] * 2000),
        (("categories", 0, "id"), LONG),
    ],
)
def test_values_that_nobody_reads_are_not_shown_whole(tmp_path, where, value):
    content = copy.deepcopy(CONTENT)
    entry = content
    for key in where[:-1]:
        entry = entry[key]
    entry[where[-1]] = value
    path = tmp_path / "a.json"
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match="a.json") as caught:
        load_coco_json(str(path), str(tmp_path))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300 + len(str(path))


def test_a_number_longer_than_python_reads(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"images": [{"id": ' + "7" * 5000 + "}]}")
    with pytest.raises(BadValue, match="a.json: a number in it is too long to be read"):
        load_coco_json(str(path), str(tmp_path))
