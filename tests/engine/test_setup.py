import argparse
import logging
import os
import types

import pytest
import torch
import yaml

from det2lite.config import get_cfg
from det2lite.engine import create_ddp_model, default_setup, default_writers
from det2lite.engine.defaults import _highlight, _try_get_key
from det2lite.engine.setup import check_device_count, make_output_dir
from det2lite.utils import comm
from det2lite.utils.errors import BadValue, UserError


@pytest.fixture(autouse=True)
def leave_no_handlers():
    """Loggers and switches of the process as they were."""
    names = ("det2lite", "fvcore")
    before = [(list(logging.getLogger(n).handlers), logging.getLogger(n).propagate) for n in names]
    precision, benchmark = torch.get_float32_matmul_precision(), torch.backends.cudnn.benchmark
    yield
    for name, (handlers, propagate) in zip(names, before, strict=True):
        logging.getLogger(name).handlers[:] = handlers
        logging.getLogger(name).propagate = propagate
    torch.set_float32_matmul_precision(precision)
    torch.backends.cudnn.benchmark = benchmark


def config(tmp_path, **values):
    cfg = get_cfg()
    cfg.OUTPUT_DIR = str(tmp_path / "out" / "run")
    for key, value in values.items():
        cfg[key] = value
    return cfg


def test_setup_keeps_the_config_and_the_log(tmp_path):
    (tmp_path / "given.yaml").write_text("SEED: 7  # as given\n")
    cfg = config(tmp_path, SEED=7)
    default_setup(cfg, argparse.Namespace(config_file=str(tmp_path / "given.yaml"), eval_only=False))
    first = torch.rand(1)
    assert sorted(os.listdir(cfg.OUTPUT_DIR)) == ["config.yaml", "log.txt"]
    read = get_cfg()
    read.merge_from_file(os.path.join(cfg.OUTPUT_DIR, "config.yaml"))
    assert yaml.safe_load(read.dump()) == yaml.safe_load(cfg.dump())
    with open(os.path.join(cfg.OUTPUT_DIR, "log.txt")) as file:
        log = file.read()
    assert "World size: 1" in log and "as given" in log
    default_setup(cfg, {})
    assert torch.rand(1) == first


def test_setup_takes_nested_configs_of_other_kinds(tmp_path):
    folder = str(tmp_path / "a")
    default_setup({"train": {"output_dir": folder, "seed": 1}}, {})
    first = torch.rand(1)
    default_setup(types.SimpleNamespace(train=types.SimpleNamespace(output_dir=folder, seed=1)), {})
    assert torch.rand(1) == first and os.path.isfile(os.path.join(folder, "log.txt"))


def test_switches(tmp_path):
    cfg = config(tmp_path, FLOAT32_PRECISION="high", CUDNN_BENCHMARK=True)
    torch.backends.cudnn.benchmark = False
    default_setup(cfg, argparse.Namespace(eval_only=True))
    assert torch.get_float32_matmul_precision() == "high" and not torch.backends.cudnn.benchmark
    default_setup(cfg, argparse.Namespace(eval_only=False))
    assert torch.backends.cudnn.benchmark
    cfg.FLOAT32_PRECISION = "low"
    with pytest.raises(BadValue, match="FLOAT32_PRECISION.*'high'"):
        default_setup(cfg, {})


def test_unwritable_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="OUTPUT_DIR") as caught:
        make_output_dir(str(tmp_path / "file" / "run"))
    assert isinstance(caught.value, OSError) and "Not a directory" in str(caught.value)
    make_output_dir(str(tmp_path / "new" / "run"))
    assert os.listdir(tmp_path / "new" / "run") == []


def test_several_processes_on_the_cpu_want_to_be_asked_for(monkeypatch):
    cfg = get_cfg()
    check_device_count(cfg)
    monkeypatch.setattr(comm, "get_world_size", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(BadValue, match="2 processes.* 0 GPUs.*MODEL.DEVICE cpu"):
        check_device_count(cfg)
    cfg.MODEL.DEVICE = "cpu"
    check_device_count(cfg)


def test_default_writers(tmp_path):
    writers = default_writers(str(tmp_path / "out"), 10)
    for writer in writers:
        writer.close()
    assert [type(writer).__name__ for writer in writers] == ["CommonMetricPrinter", "JSONWriter", "TensorboardXWriter"]
    assert "metrics.json" in os.listdir(tmp_path / "out")


def test_one_process_needs_no_wrapping():
    model = torch.nn.Linear(1, 1)
    assert create_ddp_model(model, broadcast_buffers=False) is model


def test_small_parts_that_projects_import():
    cfg = get_cfg()
    cfg.OUTPUT_DIR = "runs"
    assert _try_get_key(cfg, "output_dir", "OUTPUT_DIR") == "runs" and _try_get_key(cfg, "MODEL.DEVICE") == "auto"
    nested = {"train": {"output_dir": "there"}}
    assert _try_get_key(nested, "OUTPUT_DIR", "train.output_dir") == "there"
    assert _try_get_key(nested, "output_dir", "train.output_dir.name", default=3) == 3
    for name in ("a.yaml", "a.py"):
        assert "SEED" in _highlight("SEED: 1\n", name)
