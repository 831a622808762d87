import json
import sys

import numpy as np
import pytest
from PIL import Image

from det2lite.data.catalog import DatasetCatalog
from det2lite.data.datasets import cityscapes
from det2lite.data.datasets.cityscapes import load_cityscapes_instances, load_cityscapes_semantic
from det2lite.data.rle import decode_rle
from det2lite.structures import BoxMode, polygons_to_bitmask
from det2lite.utils.errors import MissingFile, UserError

PERSON, CAR, BICYCLE = 0, 2, 7
HEIGHT, WIDTH = 16, 32


def square(x0, y0, x1, y1):
    return [[x0, y0], [x1, y0], [x1, y1], [x0, y1]]


OBJECTS = [
    {"label": "road", "polygon": square(0, 0, 31, 15)},
    {"label": "car", "polygon": square(2, 2, 14, 10)},
    {"label": "person", "polygon": square(6, 0, 8, 15)},  # cuts the car in two
    {"label": "license plate", "polygon": square(2, 2, 4, 10)},  # cuts nothing
    {"label": "bicyclegroup", "polygon": square(20, 4, 24, 8)},
    {"label": "trailer", "polygon": square(26, 4, 28, 8)},
    {"label": "car", "polygon": square(26, 5, 27, 7), "deleted": 1},
    {"label": "car", "polygon": square(21, 5, 22, 6)},
    {"label": "static", "polygon": square(20, 4, 23, 7)},  # hides the car before it
]


@pytest.fixture
def root(tmp_path):
    """One image of one city in all published formats."""
    stem = "aachen/aachen_000000_000019"
    image, truth = tmp_path / f"leftImg8bit/val/{stem}_leftImg8bit.png", tmp_path / f"gtFine/val/{stem}_gtFine_"
    for folder in (image.parent, truth.parent):
        folder.mkdir(parents=True)
    Image.new("RGB", (WIDTH, HEIGHT)).save(image)
    (image.parent / ".DS_Store").touch()
    content = {"imgHeight": HEIGHT, "imgWidth": WIDTH, "objects": OBJECTS}
    (truth.parent / (truth.name + "polygons.json")).write_text(json.dumps(content))
    ids = np.full((HEIGHT, WIDTH), 7, dtype=np.uint16)
    ids[2:11, 2:15] = 26000
    ids[0:16, 6:9] = 24000
    ids[4:9, 20:25] = 33  # a group
    ids[15, 20:30] = 26001  # one line
    Image.fromarray(ids).save(str(truth) + "instanceIds.png")
    Image.fromarray(np.zeros((HEIGHT, WIDTH), np.uint8)).save(str(truth) + "labelIds.png")
    return tmp_path


def dirs(root, split="val"):
    return root / "leftImg8bit" / split, root / "gtFine" / split


def test_polygons(root):
    (sample,) = load_cityscapes_instances(*dirs(root))
    assert sample["file_name"].endswith("val/aachen/aachen_000000_000019_leftImg8bit.png")
    assert sample["image_id"] == "aachen_000000_000019_leftImg8bit.png"
    assert (sample["height"], sample["width"]) == (HEIGHT, WIDTH)
    bicycles, person, car = sample["annotations"]  # from front to back
    assert [a["category_id"] for a in sample["annotations"]] == [BICYCLE, PERSON, CAR]
    assert [bool(a["iscrowd"]) for a in sample["annotations"]] == [True, False, False]
    assert {a["bbox_mode"] for a in sample["annotations"]} == {BoxMode.XYXY_ABS}
    assert person["bbox"] == (6.5, 0.5, 8.5, 15.5)
    assert car["bbox"] == (2.5, 2.5, 14.5, 10.5) and len(car["segmentation"]) == 2
    mask = polygons_to_bitmask(car["segmentation"], HEIGHT, WIDTH)
    assert mask.sum() == pytest.approx((12 - 2) * 8, abs=8) and not mask[:, 7].any()
    assert polygons_to_bitmask(bicycles["segmentation"], HEIGHT, WIDTH).sum() == pytest.approx(16 - 9, abs=3)


@pytest.mark.parametrize("to_polygons", [True, False])
def test_map(root, to_polygons):
    (sample,) = load_cityscapes_instances(*dirs(root), from_json=False, to_polygons=to_polygons)
    bicycles, person, car = sample["annotations"]  # by id
    assert [a["category_id"] for a in sample["annotations"]] == [BICYCLE, PERSON, CAR]
    assert [a["iscrowd"] for a in sample["annotations"]] == [True, False, False]
    assert person["bbox"] == (6, 0, 8, 15) and car["bbox"] == (2, 2, 14, 10)
    if to_polygons:
        assert len(car["segmentation"]) == 2
        assert polygons_to_bitmask(bicycles["segmentation"], HEIGHT, WIDTH)[5:8, 21:24].all()
    else:
        assert decode_rle(car["segmentation"]).sum() == 9 * 10 and decode_rle(bicycles["segmentation"]).sum() == 25


def test_polygons_that_cross_themselves(root):
    (path,) = root.glob("gtFine/val/*/*polygons.json")
    content = json.loads(path.read_text())
    bow_tie = [[0, 0], [10, 10], [10, 0], [0, 10]]
    content["objects"] = [{"label": "car", "polygon": bow_tie}, {"label": "car", "polygon": [[1, 1], [1, 1], [1, 1]]}]
    path.write_text(json.dumps(content))
    (sample,) = load_cityscapes_instances(*dirs(root))
    (car,) = sample["annotations"]  # the point has no area
    assert car["bbox"] == (0.5, 0.5, 10.5, 10.5) and len(car["segmentation"]) == 2
    assert all(len(polygon) >= 6 for polygon in car["segmentation"])
    content["objects"] = []
    path.write_text(json.dumps(content))
    assert load_cityscapes_instances(*dirs(root))[0]["annotations"] == []


@pytest.mark.parametrize(
    "objects, message",
    [
        ([{"label": "cat", "polygon": square(0, 0, 2, 2)}], "'cat' is not a label of Cityscapes; did you mean 'car'"),
        ([{"label": "dragongroup", "polygon": []}], "'dragongroup' is not a label"),
        ([{"label": "car", "polygon": [[0, 0]]}], "a car has no polygon"),
        ([{"label": "car"}], "a car has no polygon"),
        ([3], "not polygons of Cityscapes"),
    ],
)
def test_wrong_annotations(root, objects, message):
    (path,) = root.glob("gtFine/val/*/*polygons.json")
    path.write_text(json.dumps({"imgHeight": HEIGHT, "imgWidth": WIDTH, "objects": objects}))
    with pytest.raises(UserError, match=message):
        load_cityscapes_instances(*dirs(root))


def test_missing_files(root):
    with pytest.raises(MissingFile, match="test: no such folder"):
        load_cityscapes_instances(*dirs(root, "test"))
    with pytest.raises(MissingFile, match="elsewhere/aachen/.*instanceIds.png"):
        load_cityscapes_instances(dirs(root)[0], root / "elsewhere")
    with pytest.raises(MissingFile, match="no images"):
        load_cityscapes_instances(root / "gtFine/val", root)
    with pytest.raises(UserError, match="from_json=False"):
        load_cityscapes_instances(*dirs(root), from_json=True, to_polygons=False)


def test_semantic(root):
    with pytest.raises(MissingFile, match="labelTrainIds.png.*createTrainIdLabelImgs"):
        load_cityscapes_semantic(*dirs(root))
    (labels,) = root.glob("gtFine/val/*/*labelIds.png")
    train_ids = labels.with_name(labels.name.replace("labelIds", "labelTrainIds"))
    train_ids.touch()
    (sample,) = load_cityscapes_semantic(*dirs(root))
    assert sample["sem_seg_file_name"] == str(train_ids)
    assert (sample["height"], sample["width"]) == (HEIGHT, WIDTH)


def panoptic(root, category_id=26):
    segment = {"id": 26000, "category_id": category_id, "area": 1, "bbox": [0, 0, 1, 1], "iscrowd": 0}
    annotation = {
        "image_id": "aachen_000000_000019",
        "file_name": "aachen_000000_000019_gtFine_panoptic.png",
        "segments_info": [segment, segment | {"id": 7, "category_id": 7}],
    }
    folder = root / "gtFine/cityscapes_panoptic_val"
    folder.mkdir(exist_ok=True)
    (folder / annotation["file_name"]).touch()
    (root / "gtFine/cityscapes_panoptic_val.json").write_text(json.dumps({"annotations": [annotation]}))


def test_builtin_data_sets(root, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(root / "data"))
    (root / "data").mkdir()
    (root / "data/cityscapes").symlink_to(root)
    assert len(DatasetCatalog.get("cityscapes_fine_instance_seg_val")[0]["annotations"]) == 3
    (root / "gtFine/val/aachen/aachen_000000_000019_gtFine_labelTrainIds.png").touch()
    assert len(DatasetCatalog.get("cityscapes_fine_sem_seg_val")) == 1
    with pytest.raises(MissingFile, match="createPanopticImgs"):
        DatasetCatalog.get("cityscapes_fine_panoptic_val")
    panoptic(root)
    (sample,) = DatasetCatalog.get("cityscapes_fine_panoptic_val")
    assert sample["image_id"] == "aachen_000000_000019"
    assert sample["file_name"].endswith("leftImg8bit/val/aachen/aachen_000000_000019_leftImg8bit.png")
    assert sample["sem_seg_file_name"].endswith("gtFine/val/aachen/aachen_000000_000019_gtFine_labelTrainIds.png")
    assert sample["pan_seg_file_name"].endswith("cityscapes_panoptic_val/aachen_000000_000019_gtFine_panoptic.png")
    assert [(s["category_id"], s["isthing"]) for s in sample["segments_info"]] == [(13, True), (0, False)]
    panoptic(root, category_id=99)
    with pytest.raises(UserError, match="segment 26000 of image aachen_000000_000019: category_id 99"):
        DatasetCatalog.get("cityscapes_fine_panoptic_val")
    (root / "gtFine/cityscapes_panoptic_val.json").write_text('{"annotations": []}')
    with pytest.raises(UserError, match="no segments of image"):
        DatasetCatalog.get("cityscapes_fine_panoptic_val")


def test_drawing(root, monkeypatch):
    arguments = [*map(str, dirs(root)), "--output-dir", str(root / "pictures")]
    monkeypatch.setattr(sys, "argv", ["cityscapes", *arguments])
    cityscapes.main()
    (picture,) = (root / "pictures").iterdir()
    assert picture.stat().st_size > 0
