import json
import logging
import os
import runpy
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from det2lite.data import MetadataCatalog

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / "tools"

TINY = f"""
_BASE_: "{ROOT}/configs/Base-RCNN-FPN.yaml"
SEED: 1
MODEL:
  DEVICE: cpu
  MASK_ON: True
  WEIGHTS: ""
  RESNETS: {{DEPTH: 18, RES2_OUT_CHANNELS: 64, NORM: BN}}
  BACKBONE: {{FREEZE_AT: 0}}
  FPN: {{OUT_CHANNELS: 16}}
  RPN: {{PRE_NMS_TOPK_TRAIN: 50, POST_NMS_TOPK_TRAIN: 20, PRE_NMS_TOPK_TEST: 50, POST_NMS_TOPK_TEST: 20}}
  ROI_BOX_HEAD: {{FC_DIM: 16}}
  ROI_MASK_HEAD: {{NUM_CONV: 1, CONV_DIM: 8}}
DATASETS: {{TRAIN: [coco_2017_train], TEST: [coco_2017_val]}}
DATALOADER: {{NUM_WORKERS: 0}}
INPUT: {{MIN_SIZE_TRAIN: [64], MIN_SIZE_TEST: 64, MAX_SIZE_TRAIN: 96, MAX_SIZE_TEST: 96}}
SOLVER: {{MAX_ITER: 3, STEPS: [2], WARMUP_ITERS: 1, IMS_PER_BATCH: 2, BASE_LR: 0.001, CHECKPOINT_PERIOD: 2}}
"""


def write_coco(root, name, images):
    """A COCO file of one rectangle an image, with all of COCO's categories."""
    meta = MetadataCatalog.get("coco_2017_train")
    ids = meta.thing_dataset_id_to_contiguous_id
    content = {
        "categories": [{"id": id_, "name": meta.thing_classes[i]} for id_, i in ids.items()],
        "images": [],
        "annotations": [],
    }
    os.makedirs(root / "coco" / name)
    os.makedirs(root / "coco" / "annotations", exist_ok=True)
    for i in range(1, images + 1):
        image = np.zeros((48, 64, 3), dtype=np.uint8)
        image[8:40, 10:50] = 200
        cv2.imwrite(str(root / "coco" / name / f"{i}.jpg"), image)
        content["images"].append({"id": i, "file_name": f"{i}.jpg", "height": 48, "width": 64})
        content["annotations"].append(
            {
                "id": i,
                "image_id": i,
                "category_id": 1,
                "bbox": [10, 8, 40, 32],
                "area": 1280,
                "iscrowd": 0,
                "segmentation": [[10, 8, 50, 8, 50, 40, 10, 40]],
            }
        )
    (root / "coco" / "annotations" / f"instances_{name}.json").write_text(json.dumps(content))


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    """A folder with a tiny config and a tiny COCO; loggers and warnings of the process are put back afterwards."""
    write_coco(tmp_path, "train2017", 3)
    write_coco(tmp_path, "val2017", 2)
    (tmp_path / "tiny.yaml").write_text(TINY)
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    loggers = [logging.getLogger(name) for name in ("det2lite", "fvcore")]
    before = [(list(logger.handlers), logger.propagate) for logger in loggers]
    yield tmp_path
    for logger, (handlers, propagate) in zip(loggers, before, strict=True):
        logger.handlers[:], logger.propagate = handlers, propagate


def run(tool, workspace, monkeypatch, *words):
    """What the tool does in this process; returns its output folder."""
    output = workspace / "out"
    argv = [tool, "--config-file", str(workspace / "tiny.yaml"), *words, "OUTPUT_DIR", str(output)]
    monkeypatch.setattr(sys, "argv", argv)
    runpy.run_path(str(TOOLS / tool), run_name="__main__")
    return output


def weights(path):
    return torch.load(path, weights_only=True)["model"]


def interrupt_at(output, name):
    """The folder as it was when checkpoint `name` was the last."""
    (output / "last_checkpoint").write_text(name)
    final = weights(output / "model_final.pth")
    os.remove(output / "model_final.pth")
    return final


def test_train_resume_and_evaluate(workspace, monkeypatch, capsys):
    output = run("train_net.py", workspace, monkeypatch)
    expected = {"config.yaml", "log.txt", "metrics.json", "last_checkpoint", "model_0000001.pth", "model_final.pth"}
    assert expected <= set(os.listdir(output))
    assert "coco_instances_results.json" in os.listdir(output / "inference")
    assert "copypaste: AP,AP50,AP75,APs,APm,APl" in capsys.readouterr().out

    final = interrupt_at(output, "model_0000001.pth")
    run("train_net.py", workspace, monkeypatch, "--resume")
    assert "Starting training from iteration 2" in capsys.readouterr().out
    resumed = weights(output / "model_final.pth")
    assert all(torch.equal(value, resumed[name]) for name, value in final.items())

    run("train_net.py", workspace, monkeypatch, "--eval-only", "MODEL.WEIGHTS", str(output / "model_final.pth"))
    shown = capsys.readouterr().out
    assert "Task: bbox" in shown and "Starting training" not in shown


def test_the_plain_loop_trains_the_same(workspace, monkeypatch, capsys):
    output = run("plain_train_net.py", workspace, monkeypatch)
    assert {"config.yaml", "log.txt", "metrics.json", "model_final.pth"} <= set(os.listdir(output))
    final = interrupt_at(output, "model_0000001.pth")
    run("plain_train_net.py", workspace, monkeypatch, "--resume")
    resumed = weights(output / "model_final.pth")
    assert all(torch.equal(value, resumed[name]) for name, value in final.items())

    output.rename(workspace / "plain")
    trained = weights(run("train_net.py", workspace, monkeypatch) / "model_final.pth")
    assert all(torch.equal(value, final[name]) for name, value in trained.items())
    assert "copypaste: AP,AP50,AP75,APs,APm,APl" in capsys.readouterr().out


@pytest.mark.parametrize("tool", ["train_net.py", "plain_train_net.py"])
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["MODEL.ROI_HEADS.NUM_CLASSES", "5"], "NUM_CLASSES is 5, but data set 'coco_2017_train' has 80 classes"),
        (["--eval-only", "MODEL.WEIGHTS", "/nowhere/model.pth"], "/nowhere/model.pth"),
        (["--eval-only"], "MODEL.WEIGHTS"),
        (["MODEL.MASK_NO", "True"], "MASK_ON"),
        (["DATASETS.TRAIN", "('coco_2017_trian',)"], "'coco_2017_train'"),
    ],
)
def test_a_mistake_is_one_line(tool, words, message, workspace, monkeypatch, capsys):
    with pytest.raises(SystemExit) as caught:
        run(tool, workspace, monkeypatch, *words)
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert caught.value.code == 1 and error.startswith("error: ") and message in error


@pytest.mark.parametrize("tool", ["train_net.py", "plain_train_net.py"])
def test_help_from_the_tools_folder(tool):
    assert os.access(TOOLS / tool, os.X_OK)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([sys.executable, tool, "--help"], cwd=TOOLS, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and "--eval-only MODEL.WEIGHTS" in done.stdout


def test_augmented_evaluation_and_expected_results(workspace, monkeypatch, capsys):
    augmented = ["TEST.AUG.ENABLED", "True", "TEST.AUG.MIN_SIZES", "[48, 64]", "SOLVER.MAX_ITER", "1"]
    wrong = ["TEST.EXPECTED_RESULTS", "[['bbox', 'AP', 150.0, 1.0]]"]
    with pytest.raises(SystemExit) as caught:
        run("train_net.py", workspace, monkeypatch, *augmented, *wrong)
    assert caught.value.code == 1 and "Result verification failed!" in capsys.readouterr().out
    output = workspace / "out"
    for folder in ("inference", "inference_TTA"):
        assert "coco_instances_results.json" in os.listdir(output / folder)

    evaluate = ["--eval-only", "MODEL.WEIGHTS", str(output / "model_final.pth"), *augmented]
    right = ["TEST.EXPECTED_RESULTS", "[['bbox', 'AP', 50.0, 60.0], ['segm_TTA', 'AP50', 50.0, 60.0]]"]
    run("train_net.py", workspace, monkeypatch, *evaluate, *right)
    assert "Results verification passed." in capsys.readouterr().out
