import base64
import io

import numpy as np
import pycocotools.mask as mask_util
import pytest
from PIL import Image

from det2lite.data.converters import recognise_layout
from det2lite.data.converters.conversion import read_as_coco
from det2lite.utils.errors import BadValue

from .conftest import boxes


def shape(kind, *points, label="cat", **more):
    return {"label": label, "points": [list(p) for p in points], "shape_type": kind, "group_id": None, **more}


def labelme(*shapes, image="a.jpg", **more):
    sides = {"imageHeight": 10, "imageWidth": 20, "imageData": None}
    return {"version": "5.0", "flags": {}, "shapes": list(shapes), "imagePath": image, **sides, **more}


def convert(folder, **options):
    contents, report = read_as_coco(recognise_layout(folder), **options)
    return {split: content.content for split, content in contents.items()}, report


@pytest.fixture
def folder(tmp_path, put):
    put("a.jpg", (20, 10))
    return tmp_path


def png(rows):
    file = io.BytesIO()
    Image.fromarray(np.array(rows, dtype=bool)).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def test_shapes(folder, put):
    rows = [[1, 0, 1], [0, 1, 1]]
    shapes = [
        shape("polygon", (1, 2), (5, 2), (5, 8.5)),
        shape("rectangle", (9, 8), (3, 4), label="dog"),
        shape("circle", (10, 5), (13, 9)),
        shape("mask", (18, 3), (20, 4), mask=png(rows)),
        shape("point", (1, 1)), shape("linestrip", (1, 1), (2, 2), (3, 3)), shape("line", (1, 1), (2, 2)),
        shape("polygon", (1, 1), (2, 2)),
    ]  # fmt: skip
    put("a.json", labelme(*shapes))
    contents, report = convert(folder)
    assert boxes(contents["all"]) == [
        ["a.jpg", "cat", [1, 2, 4, 6.5]], ["a.jpg", "dog", [3, 4, 6, 4]], ["a.jpg", "cat", [5, 0, 10, 10]],
        ["a.jpg", "cat", [18, 3, 2, 2]],
    ]  # fmt: skip
    mask = mask_util.decode(contents["all"]["annotations"][3]["segmentation"])
    assert np.argwhere(mask).tolist() == [[3, 18], [4, 19]]  # its third column is outside
    assert {kind: n.count for kind, n in report.skipped.items()} == {
        "point (no area)": 1, "linestrip (no area)": 1, "line (no area)": 1, "polygon with fewer than 3 points": 1,
    }  # fmt: skip


def test_groups_are_one_object(folder, put):
    first, second = shape("polygon", (1, 1), (3, 1), (3, 3)), shape("polygon", (6, 6), (9, 6), (9, 9))
    put("a.json", labelme(*[s | {"group_id": 4} for s in (first, second)], second | {"group_id": 4, "label": "dog"}))
    contents, report = convert(folder)
    assert boxes(contents["all"]) == [["a.jpg", "cat", [1, 1, 8, 8]], ["a.jpg", "dog", [6, 6, 3, 3]]]
    assert contents["all"]["annotations"][0]["segmentation"] == [[1, 1, 3, 1, 3, 3], [6, 6, 9, 6, 9, 9]]
    assert contents["all"]["annotations"][0]["area"] == 6.5
    assert report.notes["shapes of one group, joined to an object"].count == 1


def test_where_images_are(tmp_path, put):
    for name in ("images/\u00e9 1.png", "images/b.jpg"):
        put(name, (20, 10))
    square = shape("rectangle", (0, 0), (2, 2))
    put("labels/\u00e9 1.json", labelme(square, image="..\\old\\\u00e9 1.jpg"))
    put("labels/b.json", labelme(square, image=""))
    put("labels/c.json", labelme(square, image="c.jpg", imageData="abcd"))
    contents, report = convert(tmp_path)
    assert [i["file_name"] for i in contents["all"]["images"]] == ["b.jpg", "\u00e9 1.png"]
    assert {"image file missing", "image inside the JSON only; save it beside it"} <= report.skipped.keys()


def test_old_files_have_no_type(folder, put):
    put("a.json", labelme({"label": "cat", "points": [[0, 0], [2, 0], [2, 2]]}))
    assert boxes(convert(folder)[0]["all"]) == [["a.jpg", "cat", [0, 0, 2, 2]]]


@pytest.mark.parametrize(
    "content, words",
    [
        (labelme(shape("star", (1, 1))), "shape 0: a 'star' of 1 points"),
        (labelme(shape("polygon", (1, 1), (1, 2, 3))), "shape 0: 'points' must be a list of x, y"),
        (labelme(shape("polygon", (1, 1), (1, "x"), (2, 2))), "shape 0: 'x' must be a number"),
        (labelme(shape("mask", (1, 1), (2, 2), mask="?")), "shape 0: 'mask': no PNG in base64"),
        (labelme(shape("polygon", label="")), "shape 0: it must have a 'label'"),
        ('{"shapes": [], "flags": 1,', "line 1 column 27: not JSON"),
    ],
)
def test_bad_files_are_named(folder, put, content, words):
    put("a.json", content)
    with pytest.raises(BadValue, match=f"a.json: {words}"):
        convert(folder)
