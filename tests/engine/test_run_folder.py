import logging
import os

import pytest

from det2lite.checkpoint import DetectionCheckpointer
from det2lite.config import get_cfg
from det2lite.engine.run_folder import claim_run_folder, config_of_run, traces_of_run, warn_of_earlier_run
from det2lite.utils.errors import BadValue


@pytest.fixture
def run(tmp_path):
    for name in ("model_0000019.pth", "model_final.pth", "last_checkpoint", "metrics.json", "log.txt", "log.txt.rank1"):
        (tmp_path / name).write_text("{}")
    for name in ("model_zoo.pth", "notes.txt", "config.yaml"):  # not of the run, or said anew by the next
        (tmp_path / name).write_text("SEED: 7")
    return tmp_path


def test_traces(run, tmp_path_factory):
    assert traces_of_run(str(run)) == ["model_0000019.pth", "model_final.pth", "metrics.json"]
    fresh = tmp_path_factory.mktemp("fresh")
    assert traces_of_run(str(fresh)) == traces_of_run(str(fresh / "nowhere")) == []
    for name, text in (("config.yaml", "SEED: 1"), ("log.txt", "a"), ("metrics.json", "")):
        (fresh / name).write_text(text)  # a run that failed before its first iteration
    assert traces_of_run(str(fresh)) == []
    claim_run_folder(str(fresh))


def test_a_run_stays_unless_asked(run):
    before = sorted(os.listdir(run))
    with pytest.raises(BadValue, match="holds a run already.*--resume.*--output.*--overwrite") as caught:
        claim_run_folder(str(run))
    assert isinstance(caught.value, FileExistsError)
    with pytest.raises(BadValue, match="part of the run that --overwrite removes"):
        claim_run_folder(str(run), overwrite=True, kept=str(run / "model_final.pth"))
    assert sorted(os.listdir(run)) == before
    claim_run_folder(str(run), overwrite=True, kept=str(run / "model_zoo.pth"))
    assert sorted(os.listdir(run)) == ["config.yaml", "model_zoo.pth", "notes.txt"]


def test_the_config_of_the_last_checkpoint_counts(run):
    import torch

    (run / "last_checkpoint").unlink()
    assert config_of_run(str(run)) == "SEED: 7"
    assert config_of_run(str(run / "nowhere")) is None
    cfg = get_cfg()
    cfg.SEED = 5
    checkpointer = DetectionCheckpointer(torch.nn.Linear(1, 1), str(run))
    checkpointer.attach_config(cfg)
    checkpointer.save("model_0000039")
    assert "SEED: 5\n" in config_of_run(str(run))


def test_tools_warn(run, monkeypatch):
    records = []
    handler = logging.Handler()
    handler.emit = lambda record: records.append(record.getMessage())
    logger = logging.getLogger("det2lite")
    before = list(logger.handlers), logger.propagate, logger.level
    logger.addHandler(handler)
    try:
        warn_of_earlier_run(str(run / "nowhere"))
        assert not records
        warn_of_earlier_run(str(run))
        assert "holds a run already" in records[0] and "--resume" in records[0]
    finally:
        logger.handlers[:], logger.propagate = before[:2]
        logger.setLevel(before[2])
