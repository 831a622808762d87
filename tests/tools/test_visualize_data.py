import importlib.util
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from det2lite.data import DatasetCatalog, MetadataCatalog
from det2lite.data.datasets import register_coco_instances

ROOT = Path(__file__).parents[2]
spec = importlib.util.spec_from_file_location("det2lite_visualize_data", ROOT / "tools" / "visualize_data.py")
tool = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tool)


@pytest.fixture
def data_set(tmp_path):
    """Three images with one object each, and one without."""
    images, annotations = [], []
    for i in range(1, 5):
        cv2.imwrite(str(tmp_path / f"im{i}.png"), np.full((50, 60, 3), 90, np.uint8))
        images.append({"id": i, "file_name": f"im{i}.png", "height": 50, "width": 60})
        if i < 4:
            box = {"id": i, "image_id": i, "category_id": 5, "iscrowd": 0, "bbox": [10, 10, 30, 30], "area": 900}
            annotations.append({**box, "segmentation": [[10, 10, 40, 10, 40, 40, 10, 40]]})
    categories = [{"id": 5, "name": "cell"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (tmp_path / "data.json").write_text(json.dumps(content))
    register_coco_instances("visualize_test", {}, str(tmp_path / "data.json"), str(tmp_path))
    yield
    DatasetCatalog.remove("visualize_test")
    MetadataCatalog.remove("visualize_test")


def run(source, out, *arguments):
    config = str(ROOT / "configs/quick_start/mask_rcnn_shapes.yaml")
    changes = ["DATASETS.TRAIN", "('visualize_test',)", "DATALOADER.NUM_WORKERS", "0"]
    tool.main(["--config-file", config, "--source", source, "--output-dir", str(out), *arguments, *changes])


def test_annotations(data_set, tmp_path, capsys):
    run("annotation", tmp_path / "out")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["im1.jpg", "im2.jpg", "im3.jpg", "im4.jpg"]
    assert (np.abs(cv2.imread(str(tmp_path / "out" / "im4.jpg")).astype(int) - 90) <= 2).all()
    drawn = cv2.imread(str(tmp_path / "out" / "im1.jpg")).astype(int)
    assert np.abs(drawn[28:38, 12:38] - 90).max(axis=2).min() > 20
    assert "4 pictures" in capsys.readouterr().out


def test_data_loader_repeats_images_without_losing_any(data_set, tmp_path):
    run("dataloader", tmp_path / "out", "-n", "5")
    names = [p.name for p in (tmp_path / "out").iterdir()]
    assert len(names) == 5
    assert {name.split("_")[0].split(".")[0] for name in names} <= {"1", "2", "3"}  # the fourth has no object


def test_no_display_and_no_data(data_set, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(tool.sys, "platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(SystemExit) as stopped:
        run("annotation", tmp_path, "--show")
    assert stopped.value.code == 1 and "no display" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stopped:
        tool.main(["--source", "annotation"])
    assert stopped.value.code == 1 and "--config-file" in capsys.readouterr().err
