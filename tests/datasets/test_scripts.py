"""The scripts of datasets/ run as a user runs them."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from det2lite.data.catalog import DatasetCatalog
from det2lite.data.datasets.builtin_meta import COCO_CATEGORIES
from det2lite.data.datasets.lvis_meta import lvis_categories

FOLDER = Path(__file__).parents[2] / "datasets"
SCRIPTS = sorted(path.stem for path in FOLDER.glob("*.py"))


def main_of(script):
    spec = importlib.util.spec_from_file_location(script, FOLDER / f"{script}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


@pytest.fixture
def root(tmp_path, monkeypatch):
    """COCO and LVIS of three images; the annotations of the panoptic format and of the others agree."""
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    for folder in ("coco/annotations", "coco/val2017", "coco/panoptic_val2017", "lvis"):
        (tmp_path / folder).mkdir(parents=True)
    images = [{"id": i, "file_name": f"{i}.jpg", "height": 2, "width": 2} for i in (1, 2, 3)]
    for i in (1, 2, 3):
        Image.new("RGB", (2, 2)).save(tmp_path / f"coco/val2017/{i}.jpg")
        Image.fromarray(np.full((2, 2, 3), (1, 0, 0), np.uint8)).save(tmp_path / f"coco/panoptic_val2017/{i}.png")
    categories = [{k: c[k] for k in ("id", "name", "isthing")} for c in COCO_CATEGORIES]
    boxes = [{"id": i, "image_id": i, "category_id": 1, "bbox": [0, 0, 2, 2]} for i in (1, 2, 3)]
    segments = [{"id": 1, "category_id": 1, "iscrowd": 0}]
    maps = [{"image_id": i, "file_name": f"{i}.png", "segments_info": segments} for i in (1, 2, 3)]
    lvis = [{"id": c.id, "name": c.name, "synset": c.synset, "frequency": c.frequency} for c in lvis_categories("v0.5")]
    things = [c for c in categories if c["isthing"]]
    for path, annotations, of in [
        ("coco/annotations/instances_val2017.json", boxes, things),
        ("coco/annotations/panoptic_val2017.json", maps, categories),
        ("lvis/lvis_v0.5_val.json", boxes, lvis),
    ]:
        (tmp_path / path).write_text(json.dumps({"images": images, "annotations": annotations, "categories": of}))
    return tmp_path


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_has_an_example(script, capsys):
    with pytest.raises(SystemExit) as exit:
        main_of(script)(["--help"])
    assert exit.value.code == 0 and "example" in capsys.readouterr().out


@pytest.mark.parametrize("script", [script for script in SCRIPTS if script != "panoptic_to_instances"])
def test_nothing_there(script, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    with pytest.raises(SystemExit) as exit:
        main_of(script)([])
    assert exit.value.code == 1 and capsys.readouterr().err.startswith("error: ")


def test_small_splits_and_their_maps(root):
    main_of("prepare_for_tests")(["--images", "2"])
    main_of("prepare_panoptic_fpn")([])
    assert len(DatasetCatalog.get("coco_2017_val_panoptic_separated")) == 3
    samples = DatasetCatalog.get("coco_2017_val_100_panoptic_separated")
    assert [s["image_id"] for s in samples] == [1, 2] and len(samples[0]["annotations"]) == 1
    assert len(DatasetCatalog.get("coco_2017_val_100_panoptic")) == 2
    assert len(DatasetCatalog.get("lvis_v0.5_val_rand_100")) == 2


def test_cocofied_lvis(root):
    main_of("prepare_cocofied_lvis")([])
    assert len(DatasetCatalog.get("lvis_v0.5_val_cocofied")) == 3


def test_panoptic_to_instances(root):
    output = root / "coco/annotations/instances_val2017.json"
    arguments = [root / "coco/annotations/panoptic_val2017.json", root / "coco/panoptic_val2017", output]
    main_of("panoptic_to_instances")([str(argument) for argument in arguments])
    samples = DatasetCatalog.get("coco_2017_val")
    assert [a["bbox"] for s in samples for a in s["annotations"]] == [[0, 0, 2, 2]] * 3


def test_ade20k(root):
    folder = root / "ADEChallengeData2016/annotations/validation"
    folder.mkdir(parents=True)
    Image.fromarray(np.array([[0, 1]], np.uint8)).save(folder / "a.png")
    main_of("prepare_ade20k_sem_seg")([])
    with Image.open(root / "ADEChallengeData2016/annotations_detectron2/validation/a.png") as image:
        assert np.asarray(image).tolist() == [[255, 0]]
