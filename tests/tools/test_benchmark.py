import importlib.util
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from det2lite.data import DatasetCatalog, MetadataCatalog
from det2lite.data.datasets import register_coco_instances

ROOT = Path(__file__).parents[2]
spec = importlib.util.spec_from_file_location("det2lite_benchmark", ROOT / "tools" / "benchmark.py")
tool = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tool)

TINY = f"""
_BASE_: "{ROOT}/configs/Base-RCNN-FPN.yaml"
MODEL:
  DEVICE: cpu
  WEIGHTS: ""
  RESNETS: {{DEPTH: 18, RES2_OUT_CHANNELS: 64, NORM: BN}}
  FPN: {{OUT_CHANNELS: 16}}
  RPN: {{PRE_NMS_TOPK_TRAIN: 50, POST_NMS_TOPK_TRAIN: 20, PRE_NMS_TOPK_TEST: 50, POST_NMS_TOPK_TEST: 20}}
  ROI_HEADS: {{NUM_CLASSES: 1}}
  ROI_BOX_HEAD: {{FC_DIM: 16}}
DATASETS: {{TRAIN: [benchmark_test], TEST: [benchmark_test]}}
DATALOADER: {{NUM_WORKERS: 0}}
INPUT: {{MIN_SIZE_TRAIN: [64], MIN_SIZE_TEST: 64, MAX_SIZE_TRAIN: 96, MAX_SIZE_TEST: 96}}
SOLVER: {{IMS_PER_BATCH: 2}}
"""


@pytest.fixture
def config(tmp_path):
    cv2.imwrite(str(tmp_path / "im.png"), np.full((50, 60, 3), 90, np.uint8))
    content = {
        "images": [{"id": i, "file_name": "im.png", "height": 50, "width": 60} for i in range(3)],
        "annotations": [
            {"id": i + 1, "image_id": i, "category_id": 1, "iscrowd": 0, "bbox": [10, 10, 30, 30], "area": 900}
            for i in range(3)
        ],
        "categories": [{"id": 1, "name": "cell"}],
    }
    (tmp_path / "data.json").write_text(json.dumps(content))
    (tmp_path / "tiny.yaml").write_text(TINY)
    register_coco_instances("benchmark_test", {}, str(tmp_path / "data.json"), str(tmp_path))
    yield str(tmp_path / "tiny.yaml")
    DatasetCatalog.remove("benchmark_test")
    MetadataCatalog.remove("benchmark_test")


@pytest.mark.parametrize(("task", "images"), [("data", 2), ("train", 2), ("eval", 1)])
def test_tasks(task, images, config, capsys, monkeypatch):
    monkeypatch.setattr(tool, "CACHED_BATCHES", 2)
    tool.main(["--config-file", config, "--task", task, "-n", "3", "--warmup", "1"])
    out = capsys.readouterr().out
    assert f"{task}: 3 iterations of {images} images on each of 1 processes" in out
    rate = float(out.split(" images a second")[0].split()[-1])
    seconds = float(out.split(" s an iteration")[0].split()[-1])
    assert rate * seconds == pytest.approx(images, rel=1e-2)


def test_a_rate_that_would_not_train_is_measured_too(config, capsys, monkeypatch):
    monkeypatch.setattr(tool, "CACHED_BATCHES", 2)
    tool.main(["--config-file", config, "--task", "train", "-n", "4", "--warmup", "0", "SOLVER.BASE_LR", "1e9"])
    assert "train: 4 iterations" in capsys.readouterr().out


def test_stages_of_loading(config, capsys):
    tool.main(["--config-file", config, "--task", "data_advanced", "-n", "2", "--warmup", "1"])
    stages = [line for line in capsys.readouterr().out.splitlines() if line.startswith("data_advanced: ")]
    assert [line.split(", ")[0].removeprefix("data_advanced: ") for line in stages] == [
        "reading and augmenting alone",
        "data loader with 0 workers",
        "data loader with 1 workers",
    ]
    assert ["of 1 images" in line for line in stages] == [True, False, False]


def test_mistakes(config, capsys):
    for arguments, words in [
        (["--task", "train", "MODEL.WEIGHTS", "/nowhere/model.pth"], "/nowhere/model.pth"),
        (["--task", "data", "-n", "0"], "at least 1"),
        (["--task", "eval", "--num-gpus", "2"], "one process"),
        (["--task", "eval", "DATASETS.TEST", "()"], "DATASETS.TEST is empty"),
        (["--task", "train", "DATASETS.TRAIN", "()"], "DATASETS.TRAIN is empty"),
        (["--task", "train", "DATASETS.TRAIN", "('benchmark_tset',)"], "benchmark_test"),
    ]:
        with pytest.raises(SystemExit) as stopped:
            tool.main(["--config-file", config, *arguments])
        error = capsys.readouterr().err
        assert stopped.value.code == 1 and words in error.splitlines()[-1]
    with pytest.raises(SystemExit) as stopped:
        tool.main(["--help"])
    assert stopped.value.code == 0 and "--task eval -n 200" in capsys.readouterr().out
