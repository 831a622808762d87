import os

import fvcore.common.checkpoint
import pytest
from torch import nn

from det2lite.checkpoint import DetectionCheckpointer, PeriodicCheckpointer


def run(folder, start, end, *, max_to_keep=2, resume=True):
    """Steps `start` to `end - 1` with a checkpoint every two; returns what lies in the folder then."""
    checkpointer = DetectionCheckpointer(nn.Linear(1, 1), str(folder))
    checkpointer.resume_or_load("", resume=resume)
    periodic = PeriodicCheckpointer(checkpointer, 2, max_iter=20, max_to_keep=max_to_keep)
    for iteration in range(start, end):
        periodic.step(iteration)
    return sorted(name for name in os.listdir(folder) if name != "last_checkpoint")


def test_the_newest_are_kept(tmp_path):
    checkpointer = DetectionCheckpointer(nn.Linear(1, 1), str(tmp_path))
    periodic = PeriodicCheckpointer(checkpointer, 2, max_iter=7, max_to_keep=2)
    assert isinstance(periodic, fvcore.common.checkpoint.PeriodicCheckpointer)
    for iteration in range(7):
        periodic.step(iteration)
    kept = ["last_checkpoint", "model_0000003.pth", "model_0000005.pth", "model_final.pth"]
    assert sorted(os.listdir(tmp_path)) == kept
    assert checkpointer.get_checkpoint_file() == str(tmp_path / "model_final.pth")


def test_those_from_before_a_resume_count(tmp_path):
    assert run(tmp_path, 0, 5) == ["model_0000001.pth", "model_0000003.pth"]
    assert run(tmp_path, 4, 6) == ["model_0000003.pth", "model_0000005.pth"]
    assert run(tmp_path, 6, 7) == ["model_0000003.pth", "model_0000005.pth"]  # nothing saved, nothing removed


def test_fewer_are_kept_after_a_resume(tmp_path):
    assert len(run(tmp_path, 0, 8, max_to_keep=4)) == 4
    assert run(tmp_path, 8, 10, max_to_keep=1) == ["model_0000009.pth"]


def test_files_of_others_stay(tmp_path):
    run(tmp_path, 0, 4)
    for name in ("model_best.pth", "other_0000001.pth", "model_1.pth", "model_0000019.pth", "notes.txt"):
        (tmp_path / name).write_text("")
    assert run(tmp_path, 4, 8) == [
        "model_0000005.pth",
        "model_0000007.pth",
        "model_0000019.pth",  # newer than where the run goes on
        "model_1.pth",
        "model_best.pth",
        "notes.txt",
        "other_0000001.pth",
    ]


@pytest.mark.parametrize("max_to_keep, own", [(1, ["3"]), (None, ["1", "3"])])
def test_a_run_that_begins_anew_removes_nothing_of_the_one_before(tmp_path, max_to_keep, own):
    run(tmp_path, 0, 8, max_to_keep=None)
    files = run(tmp_path, 0, 4, max_to_keep=max_to_keep, resume=False)
    assert files == [f"model_000000{iteration}.pth" for iteration in (*own, "5", "7")]


def test_no_folder_yet(tmp_path):
    checkpointer = DetectionCheckpointer(nn.Linear(1, 1), str(tmp_path / "new"))
    periodic = PeriodicCheckpointer(checkpointer, 2, max_to_keep=1)
    for iteration in range(3, 8):
        periodic.step(iteration)
    assert sorted(os.listdir(tmp_path / "new")) == ["last_checkpoint", "model_0000007.pth"]
