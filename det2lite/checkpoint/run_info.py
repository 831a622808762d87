"""What a checkpoint says of the run that wrote it, so that prediction and further training need nothing else."""

import datetime
import importlib.metadata
import platform
from typing import Any

import torch

import det2lite
from det2lite.checkpoint.files import local_file, read_checkpoint, to_plain
from det2lite.config import CfgNode

DRAWING_METADATA = ("thing_colors", "stuff_classes", "stuff_colors", "keypoint_names", "keypoint_connection_rules")


def collect(cfg: CfgNode, iteration: int | None = None) -> dict[str, Any]:
    """Plain types only: config (YAML text), class_names, category_ids, metadata, datasets, iteration, versions, time.

    class_names are those of the first training set, contiguous order, and category_ids what its files call them; empty
    where its metadata does not know them. metadata is what else is known of it that drawing needs, by the catalog's
    names. The time is ISO 8601, local.
    """
    return {
        "config": cfg.dump(),
        "class_names": list(to_plain(_metadata_of_training(cfg, "thing_classes", []), "class_names")),
        "category_ids": _category_ids(cfg),
        "metadata": _drawing_metadata(cfg),
        "datasets": {"train": [*cfg.DATASETS.TRAIN], "test": [*cfg.DATASETS.TEST]},
        "iteration": iteration,
        "versions": {
            "det2lite": det2lite.__version__,
            "torch": str(torch.__version__),
            "torchvision": importlib.metadata.version("torchvision"),
            "python": platform.python_version(),
        },
        "time": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
    }


def _metadata_of_training(cfg: CfgNode, key: str, default: Any) -> Any:
    from det2lite.data import MetadataCatalog  # registers the built-in data sets; not needed to load weights

    if not cfg.DATASETS.TRAIN or cfg.DATASETS.TRAIN[0] not in MetadataCatalog:
        return default
    return MetadataCatalog.get(cfg.DATASETS.TRAIN[0]).get(key, default)


def _category_ids(cfg: CfgNode) -> list[int]:
    class_of = to_plain(_metadata_of_training(cfg, "thing_dataset_id_to_contiguous_id", {}), "category_ids")
    return sorted(class_of, key=class_of.get)


def _drawing_metadata(cfg: CfgNode) -> dict[str, Any]:
    values = {key: _metadata_of_training(cfg, key, None) for key in DRAWING_METADATA}
    return {key: to_plain(value, key) for key, value in values.items() if value is not None}


def read_run_info(path: str) -> dict[str, Any]:
    """What `collect` put in a checkpoint file; empty for a file of other origin."""
    run = read_checkpoint(local_file(path), mmap=True).get("run", {})
    return run if isinstance(run, dict) else {}
