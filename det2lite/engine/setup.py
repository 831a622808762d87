"""What every training does once at its start: folder, logs, seed, writers, wrapping the model."""

import argparse
import logging
import os
import sys
import tempfile
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from det2lite.config import CfgNode
from det2lite.data.datasets.register_coco import register_coco_files
from det2lite.engine.checks import resolve_class_counts
from det2lite.utils import comm
from det2lite.utils.collect_env import collect_env_info
from det2lite.utils.device import resolve_device
from det2lite.utils.env import seed_all_rng, setup_environment
from det2lite.utils.errors import BadValue, UserError
from det2lite.utils.events import CommonMetricPrinter, EventWriter, JSONWriter, TensorboardXWriter
from det2lite.utils.file_io import atomic_write
from det2lite.utils.logger import setup_logger

__all__ = ["create_ddp_model", "default_setup", "default_writers"]

_PRECISIONS = ("", "highest", "high", "medium")


class UnwritableFolder(UserError, OSError):
    """An output folder in which nothing can be written."""


def default_setup(cfg: Any, args: argparse.Namespace | Mapping) -> None:
    """Makes OUTPUT_DIR, sets up the loggers, logs the environment and the config, keeps `config.yaml`, seeds.

    MODEL.NUM_CLASSES, where set, is written into every head before.
    `cfg` is a CfgNode, or a nested mapping whose values stand under `train` (`train.output_dir`, `train.seed`).
    """
    output_dir = str(_value(cfg, "OUTPUT_DIR", "output_dir", default=""))
    rank = comm.get_rank()
    if output_dir and comm.is_main_process():
        make_output_dir(output_dir)
    setup_logger(output_dir or None, distributed_rank=rank, name="fvcore")
    logger = setup_logger(output_dir or None, distributed_rank=rank)
    setup_environment()
    check_device_count(cfg)
    register_coco_files(_value(cfg, "DATASETS.REGISTER", default=()))
    write_class_counts(cfg)

    logger.info("Rank of current process: %d. World size: %d", rank, comm.get_world_size())
    logger.info("Environment info:\n%s", collect_env_info())
    logger.info("Command line arguments: %s", args)
    _log_config_file(getattr(args, "config_file", ""), logger)
    if output_dir and comm.is_main_process() and hasattr(cfg, "dump"):
        path = os.path.join(output_dir, "config.yaml")
        with atomic_write(path) as file:
            file.write(cfg.dump())
        logger.info("Full config saved to %s", path)

    seed = int(_value(cfg, "SEED", "seed", default=-1))
    seed_all_rng(None if seed < 0 else seed + rank)
    # trying out algorithms pays only where sizes come again and again, which those of test images do not
    if not getattr(args, "eval_only", False):
        torch.backends.cudnn.benchmark = bool(_value(cfg, "CUDNN_BENCHMARK", "cudnn_benchmark", default=False))
    set_float32_precision(cfg)


def set_float32_precision(cfg: Any) -> None:
    """How exactly float32 matrices are multiplied, as FLOAT32_PRECISION says."""
    precision = _value(cfg, "FLOAT32_PRECISION", "float32_precision", default="")
    if precision not in _PRECISIONS:
        raise BadValue(f"FLOAT32_PRECISION is {precision!r}; known values: {', '.join(map(repr, _PRECISIONS))}")
    if precision:
        torch.set_float32_matmul_precision(precision)


def write_class_counts(cfg: Any) -> None:
    """Writes what MODEL.NUM_CLASSES says into every head, in place: scripts go on with the config that they gave."""
    resolved = resolve_class_counts(cfg) if isinstance(cfg, CfgNode) else cfg
    if resolved is not cfg:
        frozen = cfg.is_frozen()
        cfg.defrost()
        cfg.merge_from_other_cfg(resolved)
        if frozen:
            cfg.freeze()


def ensure_logging() -> None:
    """Lets the log be seen where `default_setup` was not called."""
    if not logging.getLogger("det2lite").isEnabledFor(logging.INFO):
        setup_logger()


def make_output_dir(path: str) -> None:
    """Creates the folder. Raises `UnwritableFolder` where that, or writing into it, is not possible."""
    try:
        os.makedirs(path, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        reason = error.strerror or str(error)
        raise UnwritableFolder(
            f"cannot write to OUTPUT_DIR {path!r}: {reason}; set OUTPUT_DIR to a folder that you may write to"
        ) from error


def check_device_count(cfg: Any, count: int | None = None) -> None:
    """Raises where `count` processes (None: those there are) would share the CPU without having been asked to."""
    count = comm.get_world_size() if count is None else count
    device = str(_value(cfg, "MODEL.DEVICE", "device", default="cpu"))
    if count > 1 and device != "cpu" and not resolve_device(device).startswith("cuda"):
        raise BadValue(
            f"{count} processes were asked for, and this machine has {torch.cuda.device_count()} GPUs:"
            " use --num-gpus 1, or set MODEL.DEVICE cpu to train with several processes on the CPU"
        )


def default_writers(output_dir: str, max_iter: int | None = None) -> list[EventWriter]:
    """Writers to the log, to `metrics.json` and to TensorBoard's event file, both in `output_dir`."""
    os.makedirs(output_dir, exist_ok=True)
    return [
        CommonMetricPrinter(max_iter),
        JSONWriter(os.path.join(output_dir, "metrics.json")),
        TensorboardXWriter(output_dir),
    ]


def create_ddp_model(model: nn.Module, *, fp16_compression: bool = False, **kwargs) -> nn.Module:
    """The model wrapped for training in several processes, or itself where there is one.

    `fp16_compression` sends gradients as float16. Further arguments are DistributedDataParallel's.
    """
    if comm.get_world_size() == 1:
        return model
    on_cuda = any(parameter.is_cuda for parameter in model.parameters())
    if on_cuda:
        kwargs.setdefault("device_ids", [comm.get_local_rank()])
    wrapped = DistributedDataParallel(model, **kwargs)
    if fp16_compression:
        from torch.distributed.algorithms.ddp_comm_hooks import default_hooks

        wrapped.register_comm_hook(state=None, hook=default_hooks.fp16_compress_hook)
    return wrapped


def _log_config_file(path: str, logger: logging.Logger) -> None:
    if path and os.path.isfile(path):
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read()
        logger.info("Contents of config file %s:\n%s", path, _highlight(text, path) if sys.stdout.isatty() else text)


def _highlight(code: str, filename: str) -> str:
    """YAML, or Python by the file's ending, coloured for a terminal, where pygments is at hand."""
    try:
        from pygments import highlight
        from pygments.formatters import Terminal256Formatter
        from pygments.lexers import Python3Lexer, YamlLexer
    except ImportError:
        return code
    lexer = Python3Lexer() if filename.endswith(".py") else YamlLexer()
    return highlight(code, lexer, Terminal256Formatter(style="monokai"))


def _try_get_key(cfg: Any, *keys: str, default: Any = None) -> Any:
    """The value of the first of the dotted `keys` that `cfg` has."""
    for key in keys:
        node = cfg
        for part in key.split("."):
            node = node.get(part) if hasattr(node, "get") else getattr(node, part, None)
        if node is not None:
            return node
    return default


def _value(cfg: Any, *keys: str, default: Any) -> Any:
    """The first of the dotted `keys` that `cfg` has, at its top or under `train`."""
    return _try_get_key(cfg, *(place for key in keys for place in (key, f"train.{key}")), default=default)
