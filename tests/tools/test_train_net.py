import os
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import pytest
import torch

from det2lite.config import get_cfg
from det2lite.engine import DefaultTrainer, train_from_config
from det2lite.evaluation import DatasetEvaluator

TOOLS = Path(__file__).resolve().parents[2] / "tools"


def weights(path):
    return torch.load(path, weights_only=True)["model"]


def interrupt_at(output, name):
    """The folder as it was when checkpoint `name` was the last."""
    (output / "last_checkpoint").write_text(name)
    final = weights(output / "model_final.pth")
    os.remove(output / "model_final.pth")
    return final


def test_train_resume_and_evaluate(run_tool, capsys):
    output = run_tool("train_net.py")
    expected = {"config.yaml", "log.txt", "metrics.json", "last_checkpoint", "model_0000001.pth", "model_final.pth"}
    assert expected <= set(os.listdir(output))
    assert "coco_instances_results.json" in os.listdir(output / "inference")
    assert "copypaste: AP,AP50,AP75,APs,APm,APl" in capsys.readouterr().out

    final = interrupt_at(output, "model_0000001.pth")
    run_tool("train_net.py", "--resume")
    assert "Starting training from iteration 2" in capsys.readouterr().out
    resumed = weights(output / "model_final.pth")
    assert all(torch.equal(value, resumed[name]) for name, value in final.items())

    run_tool("train_net.py", "--eval-only", "MODEL.WEIGHTS", str(output / "model_final.pth"))
    shown = capsys.readouterr().out
    assert "Task: bbox" in shown and "Starting training" not in shown


def test_the_plain_loop_trains_the_same(run_tool, capsys):
    output = run_tool("plain_train_net.py")
    assert {"config.yaml", "log.txt", "metrics.json", "model_final.pth"} <= set(os.listdir(output))
    final = interrupt_at(output, "model_0000001.pth")
    run_tool("plain_train_net.py", "--resume")
    resumed = weights(output / "model_final.pth")
    assert all(torch.equal(value, resumed[name]) for name, value in final.items())

    output.rename(output.with_name("plain"))
    trained = weights(run_tool("train_net.py") / "model_final.pth")
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
def test_a_mistake_is_one_line(tool, words, message, run_tool, capsys):
    with pytest.raises(SystemExit) as caught:
        run_tool(tool, *words)
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert caught.value.code == 1 and error.startswith("error: ") and message in error


@pytest.mark.parametrize("tool", ["train_net.py", "plain_train_net.py"])
def test_help_from_the_tools_folder(tool):
    assert os.access(TOOLS / tool, os.X_OK)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([sys.executable, tool, "--help"], cwd=TOOLS, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and "--eval-only MODEL.WEIGHTS" in done.stdout


def test_augmented_evaluation_and_expected_results(workspace, run_tool, capsys):
    augmented = ["TEST.AUG.ENABLED", "True", "TEST.AUG.MIN_SIZES", "[48, 64]", "SOLVER.MAX_ITER", "1"]
    wrong = ["TEST.EXPECTED_RESULTS", "[['bbox', 'AP', 150.0, 1.0]]"]
    with pytest.raises(SystemExit) as caught:
        run_tool("train_net.py", *augmented, *wrong)
    assert caught.value.code == 1 and "Result verification failed!" in capsys.readouterr().out
    output = workspace / "out"
    for folder in ("inference", "inference_TTA"):
        assert "coco_instances_results.json" in os.listdir(output / folder)

    evaluate = ["--eval-only", "MODEL.WEIGHTS", str(output / "model_final.pth"), *augmented]
    right = ["TEST.EXPECTED_RESULTS", "[['bbox', 'AP', 50.0, 60.0], ['segm_TTA', 'AP50', 50.0, 60.0]]"]
    run_tool("train_net.py", *evaluate, *right)
    assert "Results verification passed." in capsys.readouterr().out


@pytest.mark.parametrize("words", [[], ["--eval-only", "MODEL.WEIGHTS", "nowhere.pth"]])
def test_augmented_evaluation_that_cannot_be_is_told_of_before_the_work(words, workspace, run_tool, capsys):
    with pytest.raises(SystemExit):
        run_tool("train_net.py", *words, "TEST.AUG.ENABLED", "True", "MODEL.META_ARCHITECTURE", "ProposalNetwork")
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: TEST.AUG.ENABLED with MODEL.META_ARCHITECTURE 'ProposalNetwork': ")
    log = (workspace / "out" / "log.txt").read_text()
    assert "Starting training" not in log and "Start inference" not in log


class Trainer(DefaultTrainer):
    folders: ClassVar[list] = []

    @classmethod
    def build_evaluator(cls, cfg, dataset_name, output_folder=None):
        cls.folders.append(output_folder)
        return DatasetEvaluator()


def test_augmented_evaluation_is_by_the_evaluators_of_ones_own_trainer(workspace):
    cfg = get_cfg()
    cfg.merge_from_file(str(workspace / "tiny.yaml"))
    cfg.OUTPUT_DIR = str(workspace / "out")
    cfg.TEST.AUG.ENABLED = True
    cfg.TEST.AUG.MIN_SIZES = [48]
    cfg.SOLVER.MAX_ITER = 1
    os.makedirs(cfg.OUTPUT_DIR)
    train_from_config(cfg, trainer_class=Trainer)
    assert [folder and os.path.basename(folder) for folder in Trainer.folders] == [None, "inference_TTA"]
