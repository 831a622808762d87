"""To YOLO and Pascal VOC, and back."""

import json
import os

import numpy as np
import pycocotools.mask as mask_util
import pytest
import yaml

from det2lite.data.converters import convert, recognise_layout
from det2lite.data.converters.conversion import read_as_coco
from det2lite.utils.errors import BadValue, UserError

from .conftest import boxes

MASK = np.zeros((10, 20), dtype=np.uint8, order="F")
MASK[2:5, 3:9] = 1


def rle():
    code = mask_util.encode(MASK)
    return {"size": [10, 20], "counts": code["counts"].decode()}


@pytest.fixture
def coco(tmp_path, put):
    """Categories 7 and 3; a box of fractions, two polygons, a mask, a crowd, a box beyond the image and one outside."""
    entries = [
        {"category_id": 7, "bbox": [1.25, 2, 3.5, 4], "difficult": 1},
        {"category_id": 3, "bbox": [1, 1, 9, 5], "segmentation": [[1, 1, 3, 1, 3, 3], [8, 4, 10, 4, 10, 6]]},
        {"category_id": 3, "bbox": [3, 2, 6, 3], "segmentation": rle()},
        {"category_id": 3, "bbox": [0, 0, 9, 9], "segmentation": rle(), "iscrowd": 1},
        {"category_id": 7, "bbox": [15, -2, 8, 6]},
        {"category_id": 7, "bbox": [30, 2, 8, 6]},
        {"category_id": 7, "bbox": [3, 2, 0, 6]},
    ]
    annotations = [{"id": n, "image_id": 5, "iscrowd": 0, "area": 1, **e} for n, e in enumerate(entries, 1)]
    content = {
        "images": [{"id": i, "file_name": name, "width": 20, "height": 10} for i, name in IMAGES.items()],
        "annotations": annotations,
        "categories": [{"id": 7, "name": "hot dog"}, {"id": 3, "name": "c\u00e4t & <co>"}],
    }
    put("in/annotations/instances_val.json", content)
    for name in IMAGES.values():
        put(f"in/images/{name}", (20, 10))
    (tmp_path / "in/images/gone.jpg").unlink()
    return tmp_path / "in"


IMAGES = {5: "x/a b.jpg", 6: "x/a b.png", 8: "gone.jpg"}


def back(folder):
    contents, report = read_as_coco(recognise_layout(folder))
    ((_, content),) = contents.items()
    return content.content, report


def test_to_yolo(coco, tmp_path):
    report = convert(recognise_layout(coco), tmp_path / "out", to="yolo")
    lines = (tmp_path / "out/labels/val/x/a b.txt").read_text().splitlines()
    assert lines == ["1 0.15 0.4 0.175 0.4", "0 0.275 0.35 0.45 0.5", "0 0.3 0.35 0.3 0.3", "1 0.875 0.2 0.25 0.4"]
    assert (tmp_path / "out/labels/val/x/a b_val.txt").read_text() == ""  # its name was taken by the other
    assert (tmp_path / "out/images/val/x/a b_val.png").is_symlink()
    names = yaml.safe_load((tmp_path / "out/data.yaml").read_text())
    assert names == {"val": "images/val", "names": {0: "c\u00e4t & <co>", 1: "hot dog"}}
    assert {kind: n.count for kind, n in report.skipped.items()} == {
        "image file missing": 1, "crowd, which the format has no word for": 1, "shape without area": 1,
        "box outside of the image": 1,
    }  # fmt: skip
    assert report.notes["box cut at the image's edge"].count == 1
    assert report.counts["val"].annotations == 4
    content, _ = back(tmp_path / "out")
    assert [b[1:] for b in boxes(content)] == [
        ["hot dog", [1.25, 2, 3.5, 4]], ["c\u00e4t & <co>", [1, 1, 9, 5]], ["c\u00e4t & <co>", [3, 2, 6, 3]],
        ["hot dog", [15, 0, 5, 4]],
    ]  # fmt: skip


def test_to_yolo_polygons(coco, tmp_path):
    report = convert(recognise_layout(coco), tmp_path / "out", to="yolo", polygons=True, images="copy")
    assert not (tmp_path / "out/images/val/x/a b.jpg").is_symlink()
    content, _ = back(tmp_path / "out")
    _, joined, mask, _ = content["annotations"]
    want = mask_util.decode(mask_util.merge(mask_util.frPyObjects([[1, 1, 3, 1, 3, 3], [8, 4, 10, 4, 10, 6]], 10, 20)))
    assert (mask_util.decode(mask_util.frPyObjects(joined["segmentation"], 10, 20))[..., 0] == want).all()
    assert (mask_util.decode(mask_util.frPyObjects(mask["segmentation"], 10, 20))[..., 0] == MASK).all()
    assert [a["bbox"] for a in content["annotations"][:3]] == [[1.25, 2, 3.5, 4], [1, 1, 9, 5], [3, 2, 6, 3]]
    assert {"several polygons joined to one", "mask written as its outline"} <= report.notes.keys()


def test_to_voc(coco, tmp_path):
    report = convert(recognise_layout(coco), tmp_path / "out", to="voc")
    assert (tmp_path / "out/ImageSets/Main/val.txt").read_text() == "x_a b\nx_a b_val\n"
    content, read = back(tmp_path / "out")
    assert boxes(content) == [
        ["x_a b.jpg", "hot dog", [1, 2, 4, 4]],  # 1.25 to 4.75 in whole pixels: the second to the fifth
        ["x_a b.jpg", "c\u00e4t & <co>", [1, 1, 9, 5]],
        ["x_a b.jpg", "c\u00e4t & <co>", [3, 2, 6, 3]],
        ["x_a b.jpg", "hot dog", [15, 0, 5, 4]],
    ]
    assert content["annotations"][0]["difficult"] == 1 and content["annotations"][1]["difficult"] == 0
    assert read.class_names == ["c\u00e4t & <co>", "hot dog"] and not read.skipped
    assert report.notes["corners moved to whole pixels"].count == 1


def test_voc_to_coco_to_voc_is_exact(tmp_path, put):
    rows = [
        "<xmin>1</xmin><ymin>1</ymin><xmax>20</xmax><ymax>10</ymax>",
        "<xmin>7</xmin><ymin>3</ymin><xmax>7</xmax><ymax>3</ymax>",
    ]
    xml = "".join(f"<object><name>a</name><difficult>1</difficult><bndbox>{row}</bndbox></object>" for row in rows)
    put("in/Annotations/a.xml", f"<annotation>{xml}</annotation>")
    put("in/JPEGImages/a.jpg", (20, 10))
    convert(recognise_layout(tmp_path / "in"), tmp_path / "coco")
    convert(recognise_layout(tmp_path / "coco"), tmp_path / "out", to="voc")
    text = "".join((tmp_path / "out/Annotations/a.xml").read_text().split())
    assert all(row in text for row in rows) and text.count("<difficult>1</difficult>") == 2


def test_yolo_to_coco_to_yolo_is_exact(tmp_path, put):
    lines = "0 0.5 0.5 0.123 0.25\n1 0.1 0.1 0.2 0.1 0.2 0.4\n"
    put("in/data.yaml", "train: images\nnames: [b, a]")
    put("in/images/a.jpg", (200, 100))
    put("in/labels/a.txt", lines)
    convert(recognise_layout(tmp_path / "in"), tmp_path / "coco")
    convert(recognise_layout(tmp_path / "coco"), tmp_path / "out", to="yolo", polygons=True)
    assert (tmp_path / "out/labels/train/a.txt").read_text() == lines
    assert list(yaml.safe_load((tmp_path / "out/data.yaml").read_text())["names"].values()) == ["b", "a"]


def test_what_is_there_stays(coco, tmp_path, put):
    layout = recognise_layout(coco)
    mine = put("out/mine.txt", "x")
    for overwrite, words in [(False, "not empty; give --overwrite"), (True, "was not written by a conversion")]:
        with pytest.raises(BadValue, match=words):
            convert(layout, tmp_path / "out", to="voc", overwrite=overwrite)
    with pytest.raises(BadValue, match="is the data set's own folder; give a folder outside"):
        convert(layout, coco, to="yolo", overwrite=True)
    assert mine.read_text() == "x"
    convert(layout, tmp_path / "new", to="voc")
    convert(layout, tmp_path / "new", to="yolo", overwrite=True)
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == ["conversion.json", "data.yaml", "images", "labels"]
    written = json.loads((tmp_path / "new/conversion.json").read_text())
    assert written["counts"]["val"]["annotations"] == 4 and written["skipped"]["image file missing"]["count"] == 1


@pytest.mark.parametrize("name", ["../../a.jpg", "/a.jpg", "C:\\x\\..\\a.jpg"])
def test_file_names_lead_nowhere_else(tmp_path, put, name):
    from det2lite.data.converters.targets import _inside

    assert _inside(name).endswith("a.jpg") and ".." not in _inside(name) and not _inside(name).startswith("/")


@pytest.mark.parametrize(
    "change, words",
    [
        ({"category_id": 9}, "annotation 1 of image 1: category_id 9 is not in 'categories'"),
        ({"bbox": [1, 2, "3", 4]}, "annotation 1 of image 1: bbox .* must be four numbers"),
        ({"segmentation": {"size": [10, 20], "counts": [3]}}, "annotation 1 of image 1: not a run-length mask"),
        ({"segmentation": [["x"]]}, "annotation 1 of image 1: 'segmentation' must be a list of polygons"),
    ],
)
def test_bad_coco_is_named(tmp_path, put, change, words):
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 2, 2], "iscrowd": 0, **change}
    images = [{"id": 1, "file_name": "a.jpg", "width": 20, "height": 10}]
    content = {"images": images, "annotations": [annotation], "categories": [{"id": 1, "name": "cat"}]}
    put("in/instances.json", content)
    put("in/a.jpg", (20, 10))
    with pytest.raises(UserError, match=words):
        convert(recognise_layout(tmp_path / "in"), tmp_path / "out", to="yolo", polygons=True)
    with pytest.raises(BadValue, match="leave --classes out"):
        convert(recognise_layout(tmp_path / "in"), tmp_path / "out", to="yolo", class_names=["cat"])


@pytest.mark.parametrize("to", ["yolo", "voc"])
def test_names_of_another_machine(tmp_path, put, to):
    """Label Studio on Windows writes `images\\a.jpg`, other tools whole paths."""
    names = {1: "images\\a.jpg", 2: "/data/upload/b.jpg"}
    put("in/images/a.jpg", (20, 10)), put("in/images/b.jpg", (20, 10))
    annotations = [
        {"id": i, "image_id": i, "category_id": 0, "bbox": [1, 2, 3, 4], "area": 12, "iscrowd": 0} for i in names
    ]
    images = [{"id": i, "file_name": name, "width": 20, "height": 10} for i, name in names.items()]
    categories = [{"id": 0, "name": "cat"}]
    put("in/result.json", {"images": images, "annotations": annotations, "categories": categories})
    report = convert(recognise_layout(tmp_path / "in"), tmp_path / "out", to=to)
    assert report.counts["all"].images == report.counts["all"].annotations == 2 and not report.skipped
    content, _ = back(tmp_path / "out")
    assert [box for _, _, box in boxes(content)] == [[1, 2, 3, 4]] * 2
    if to == "yolo":  # as ultralytics goes from image to label: the last /images/ becomes /labels/
        images = [*(tmp_path / "out/images").rglob("*.jpg")]
        labels = ["/labels/".join(str(i).rsplit("/images/", 1)).replace(".jpg", ".txt") for i in images]
        assert len(images) == 2 and all(map(os.path.isfile, labels))


@pytest.mark.parametrize("to", ["yolo", "voc"])
def test_nothing_left_is_an_error_and_no_result(coco, tmp_path, to):
    layout = recognise_layout(coco)
    for name in ("x/a b.jpg", "x/a b.png"):
        (coco / "images" / name).unlink()
    with pytest.raises(BadValue, match="nothing to convert. image file missing: 3"):
        convert(layout, tmp_path / "out", to=to)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_a_result_is_no_part_of_its_source_nor_around_it(coco, tmp_path, put):
    """Else the source would be two data sets from then on, or be replaced with the folder around it."""
    layout = recognise_layout(coco)
    (tmp_path / "link").symlink_to(coco)
    for to in ("voc", "yolo"):
        for place in ("in/voc", "link/a/b"):
            with pytest.raises(BadValue, match="lies in the data set's folder .*/in; give a folder outside"):
                convert(layout, tmp_path / place, to=to)
    convert(layout, tmp_path / "around", to="yolo", images="copy")
    inner = recognise_layout(tmp_path / "around" / "images", format="folder")
    with pytest.raises(BadValue, match="around is around the data set's folder .*/images; give another folder"):
        convert(inner, tmp_path / "around", to="voc", class_names=["a"], overwrite=True)
    assert recognise_layout(tmp_path / "around").name == "yolo"


def test_rotated_boxes_are_skipped(tmp_path, put):
    boxes = [[4, 4, 2, 2], [4, 4, 2, 2, 30]]
    annotations = [{"id": i, "image_id": 1, "category_id": 1, "bbox": box} for i, box in enumerate(boxes, 1)]
    images = [{"id": 1, "file_name": "a.jpg", "width": 20, "height": 10}]
    put("in/instances.json", {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "cat"}]})
    put("in/a.jpg", (20, 10))
    convert(recognise_layout(tmp_path / "in"), tmp_path / "out", to="yolo")
    written = json.loads((tmp_path / "out/conversion.json").read_text())
    assert written["skipped"]["rotated box"]["count"] == 1
