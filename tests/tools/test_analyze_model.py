import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONFIG = str(ROOT / "configs/quick_start/mask_rcnn_shapes.yaml")
spec = importlib.util.spec_from_file_location("det2lite_analyze_model", ROOT / "tools" / "analyze_model.py")
tool = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tool)


def run(*arguments):
    tool.main(["--config-file", CONFIG, "--tasks", *arguments, "MODEL.DEVICE", "cpu"])


def test_counts_without_data(capsys):
    run("flop", "activation", "--size", "64", "96")
    out = capsys.readouterr().out
    assert "backbone" in out and "Gflops" in out and "Million activations" in out
    totals = [float(line.split()[1]) for line in out.splitlines() if line.strip().startswith("total ")]
    assert len(totals) == 2 and all(total > 0 for total in totals)


def test_parameters_and_structure(capsys):
    run("parameter", "structure", "-n", "1")
    out = capsys.readouterr().out
    assert "GeneralizedRCNN(" in out and "roi_heads" in out
    assert "backbone.bottom_up.stem.conv1" in out


def test_errors(capsys):
    for arguments, words in [
        (["flop", "-n", "1", "DATASETS.TEST", "()"], "--size"),
        (["flop", "--size", "0", "3"], "at least 1"),
        (["parameter", "-n", "1", "MODEL.NO_SUCH_KEY", "1"], "NO_SUCH_KEY"),
    ]:
        with pytest.raises(SystemExit) as stopped:
            run(*arguments)
        error = capsys.readouterr().err
        assert stopped.value.code == 1 and words in error and len(error.splitlines()) == 1
