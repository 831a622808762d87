import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from det2lite.data.catalog import DatasetCatalog, MetadataCatalog
from det2lite.data.datasets.builtin import register_all_coco
from det2lite.data.datasets.builtin_meta import COCO_CATEGORIES, _get_builtin_metadata
from det2lite.utils.errors import MissingFile, UnknownName

NAMES = (
    [f"{kind}coco_2014_{split}" for kind in ("", "keypoints_") for split in
     ("train", "val", "minival", "valminusminival")]
    + [f"{kind}coco_2017_{split}" for kind in ("", "keypoints_") for split in ("train", "val", "val_100")]
    + [f"coco_2017_{split}_panoptic{kind}" for split in ("train", "val", "val_100") for kind in
       ("", "_separated", "_stuffonly")]
    + ["coco_2017_test", "coco_2017_test-dev"]
)  # fmt: skip

# what Detectron2 registers
REFERENCE = json.loads(Path(__file__).with_name("builtin_datasets.json").read_text())


def test_names():
    registered = set(DatasetCatalog.list()) & set(MetadataCatalog.list())
    assert len(REFERENCE) == 52 and set(REFERENCE) <= registered
    assert len(NAMES) == 25 and set(NAMES) <= registered and {"shapes_train", "shapes_val"} <= registered


@pytest.mark.parametrize(
    "name, key, path",
    [
        ("coco_2017_val", "json_file", "coco/annotations/instances_val2017.json"),
        ("coco_2014_valminusminival", "json_file", "coco/annotations/instances_valminusminival2014.json"),
        ("coco_2014_minival", "image_root", "coco/val2014"),
        ("coco_2017_test-dev", "json_file", "coco/annotations/image_info_test-dev2017.json"),
        ("coco_2017_test-dev", "image_root", "coco/test2017"),
        ("keypoints_coco_2017_val_100", "json_file", "coco/annotations/person_keypoints_val2017_100.json"),
        ("coco_2017_val_100_panoptic", "panoptic_root", "coco/panoptic_val2017_100"),
        ("coco_2017_val_100_panoptic", "image_root", "coco/val2017"),
        ("coco_2017_train_panoptic_separated", "sem_seg_root", "coco/panoptic_stuff_train2017"),
        ("coco_2017_train_panoptic_separated", "json_file", "coco/annotations/instances_train2017.json"),
    ],
)
def test_paths_follow_the_environment(monkeypatch, name, key, path):
    monkeypatch.delenv("DETECTRON2_DATASETS", raising=False)
    assert MetadataCatalog.get(name).get(key) == f"datasets/{path}"
    monkeypatch.setenv("DETECTRON2_DATASETS", "/data")
    assert MetadataCatalog.get(name).get(key) == f"/data/{path}"


def test_missing_root_names_the_variable(monkeypatch, tmp_path):
    for name in NAMES:
        monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
        with pytest.raises(MissingFile, match="DETECTRON2_DATASETS is .*must name the folder that holds coco/"):
            DatasetCatalog.get(name)
    monkeypatch.delenv("DETECTRON2_DATASETS")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MissingFile, match="DETECTRON2_DATASETS is not set, so 'datasets' is used"):
        DatasetCatalog.get("coco_2017_val")


def test_loads_below_the_root(monkeypatch, tmp_path):
    (tmp_path / "coco/annotations").mkdir(parents=True)
    content = {
        "images": [{"id": 1, "file_name": "1.jpg", "height": 4, "width": 4}],
        "categories": [{"id": c["id"], "name": c["name"]} for c in COCO_CATEGORIES if c["isthing"]],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 90, "bbox": [0, 0, 1, 1]}],
    }
    (tmp_path / "coco/annotations/instances_val2017.json").write_text(json.dumps(content))
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    (sample,) = DatasetCatalog.get("coco_2017_val")
    assert sample["file_name"] == os.path.join(str(tmp_path), "coco/val2017/1.jpg")
    assert sample["annotations"][0]["category_id"] == 79


def test_a_root_of_ones_own():
    saved = {name: (DatasetCatalog.pop(name), MetadataCatalog.pop(name)) for name in NAMES}
    try:
        register_all_coco("/mine")
        assert MetadataCatalog.get("coco_2017_val").image_root == "/mine/coco/val2017"
    finally:
        for name, (load, meta) in saved.items():
            DatasetCatalog[name], MetadataCatalog[name] = load, meta


def test_categories():
    things = [c for c in COCO_CATEGORIES if c["isthing"]]
    assert len(things) == 80 and len(COCO_CATEGORIES) == 133
    assert things[0] == {"color": [220, 20, 60], "isthing": 1, "id": 1, "name": "person"}
    assert things[-1]["name"] == "toothbrush" and things[-1]["id"] == 90
    assert len({c["id"] for c in COCO_CATEGORIES}) == len({c["name"] for c in COCO_CATEGORIES}) == 133


def plain(value):
    """As JSON holds it."""
    if isinstance(value, dict):
        return {str(key): plain(entry) for key, entry in value.items()}
    return [plain(entry) for entry in value] if isinstance(value, (list, tuple)) else value


@pytest.mark.parametrize("name", REFERENCE)
def test_metadata_is_detectron2s(monkeypatch, name):
    monkeypatch.delenv("DETECTRON2_DATASETS", raising=False)
    assert name in DatasetCatalog
    found = MetadataCatalog.get(name).as_dict()
    expected = REFERENCE[name]
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        if isinstance(value, str) and value.startswith("<"):  # long values are known by their length: <list of 80>
            assert len(found[key]) == int(value.rstrip(">").split()[-1]), key
        else:
            assert plain(found[key]) == value, key


def test_metadata_of_the_kinds():
    instances = _get_builtin_metadata("coco")
    assert instances["thing_dataset_id_to_contiguous_id"][13] == 11 and len(instances["thing_colors"]) == 80
    standard = _get_builtin_metadata("coco_panoptic_standard")
    assert len(standard["thing_classes"]) == len(standard["stuff_classes"]) == 133
    assert standard["thing_dataset_id_to_contiguous_id"][90] == 79
    assert standard["stuff_dataset_id_to_contiguous_id"][92] == 80
    assert standard["stuff_dataset_id_to_contiguous_id"][200] == 132
    separated = _get_builtin_metadata("coco_panoptic_separated")
    assert separated["stuff_dataset_id_to_contiguous_id"][0] == 0
    assert separated["stuff_dataset_id_to_contiguous_id"][92] == 1
    assert separated["stuff_dataset_id_to_contiguous_id"][200] == 53
    assert separated["stuff_classes"][0] == "things" and "sky" in separated["stuff_classes"]
    assert len(separated["stuff_classes"]) == len(separated["stuff_colors"]) == 54
    person = _get_builtin_metadata("coco_person")
    assert len(person["keypoint_names"]) == 17 and person["thing_classes"] == ["person"]
    parts = {part for pair in person["keypoint_flip_map"] for part in pair}
    assert parts == set(person["keypoint_names"]) - {"nose"}
    assert {end for a, b, _ in person["keypoint_connection_rules"] for end in (a, b)} == set(person["keypoint_names"])
    with pytest.raises(UnknownName, match="did you mean 'coco'"):
        _get_builtin_metadata("cocoo")


def test_importing_reads_no_file_and_no_drawing_library(tmp_path):
    code = (
        "import sys, det2lite.data; "
        "assert 'coco_2017_val' in det2lite.data.DatasetCatalog; "
        "print([m for m in ('matplotlib', 'tensorboard') if m in sys.modules])"
    )
    env = os.environ | {"DETECTRON2_DATASETS": str(tmp_path / "none"), "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=env, cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
