import json

import pytest

from det2lite.data.catalog import DatasetCatalog, MetadataCatalog
from det2lite.data.datasets.coco_panoptic import (
    load_coco_panoptic_json,
    register_coco_panoptic,
    register_coco_panoptic_separated,
)
from det2lite.utils.errors import MissingFile, UserError

META = {"thing_dataset_id_to_contiguous_id": {1: 0}, "stuff_dataset_id_to_contiguous_id": {5: 1}}
SEGMENTS = [{"id": 10, "category_id": 1, "iscrowd": 0}, {"id": 20, "category_id": 5, "iscrowd": 0}]


@pytest.fixture
def root(tmp_path):
    for path in ("images/7.jpg", "panoptic/7.png", "stuff/7.png"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).touch()
    panoptic = {"annotations": [{"image_id": "7", "file_name": "7.png", "segments_info": SEGMENTS}]}
    (tmp_path / "panoptic.json").write_text(json.dumps(panoptic))
    instances = {
        "images": [{"id": 7, "file_name": "7.jpg", "height": 2, "width": 3}],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [{"id": 1, "image_id": 7, "category_id": 1, "bbox": [0, 0, 1, 1]}],
    }
    (tmp_path / "instances.json").write_text(json.dumps(instances))
    yield tmp_path
    for name in ("pan", "pan_separated", "pan_stuffonly"):
        DatasetCatalog.pop(name, None)
        MetadataCatalog.pop(name, None)


def test_load(root):
    (sample,) = load_coco_panoptic_json(root / "panoptic.json", root / "images", root / "panoptic", META)
    assert sample == {
        "file_name": str(root / "images/7.jpg"),
        "image_id": 7,
        "pan_seg_file_name": str(root / "panoptic/7.png"),
        "segments_info": [SEGMENTS[0] | {"category_id": 0, "isthing": True}, SEGMENTS[1] | {"isthing": False}
                          | {"category_id": 1}],
    }  # fmt: skip


def test_image_names_of_the_json_are_used(root):
    content = json.loads((root / "panoptic.json").read_text())
    content["annotations"][0]["image_id"] = 7
    (root / "panoptic.json").write_text(json.dumps(content | {"images": [{"id": 7, "file_name": "7.tif"}]}))
    (root / "images/7.tif").touch()
    samples = load_coco_panoptic_json(root / "panoptic.json", root / "images", root / "panoptic", META)
    assert samples[0]["file_name"].endswith("7.tif")


def test_errors(root):
    with pytest.raises(MissingFile, match="elsewhere"):
        load_coco_panoptic_json(root / "panoptic.json", root / "images", root / "elsewhere", META)
    with pytest.raises(UserError, match="segment 20 of image 7: category_id 5"):
        load_coco_panoptic_json(
            root / "panoptic.json", root / "images", root / "panoptic", META | {"stuff_dataset_id_to_contiguous_id": {}}
        )
    with pytest.raises(UserError, match="instances.json: an annotation has no 'file_name'"):
        load_coco_panoptic_json(root / "instances.json", "", "", META)
    (root / "panoptic.json").write_text("[]")
    with pytest.raises(UserError, match="not in the COCO panoptic format"):
        load_coco_panoptic_json(root / "panoptic.json", "", "", META)
    (root / "panoptic.json").write_text('{"annotations": []}')
    assert load_coco_panoptic_json(root / "panoptic.json", "", "", META) == []


def test_register(root):
    register_coco_panoptic("pan", META, root / "images", root / "panoptic", root / "panoptic.json")
    meta = MetadataCatalog.get("pan")
    assert (meta.evaluator_type, meta.ignore_label, meta.label_divisor) == ("coco_panoptic_seg", 255, 1000)
    assert meta.json_file is None
    assert DatasetCatalog.get("pan")[0]["image_id"] == 7


@pytest.mark.parametrize("extension", ["jpg", "png"])
def test_register_separated(root, extension):
    (root / "images/7.jpg").rename(root / f"images/7.{extension}")
    content = (root / "instances.json").read_text().replace("7.jpg", f"7.{extension}")
    (root / "instances.json").write_text(content)
    register_coco_panoptic_separated(
        "pan", {"stuff_classes": ["things", "sky"]}, root / "images", root / "panoptic", root / "panoptic.json",
        root / "stuff", root / "instances.json",
    )  # fmt: skip
    (sample,) = DatasetCatalog.get("pan_separated")
    assert sample["sem_seg_file_name"] == str(root / "stuff/7.png")
    assert sample["annotations"][0]["category_id"] == 0 and sample["image_id"] == 7
    assert set(DatasetCatalog.get("pan_stuffonly")[0]) == {"file_name", "sem_seg_file_name"}
    assert MetadataCatalog.get("pan_separated").evaluator_type == "coco_panoptic_seg"
    assert MetadataCatalog.get("pan_stuffonly").evaluator_type == "sem_seg"
    assert MetadataCatalog.get("pan_stuffonly").stuff_classes == ["things", "sky"]


def test_map_without_instances(root):
    for path in ("images/8.jpg", "stuff/8.png"):
        (root / path).touch()
    register_coco_panoptic_separated("pan", {}, root / "images", "", "", root / "stuff", root / "instances.json")
    with pytest.raises(UserError, match="8.jpg: has a semantic map but is not"):
        DatasetCatalog.get("pan_separated")
