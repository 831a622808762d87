"""YOLO and CVAT are read as hotcoco reads what it wrote itself, object by object; what it does not tell, we do."""

import os
import warnings

import hotcoco
import numpy as np
import pytest

from det2lite.data.converters import convert, recognise_layout
from det2lite.data.converters.conversion import read_as_coco

from .conftest import boxes

SIZE = (64, 48)
NAMES = ("a", "b c", "é中")


def content(seed=0):
    """Three images with boxes and polygons of two classes; the last one is empty."""
    random = np.random.default_rng(seed)
    images = [
        {"id": k, "file_name": f"{name}.jpg", "width": SIZE[0], "height": SIZE[1]} for k, name in enumerate(NAMES, 1)
    ]
    annotations = []
    for number in range(1, 21):
        x, y, w, h = (random.random(4) * (30, 20, 30, 24) + (0, 0, 2, 2)).round(2).tolist()
        corners = [x, y, x + w, y, x + w, y + h, x + w / 2, y + h]
        entry = {"id": number, "image_id": 1 + number % 2, "category_id": 1 + number % 3 % 2, "bbox": [x, y, w, h]}
        polygon = {"segmentation": [[round(v, 2) for v in corners]]} if number % 2 else {}
        annotations.append({**entry, "area": w * h, "iscrowd": 0, **polygon})
    categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "hot dog"}]
    return {"images": images, "annotations": annotations, "categories": categories}


@pytest.fixture
def images(put):
    for name in NAMES:
        put(f"images/val/{name}.jpg", SIZE)


def without_ending(rows):
    """[file, class, box] without the ending of the file, which hotcoco's images of YOLO do not have; sorted."""
    return sorted([os.path.splitext(name)[0], label, np.round(box, 2).tolist()] for name, label, box in rows)


def read_yolo(folder):
    """By hotcoco, which looks for data.yaml beside the labels, where no other program has it."""
    beside = folder / "labels" / "val" / "data.yaml"
    beside.write_text((folder / "data.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    found = hotcoco.COCO.from_yolo(str(beside.parent), str(folder / "images" / "val")).dataset
    beside.unlink()
    return found


def test_yolo_that_hotcoco_wrote(tmp_path, images):
    hotcoco.COCO(content()).to_yolo(str(tmp_path / "labels" / "val"))
    text = (tmp_path / "labels" / "val" / "data.yaml").read_text(encoding="utf-8")
    (tmp_path / "data.yaml").write_text(f"{text}\nval: images/val\n", encoding="utf-8")
    theirs = read_yolo(tmp_path)
    contents, report = read_as_coco(recognise_layout(tmp_path))
    ours = boxes(contents["val"].content)
    assert without_ending(ours) == without_ending(boxes(theirs)) == without_ending(boxes(content()))
    assert len(contents["val"].content["images"]) == len(theirs["images"]) == 3 and not report.skipped


def test_yolo_that_we_wrote(tmp_path, tmp_path_factory, images, put):
    put("annotations/instances_val.json", content())
    out = tmp_path_factory.mktemp("yolo") / "out"
    convert(recognise_layout(tmp_path), out, to="yolo")
    assert without_ending(boxes(read_yolo(out))) == without_ending(boxes(content()))


def test_cvat_that_hotcoco_wrote(tmp_path, put):
    for name in NAMES:
        put(f"images/{name}.jpg", SIZE)
    hotcoco.COCO(content()).to_cvat(str(tmp_path / "annotations.xml"))
    theirs = hotcoco.COCO.from_cvat(str(tmp_path / "annotations.xml")).dataset
    contents, report = read_as_coco(recognise_layout(tmp_path, format="cvat"))
    ((ours, _),) = contents.values()
    assert without_ending(boxes(ours)) == without_ending(boxes(theirs)) and len(boxes(ours)) == 20

    def polygons(found):
        return sorted(np.round(a["segmentation"], 2).tolist() for a in found["annotations"] if a.get("segmentation"))

    assert polygons(ours) == polygons(theirs) and len(polygons(ours)) == 10 and not report.skipped


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ('<box label="cat" xtl="1" ytl="1" xbr="1" ybr="5"/>', "shape without area"),
        ('<polyline label="cat" points="1,1;5,5"/>', "polyline (not converted)"),
    ],
)
def test_what_is_left_out_of_cvat_is_told_by_us(tmp_path, put, shape, words):
    """The reason for a reader of our own: hotcoco keeps a box without area, and does not say which shape it skipped."""
    labels = "<meta><task><labels><label><name>cat</name></label></labels></task></meta>"
    image = f'<image id="0" name="a.jpg" width="64" height="48">{shape}</image>'
    path = put("annotations.xml", f"<annotations><version>1.1</version>{labels}{image}</annotations>")
    put("images/a.jpg", SIZE)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        theirs = hotcoco.COCO.from_cvat(str(path)).dataset
    assert len(theirs["annotations"]) == ("box" in shape)
    assert not any("shape 1" in str(warning.message) for warning in caught)
    contents, report = read_as_coco(recognise_layout(tmp_path))
    assert not any(ours.content["annotations"] for ours in contents.values())
    assert list(report.skipped) == [words] and "a.jpg" in report.skipped[words].examples[0]
