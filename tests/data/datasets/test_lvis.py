import importlib
import json
import pickle

import pytest

from det2lite.data.catalog import DatasetCatalog, MetadataCatalog
from det2lite.data.datasets.lvis import get_lvis_instances_meta, load_lvis_json, register_lvis_instances
from det2lite.data.datasets.lvis_meta import ClassImageCounts, lvis_categories
from det2lite.data.detection_utils import get_fed_loss_cls_weights
from det2lite.structures import BoxMode
from det2lite.utils.errors import MissingFile, UserError

SQUARE = [1, 1, 5, 1, 5, 5, 1, 5]


@pytest.fixture
def content():
    image = {"height": 10, "width": 20, "neg_category_ids": [7], "not_exhaustive_category_ids": [3]}
    return {
        "images": [
            image | {"id": 9, "coco_url": "http://images.cocodataset.org/train2017/000000000009.jpg"},
            {"id": 4, "height": 10, "width": 20, "coco_url": "http://images.cocodataset.org/val2017/000000000004.jpg"},
        ],
        "annotations": [
            {"id": 1, "image_id": 9, "category_id": 3, "bbox": [1, 1, 4, 4], "area": 16, "segmentation": [SQUARE]},
            {"id": 2, "image_id": 9, "category_id": 1, "bbox": [0, 0, 2, 2], "area": 4, "segmentation": [SQUARE] * 2},
        ],
        "categories": [
            {"id": c.id, "name": c.name, "synset": c.synset, "frequency": c.frequency} for c in lvis_categories("v1")
        ],
    }


@pytest.fixture
def file(tmp_path, content):
    path = tmp_path / "lvis.json"
    path.write_text(json.dumps(content))
    yield path
    for name in ("lvis_v1_mine", "lvis_cocofied_mine", "mine"):
        DatasetCatalog.pop(name, None)
        MetadataCatalog.pop(name, None)


def test_tables():
    v1, v05 = lvis_categories("v1"), lvis_categories("v0.5")
    assert (len(v1), len(v05)) == (1203, 1230)
    assert v1[0] == (1, "aerosol_can", "aerosol.n.02", "c") and v05[0] == (1, "acorn", "acorn.n.01", "r")
    assert [c.id for c in v1] == list(range(1, 1204)) and len({c.name for c in v05}) == 1230
    assert {c.frequency for c in v1 + v05} == {"r", "c", "f"}
    assert sum(c.frequency == "r" for c in v1) == 337  # the counts of the paper's benchmark, version 1
    assert sum(c.frequency == "c" for c in v1) == 461 and sum(c.frequency == "f" for c in v1) == 405
    with pytest.raises(UserError, match="no version 'v2'"):
        lvis_categories("v2")


def test_load(file):
    empty, full = load_lvis_json(file, "coco/")
    assert empty["file_name"] == "coco/val2017/000000000004.jpg"
    assert empty["annotations"] == [] == empty["neg_category_ids"] == empty["not_exhaustive_category_ids"]
    assert full["file_name"] == "coco/train2017/000000000009.jpg" and (full["height"], full["width"]) == (10, 20)
    assert (full["neg_category_ids"], full["not_exhaustive_category_ids"], full["image_id"]) == ([7], [3], 9)
    assert full["annotations"][0] == {
        "bbox": [1, 1, 4, 4], "bbox_mode": BoxMode.XYWH_ABS, "category_id": 2, "segmentation": [SQUARE],
    }  # fmt: skip
    assert len(full["annotations"][1]["segmentation"]) == 2
    _, full = load_lvis_json(file, "coco", extra_annotation_keys=["area"])
    assert [a["area"] for a in full["annotations"]] == [16, 4]


def test_register(file):
    register_lvis_instances("lvis_v1_mine", {}, file, "coco")
    assert DatasetCatalog.get("lvis_v1_mine")[1]["annotations"][0]["category_id"] == 2
    metadata = MetadataCatalog.get("lvis_v1_mine")
    assert metadata.evaluator_type == "lvis" and metadata.thing_classes[2] == "airplane"


def test_cocofied(file, content):
    content["annotations"][0]["category_id"] = 90
    content["annotations"].pop()
    content["categories"] = [{"id": 1, "name": "person"}, {"id": 90, "name": "toothbrush"}]
    file.write_text(json.dumps(content))
    register_lvis_instances("lvis_cocofied_mine", {}, file, "coco")
    assert DatasetCatalog.get("lvis_cocofied_mine")[1]["annotations"][0]["category_id"] == 79


def test_classes_of_the_file(file, content):
    content["categories"] = [{"id": 3, "name": "three"}, {"id": 1, "name": "one"}]
    file.write_text(json.dumps(content))
    register_lvis_instances("mine", {}, file, "coco")
    assert [a["category_id"] for a in DatasetCatalog.get("mine")[1]["annotations"]] == [1, 0]
    assert MetadataCatalog.get("mine").thing_classes == ["one", "three"]


def test_older_files_name_the_image(file, content):
    for image in content["images"]:
        del image["coco_url"]
    file.write_text(json.dumps(content))
    with pytest.raises(UserError, match="image 4 has neither 'coco_url' nor 'file_name'"):
        load_lvis_json(file, "coco")
    for image in content["images"]:
        image["file_name"] = f"{image['id']}.jpg"
    file.write_text(json.dumps(content))
    assert load_lvis_json(file, "coco")[0]["file_name"] == "coco/4.jpg"


def test_unknown_category(file, content):
    content["annotations"][0]["category_id"] = 5000
    file.write_text(json.dumps(content))
    with pytest.raises(UserError, match="annotation 1 of image 9: category_id 5000"):
        load_lvis_json(file, "coco")


def test_metadata():
    assert set(get_lvis_instances_meta("lvis_v0.5_val")) == {"thing_classes"}
    assert len(get_lvis_instances_meta("lvis_v0.5_val_cocofied")["thing_classes"]) == 80
    assert len(get_lvis_instances_meta("lvis_v1_val")["class_image_count"]) == 1203
    with pytest.raises(UserError, match="v0.5 or v1"):
        get_lvis_instances_meta("lvis_mine")


def test_class_image_counts(monkeypatch, tmp_path, content):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    counts = MetadataCatalog.get("lvis_v1_train").class_image_count
    assert len(counts) == 1203 and "1203" in repr(counts) and counts == counts
    with pytest.raises(MissingFile, match="lvis/lvis_v1_train.json"):
        list(counts)
    (tmp_path / "lvis").mkdir()
    content["annotations"].append(content["annotations"][0] | {"id": 3})  # a second object in the same image
    content["annotations"].append(content["annotations"][0] | {"id": 4, "image_id": 4})
    (tmp_path / "lvis/lvis_v1_train.json").write_text(json.dumps(content))
    assert counts[2] == {"id": 3, "image_count": 2} and counts[1]["image_count"] == 0 and len(list(counts)) == 1203
    weights = get_fed_loss_cls_weights("lvis_v1_train", 0.5)
    assert weights[:3].tolist() == pytest.approx([1, 0, 2**0.5]) and len(weights) == 1203
    assert get_fed_loss_cls_weights(["lvis_v1_train", "lvis_v1_val"]).sum() == 3
    assert pickle.loads(pickle.dumps(counts)) == counts


def test_class_image_counts_that_the_file_states(tmp_path):
    categories = [{"id": 2, "image_count": 5}, {"id": 1, "image_count": 4}]
    (tmp_path / "a.json").write_text(json.dumps({"categories": categories}))
    counts = ClassImageCounts(tmp_path / "a.json", 2)
    assert counts == [{"id": 1, "image_count": 4}, {"id": 2, "image_count": 5}]
    assert counts != ClassImageCounts(tmp_path / "b.json", 2)


@pytest.mark.parametrize("module, version, count", [("lvis_v1", "v1", 1203), ("lvis_v0_5", "v0.5", 1230)])
def test_categories_under_detectron2s_path(module, version, count):
    found = importlib.import_module(f"det2lite.data.datasets.{module}_categories").LVIS_CATEGORIES
    assert [category["id"] for category in found] == list(range(1, count + 1))
    names = [category["synonyms"][0] for category in found]
    assert names == get_lvis_instances_meta(f"lvis_{version}")["thing_classes"]
    assert {category["frequency"] for category in found} == set("rcf") and all(c["synset"] for c in found)


def test_image_counts_under_detectron2s_path(tmp_path, monkeypatch):
    from det2lite.data.datasets.lvis_v1_category_image_count import LVIS_CATEGORY_IMAGE_COUNT

    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    assert len(LVIS_CATEGORY_IMAGE_COUNT) == 1203
    with pytest.raises(FileNotFoundError, match="lvis_v1_train.json: no such file"):
        LVIS_CATEGORY_IMAGE_COUNT[0]
    (tmp_path / "lvis").mkdir()
    content = {"categories": [{"id": 1, "name": "a", "image_count": 64}], "images": [], "annotations": []}
    (tmp_path / "lvis/lvis_v1_train.json").write_text(json.dumps(content))
    assert LVIS_CATEGORY_IMAGE_COUNT[0] == {"id": 1, "image_count": 64}
