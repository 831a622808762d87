"""Checks before the first iteration: does the model fit the data, and can it learn?"""

import logging
from collections.abc import Iterable

from torch import nn

from det2lite.config import CfgNode
from det2lite.data import DatasetCatalog, MetadataCatalog
from det2lite.layers import FrozenBatchNorm2d
from det2lite.utils.errors import BadValue, UserError

__all__ = ["ClassCountMismatch", "check_class_count", "check_training_config", "warn_of_frozen_random_layers"]

logger = logging.getLogger(__name__)

# the key that holds the number of thing classes, by MODEL.META_ARCHITECTURE
_CLASS_COUNT_NODE = {"GeneralizedRCNN": "ROI_HEADS", "PanopticFPN": "ROI_HEADS", "RetinaNet": "RETINANET"}


_LEAST = {"SOLVER.IMS_PER_BATCH": 1, "SOLVER.CHECKPOINT_PERIOD": 1, "DATALOADER.NUM_WORKERS": 0}


class ClassCountMismatch(UserError, ValueError):
    """A model of another number of classes than the data set has."""


def check_training_config(cfg: CfgNode) -> None:
    """Raises a `UserError` for what would end a training late: numbers out of range, unknown names in DATASETS.TEST.

    For the tools, whose test data come from the catalog; a trainer of another kind may get them elsewhere.
    """
    for key, least in _LEAST.items():
        node, name = key.split(".")
        if cfg[node][name] < least:
            raise BadValue(f"{key} is {cfg[node][name]}; set it to {least} or more")
    for name in cfg.DATASETS.TEST:
        if name not in DatasetCatalog:
            DatasetCatalog[name]  # says which names are close


def check_class_count(cfg: CfgNode, dataset_names: Iterable[str]) -> None:
    """Raises `ClassCountMismatch` where a data set has another number of thing classes than the model.

    Data sets that do not say their classes, and architectures that are not ours, are left alone.
    """
    node = _CLASS_COUNT_NODE.get(cfg.MODEL.META_ARCHITECTURE)
    if node is None:
        return
    key, count = f"MODEL.{node}.NUM_CLASSES", cfg.MODEL[node].NUM_CLASSES
    for name in dataset_names:
        classes = MetadataCatalog.get(name).get("thing_classes", None)
        if classes and len(classes) != count:
            listed = ", ".join(map(str, classes[:5])) + (", ..." if len(classes) > 5 else "")
            raise ClassCountMismatch(
                f"{key} is {count}, but data set {name!r} has {len(classes)} classes ({listed});"
                f" set {key} {len(classes)}"
            )


def warn_of_frozen_random_layers(cfg: CfgNode, model: nn.Module) -> None:
    """Warns where a training starts without weights though layers are frozen, which then stay random."""
    if cfg.MODEL.WEIGHTS:
        return
    frozen = sum(not parameter.requires_grad for parameter in model.parameters())
    norms = sum(isinstance(module, FrozenBatchNorm2d) for module in model.modules())
    if frozen or norms:
        logger.warning(
            "MODEL.WEIGHTS is empty, but %d parameters and %d batch norms are frozen: they keep their initial values,"
            " and the model will hardly learn. Give pre-trained weights, or set MODEL.BACKBONE.FREEZE_AT 0 and"
            " MODEL.RESNETS.NORM GN (or BN)",
            frozen,
            norms,
        )
