import subprocess
import sys

import pytest
import torch

from det2lite.checkpoint import DetectionCheckpointer
from det2lite.config import get_cfg


def test_a_model_of_the_zoo(det2lite):
    text = det2lite("config", "--model", "mask_rcnn_R_50_FPN_1x", "SOLVER.BASE_LR", "0.01")
    cfg = get_cfg()
    cfg.merge_from_text(text)
    assert cfg.MODEL.MASK_ON and cfg.SOLVER.BASE_LR == 0.01 and len(text.splitlines()) > 200
    assert cfg.DATASETS.TRAIN == ("coco_2017_train",)  # several configs have this name; COCO's is meant


def test_differences_and_origins(det2lite):
    words = ("--model", "quick_start/mask_rcnn_shapes", "--only", "SOLVER", "--only", "SEED")
    assert "SEED: 42" in det2lite("config", *words, "--diff") and "GAMMA" not in det2lite("config", *words, "--diff")
    lines = det2lite("config", *words, "--origin", "SOLVER.GAMMA", "0.5").splitlines()
    origin = {line.split(":")[0]: line.split("# ")[1] for line in lines}
    assert origin["SOLVER.GAMMA"] == "command line" and origin["SOLVER.MOMENTUM"] == "default"
    assert origin["SOLVER.STEPS"].endswith("Base-RCNN-FPN.yaml") and origin["SEED"].endswith("mask_rcnn_shapes.yaml")


def test_the_config_of_a_checkpoint(det2lite, tmp_path):
    cfg = get_cfg()
    cfg.SOLVER.BASE_LR = 0.125
    checkpointer = DetectionCheckpointer(torch.nn.Linear(1, 1), str(tmp_path))
    checkpointer.attach_config(cfg)
    checkpointer.save("model")
    weights = str(tmp_path / "model.pth")
    assert det2lite("config", "--weights", weights, "--diff") == "SOLVER: {BASE_LR: 0.125}\n"
    text = det2lite("config", "--weights", weights, "--origin", "--only", "SOLVER.BASE_LR")
    assert text == f"SOLVER.BASE_LR: 0.125  # {weights}\n"
    torch.save({"model": {}}, tmp_path / "other.pth")
    assert "carries no config" in det2lite("config", "--weights", str(tmp_path / "other.pth"), status=1)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model", "mask_rcnn_R_50_FPN_1y"], "did you mean 'mask_rcnn_R_50_FPN_1x'"),
        (["--model", "mask_rcnn_R_101_FPN_1x"], "give the folder too"),
        (["--config-file", "/nowhere.yaml"], "/nowhere.yaml"),
        (["SOLVER.BASE_LRR", "1"], "SOLVER.BASE_LR"),
        (["SOLVER.BASE_LR"], "KEY VALUE"),
        (["--only", "SOLVR"], "SOLVER"),
    ],
)
def test_mistakes_are_one_line(det2lite, words, message):
    error = det2lite("config", *words, status=1)
    assert error.startswith("error: ") and message in error and len(error.splitlines()) == 1


def test_no_torch():
    script = (
        "import sys; from det2lite.cli.main import main; "
        "main(['config', '--model', 'retinanet_R_50_FPN_1x', '--origin']); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], stdout=subprocess.DEVNULL).returncode == 0
