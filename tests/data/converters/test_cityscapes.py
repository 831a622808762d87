import numpy as np
import pycocotools.mask as mask_util
import pytest
from PIL import Image

from det2lite.data.converters import recognise_layout
from det2lite.data.converters.conversion import read_as_coco

from .conftest import boxes

STEM = "aachen/aachen_000000_000019"


@pytest.fixture
def folder(tmp_path, put):
    for split in ("train", "val"):
        put(f"leftImg8bit/{split}/{STEM}_leftImg8bit.png", (12, 8))
    return tmp_path


def test_maps(folder, put):
    ids = np.zeros((8, 12), dtype=np.uint16)
    ids[1:3, 2:6], ids[5, 5], ids[6:8, 0:4], ids[0] = 26000, 24001, 26, 23  # a car, a person, cars, the sky
    path = put(f"gtFine/train/{STEM}_gtFine_instanceIds.png", "")
    Image.fromarray(ids).save(path)
    layout = recognise_layout(folder)
    assert (layout.name, layout.splits) == ("cityscapes", ("train",))
    contents, report = read_as_coco(layout)
    content = contents["train"].content
    name = STEM.split("/")[1] + "_leftImg8bit.png"
    assert boxes(content) == [
        [name, "car", [0, 6, 4, 2]], [name, "person", [5, 5, 1, 1]], [name, "car", [2, 1, 4, 2]],
    ]  # fmt: skip
    assert [a["iscrowd"] for a in content["annotations"]] == [1, 0, 0]
    assert (mask_util.decode(content["annotations"][2]["segmentation"]) == (ids == 26000)).all()
    assert report.class_names[:3] == ["person", "rider", "car"] and len(report.class_names) == 8


def test_polygons(folder, put):
    def square(x0, y0, x1, y1):
        return [[x0, y0], [x1, y0], [x1, y1], [x0, y1]]

    objects = [
        {"label": "sky", "polygon": square(0, 0, 11, 3)},
        {"label": "person", "polygon": square(1, 1, 2, 2)},
        {"label": "cargroup", "polygon": square(0, 0, 4, 4)},
        {"label": "car", "polygon": square(5, 5, 9, 7)},
    ]
    put(f"gtFine/val/{STEM}_gtFine_polygons.json", {"imgHeight": 8, "imgWidth": 12, "objects": objects})
    contents, report = read_as_coco(recognise_layout(folder))
    first, second = contents["val"].content["annotations"]
    assert (first["bbox"], first["iscrowd"], second["bbox"], second["iscrowd"]) == (
        [5.5, 5.5, 4, 2], 0, [0.5, 0.5, 4, 4], 1,
    )  # fmt: skip
    assert first["area"] == 8 and report.skipped["polygon painted over entirely"].count == 1


def test_a_polygon_that_runs_back_on_itself_keeps_its_mask(folder, put):
    """Two squares with a line between them, that is gone along twice: both are kept, the line's end is not."""
    outline = [[0, 0], [2, 0], [2, 2], [6, 2], [6, 5], [8, 5], [11, 5], [8, 5], [8, 2], [2, 2], [0, 2]]
    objects = [{"label": "car", "polygon": outline}]
    put(f"gtFine/val/{STEM}_gtFine_polygons.json", {"imgHeight": 8, "imgWidth": 12, "objects": objects})
    contents, report = read_as_coco(recognise_layout(folder))
    (car,) = contents["val"].content["annotations"]
    assert len(car["segmentation"]) == 2 and car["area"] == 2 * 2 + 2 * 3
    assert car["bbox"] == [0.5, 0.5, 8, 5] and not report.notes
