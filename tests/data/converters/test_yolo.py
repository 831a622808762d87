import os

import pytest

from det2lite.data.converters import recognise_layout
from det2lite.data.converters.conversion import read_as_coco
from det2lite.utils.errors import BadValue, MissingFile, UnknownName

from .conftest import boxes

NAMES = "names: [cat, hot dog]\n"


def convert(folder, **options):
    contents, report = read_as_coco(recognise_layout(folder), **options)
    return {split: content.content for split, content in contents.items()}, report


@pytest.fixture
def yolo(tmp_path, put):
    put("data.yaml", "path: .\ntrain: images/train\nval: ./images/val\n" + NAMES)
    for name in ("train/a", "train/sub/b", "val/\u00e9 1"):
        put(f"images/{name}.jpg", (200, 100))
    put("labels/train/a.txt", "1 0.5 0.5 0.1 0.2\n\n0 0.1 0.1 0.2 0.1 0.2 0.4\n")
    put("labels/train/sub/b.txt", "")
    return tmp_path


def test_boxes_and_polygons(yolo):
    contents, report = convert(yolo)
    assert boxes(contents["train"]) == [["a.jpg", "hot dog", [90, 40, 20, 20]], ["a.jpg", "cat", [20, 10, 20, 30]]]
    box, polygon = contents["train"]["annotations"]
    assert "segmentation" not in box and polygon["segmentation"] == [[20, 10, 40, 10, 40, 40]]
    assert (box["area"], polygon["area"]) == (400, 300)
    assert [i["file_name"] for i in contents["train"]["images"]] == ["a.jpg", "sub/b.jpg"]
    assert [i["file_name"] for i in contents["val"]["images"]] == ["\u00e9 1.jpg"]
    assert report.class_names == ["cat", "hot dog"] and not report.skipped
    assert report.notes["image without label file, taken as one without objects"].count == 1


def test_names_by_number_and_paths_from_elsewhere(yolo, put):
    put("data.yaml", "path: /home/me/data\ntrain: ../images/train\nval:\n- images/val\n- none\nnames: {1: b, 0: a}\n")
    contents, report = convert(yolo)
    assert report.class_names == ["a", "b"] and len(contents["train"]["annotations"]) == 2
    assert report.skipped["split that is not there"].examples == ["val: none"]


def test_list_files(yolo, put):
    put("data.yaml", "train: train.txt\n" + NAMES)
    put("train.txt", f"./images/train/a.jpg\n{yolo}/images/val/\u00e9 1.jpg\ngone.jpg\n")
    contents, report = convert(yolo)
    assert [i["file_name"] for i in contents["train"]["images"]] == ["train/a.jpg", "val/\u00e9 1.jpg"]
    assert report.skipped["image file missing"].count == 1


def test_keypoints_are_left_out(yolo, put):
    put("data.yaml", "train: images/train\nkpt_shape: [1, 3]\n" + NAMES)
    put("labels/train/a.txt", "0 0.5 0.5 0.1 0.2 0.5 0.5 2\n")
    contents, report = convert(yolo)
    assert boxes(contents["train"]) == [["a.jpg", "cat", [90, 40, 20, 20]]]
    assert "keypoints left out, boxes read" in report.notes


@pytest.mark.parametrize(
    "line, words",
    [
        ("0 0.5 0.5 0.1", "line 2: 3 numbers after the class; a box has 4"),
        ("0 0.1 0.1 0.2 0.2 0.3", "line 2: 5 numbers after the class"),
        ("cat 0.5 0.5 0.1 0.1", "line 2: 'cat' must be the number of a class"),
        ("-1 0.5 0.5 0.1 0.1", "line 2: '-1' must be the number"),
        ("0 0.5 0.5 0.1 x", "line 2: 'x' must be a number"),
        ("0 0.5 nan 0.1 0.1", "line 2: 'nan' must be a number"),
        ("0 50 50 20 10", "line 2: 50.0 is no share of the image's size; are these pixels"),
    ],
)
def test_bad_lines_are_named(yolo, put, line, words):
    put("labels/train/a.txt", f"0 0.5 0.5 0.1 0.1\n{line}\n")
    with pytest.raises(BadValue, match=f"a.txt: {words}"):
        convert(yolo)


def test_class_numbers_beyond_the_list(yolo, put):
    put("labels/train/a.txt", "0 0.5 0.5 0.1 0.1\n7 0.5 0.5 0.1 0.1\n")
    with pytest.raises(UnknownName, match=r"class list misses 1 of the classes: 'number 7' \(1\)"):
        convert(yolo)
    assert len(convert(yolo, skip_unknown=True)[0]["train"]["annotations"]) == 1


@pytest.mark.parametrize(
    "text, words",
    [
        ("train: images/train\nnames: [a, a]", "'names' has 'a' twice"),
        ("train: images/train\nnames: {0: a, 2: b}", "without a gap"),
        ("train: images/train\nnames: 3", "'names' must be the list of the classes"),
        ("train: 3\nnames: [a]", "'train' must be a folder"),
    ],
)
def test_bad_yaml_is_named(yolo, put, text, words):
    put("data.yaml", text)
    with pytest.raises(BadValue, match=f"data.yaml: .*{words}"):
        recognise_layout(yolo)


def test_no_images(tmp_path, put):
    put("data.yaml", "train: images/train\n" + NAMES)
    with pytest.raises(MissingFile, match="data.yaml: no images"):
        recognise_layout(tmp_path)


def test_without_yaml(tmp_path, put):
    for split in ("train", "valid"):
        put(f"{split}/images/a.jpg", (10, 10))
        put(f"{split}/labels/a.txt", "0 0.5 0.5 0.2 0.2")
    layout = recognise_layout(tmp_path)
    assert (layout.name, layout.splits) == ("yolo", ("train", "valid"))
    with pytest.raises(BadValue, match="numbers and no names .* give --classes"):
        read_as_coco(layout)
    contents, report = read_as_coco(layout, class_names=["cell"])
    assert boxes(contents["valid"].content) == [["a.jpg", "cell", [4, 4, 2, 2]]]


def test_side_by_side(tmp_path, put):
    put("a.jpg", (10, 10))
    put("a.png", (20, 10))
    put("a.txt", "1 0.5 0.5 0.2 0.2\n1 0.5 0.5 0.2 0.2")
    put("b.txt", "1 0.5 0.5 0.2 0.2")
    put("classes.txt", "cat\ndog\n")
    contents, report = convert(tmp_path)
    assert boxes(contents["all"]) == [["a.jpg", "dog", [4, 4, 2, 2]]] * 2 + [["a.png", "dog", [8, 4, 4, 2]]] * 2
    assert report.skipped["label file without image"].examples == ["b.txt"]
    assert {kind: n.count for kind, n in report.notes.items()} == {
        "label file of several images, which all get its objects": 1,
        "line twice in a label file, both kept": 2,
    }


def test_broken_and_missing_images(yolo, put):
    put("images/train/a.jpg", "no image")
    contents, report = convert(yolo)
    assert report.skipped["object of an image file cannot be read"].count == 2
    assert contents["train"]["annotations"] == []


def test_one_folder_for_two_splits(tmp_path, put):
    """Its images are in both; that is said, and not that label files have several images."""
    put("images/a.jpg", (20, 10)), put("labels/a.txt", "0 .5 .5 .5 .5")
    put("data.yaml", "train: images\nval: images\nnames: [cat]\n")
    _, report = read_as_coco(recognise_layout(tmp_path))
    assert {kind: entry.count for kind, entry in report.notes.items()} == {"image of split val that is in train too": 1}


def test_a_broken_data_yaml_is_said(tmp_path, put):
    put("images/a.jpg", (20, 10)), put("labels/a.txt", "0 .5 .5 .5 .5")
    put("data.yaml", "train: images\nnames: !!python/object/apply:os.system [ls]\n")
    with pytest.raises(BadValue, match="data.yaml: line 2: not YAML"):
        recognise_layout(tmp_path)


def test_pipes_are_not_waited_for(tmp_path, put):
    put("images/a.jpg", (20, 10)), put("labels/a.txt", "0 .5 .5 .5 .5"), put("classes.txt", "cat")
    os.mkfifo(tmp_path / "images/b.jpg")
    _, report = read_as_coco(recognise_layout(tmp_path))
    assert report.skipped["image file cannot be read"].examples == [str(tmp_path / "images/b.jpg")]


def test_a_yaml_of_names_alone_names_the_classes(tmp_path, put):
    put("images/train/a.jpg", (200, 100))
    put("labels/train/a.txt", "1 0.5 0.5 0.1 0.2\n")
    put("data.yaml", "nc: 2\n" + NAMES)
    contents, report = convert(tmp_path)
    assert report.class_names == ["cat", "hot dog"]
    assert boxes(contents["train"]) == [["a.jpg", "hot dog", [90, 40, 20, 20]]]


@pytest.fixture
def darknet(tmp_path, put):
    """As CVAT exports it: paths begin with the folder that Darknet would run in."""
    put("obj.names", "cat\nhot dog\n")
    lists = "train = data/train.txt\nvalid = data/valid.txt\n"
    put("obj.data", f"classes = 2\n{lists}names = data/obj.names\nbackup = backup/\n")
    put("train.txt", "data/obj_train_data/a.jpg\ndata/obj_train_data/sub/b.jpg\n")
    put("valid.txt", "data/obj_valid_data/a.jpg\n")
    labels = {"train_data/a": "1 0.5 0.5 0.1 0.2", "train_data/sub/b": "", "valid_data/a": "0 0.5 0.5 1 1"}
    for name, label in labels.items():
        put(f"obj_{name}.jpg", (200, 100))
        put(f"obj_{name}.txt", f"{label}\n")
    return tmp_path


def test_darknet_names_splits_and_classes(darknet):
    assert recognise_layout(darknet).evidence == "obj.data with names and splits"
    contents, report = convert(darknet)
    assert report.class_names == ["cat", "hot dog"] and not report.skipped and not report.notes
    assert boxes(contents["train"]) == [["a.jpg", "hot dog", [90, 40, 20, 20]]]
    assert boxes(contents["valid"]) == [["a.jpg", "cat", [0, 0, 200, 100]]]
    assert [len(contents[split]["images"]) for split in ("train", "valid")] == [2, 1]


def test_darknet_without_its_names(darknet):
    (darknet / "obj.names").unlink()
    with pytest.raises(MissingFile, match=r"obj\.data: its list of names, data/obj\.names, is not there"):
        convert(darknet)
