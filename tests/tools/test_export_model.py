import importlib.util
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from det2lite.config import get_cfg
from det2lite.export.run import export_model
from det2lite.modeling import build_model

ROOT = Path(__file__).parents[2]
spec = importlib.util.spec_from_file_location("det2lite_export_model", ROOT / "tools" / "export_model.py")
tool = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tool)

TINY = f"""
_BASE_: "{ROOT}/configs/Base-RCNN-FPN.yaml"
MODEL:
  DEVICE: cpu
  WEIGHTS: weights.pth
  RESNETS: {{DEPTH: 18, RES2_OUT_CHANNELS: 64, NORM: BN}}
  FPN: {{OUT_CHANNELS: 16}}
  RPN: {{PRE_NMS_TOPK_TEST: 50, POST_NMS_TOPK_TEST: 20}}
  ROI_HEADS: {{NUM_CLASSES: 2}}
  ROI_BOX_HEAD: {{FC_DIM: 16}}
INPUT: {{MIN_SIZE_TEST: 64, MAX_SIZE_TEST: 96}}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(TINY)
    cv2.imwrite("picture.png", np.random.default_rng(0).integers(0, 255, (50, 60, 3), np.uint8))
    torch.manual_seed(0)
    cfg = get_cfg()
    cfg.merge_from_file("tiny.yaml")
    torch.save({"model": build_model(cfg).state_dict()}, "weights.pth")
    return tmp_path


def run(*arguments):
    tool.main(["--config-file", "tiny.yaml", *arguments])


@pytest.mark.parametrize("flags", [(), ("--format", "onnx"), ("--export-method", "scripting")])
def test_writes_and_compares(flags, folder, capsys):
    if "onnx" in flags:
        pytest.importorskip("onnxruntime")
        pytest.importorskip("onnx")
    run(*flags, "--output", "out", "--sample-image", "picture.png")
    out = capsys.readouterr().out
    _, found, table = out.partition("on an image of (64, 77)")  # before it, what loggers of other tests print
    assert found
    differences = {line.split()[0]: float(line.split()[-1]) for line in table.splitlines()[1:]}
    assert set(differences) == {"pred_boxes", "pred_classes", "scores", "image_size"}
    assert max(differences.values()) < 1e-2 and "(0, 4)" not in out
    assert [path.name for path in (folder / "out").iterdir()] == ["model.onnx" if "onnx" in flags else "model.ts"]


def test_config_of_the_checkpoint(folder, capsys):
    cfg = get_cfg()
    cfg.merge_from_file("tiny.yaml")
    content = torch.load("weights.pth")
    torch.save({**content, "run": {"config": cfg.dump()}}, "own.pth")
    tool.main(["--weights", "own.pth", "--output", "own.ts", "--sample-image", "picture.png", "MODEL.DEVICE", "cpu"])
    assert "own.ts" in capsys.readouterr().out and (folder / "own.ts").exists()


def test_mistakes(folder, capsys):
    (folder / "there.ts").write_text("mine")
    (folder / "file").write_text("mine")
    for arguments, words in [
        (["MODEL.WEIGHTS", ""], "MODEL.WEIGHTS"),
        (["MODEL.WEIGHTS", "none.pth"], "none.pth"),
        (["--sample-image", "none.png"], "none.png"),
        (["DATASETS.TEST", "()"], "--sample-image"),
        (["--run-eval", "DATASETS.TEST", "()"], "DATASETS.TEST"),
        (["--format", "caffe2"], "onnx"),
        (["--export-method", "caffe2_tracing"], "onnx"),
        (["--export-method", "scripting", "--format", "onnx"], "tracing"),
        (["--output", "model.onnx"], "another format"),
        (["--output", "there.ts"], "--overwrite"),
        (["--output", "file/model.ts"], "--output"),
    ]:
        with pytest.raises(SystemExit) as stopped:
            run("--output", "model", *arguments)
        error = capsys.readouterr().err
        assert stopped.value.code == 1 and words in error.splitlines()[-1]
    assert not list(folder.glob("model/*")) and (folder / "there.ts").read_text() == "mine"
    with pytest.raises(SystemExit):
        tool.main(["--output", "model"])
    assert "--weights" in capsys.readouterr().err


def test_evaluates_the_exported_model(workspace):
    """Two images of a tiny COCO, by a traced and by a scripted model."""
    cfg = get_cfg()
    cfg.merge_from_file(str(workspace / "tiny.yaml"))
    torch.manual_seed(0)
    torch.save({"model": build_model(cfg).state_dict()}, workspace / "weights.pth")
    cfg.merge_from_list(["MODEL.WEIGHTS", str(workspace / "weights.pth"), "OUTPUT_DIR", str(workspace / "out")])
    for method in ("tracing", "scripting"):
        report = export_model(cfg, str(workspace / method), method=method, run_eval=True)
        assert {"bbox", "segm"} <= set(report.results)
