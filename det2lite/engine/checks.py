"""Checks before the first iteration: do data, config and checkpoint agree, and can the model learn?"""

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import nn

from det2lite.checkpoint.run_info import read_run_info
from det2lite.config import CfgNode
from det2lite.data import DatasetCatalog, MetadataCatalog
from det2lite.data.class_lists import (
    COUNT_GROUPS,
    known_class_names,
    same_classes,
    side_by_side,
    thing_count,
    with_class_counts,
)
from det2lite.data.gather import get_detection_dataset_dicts
from det2lite.data.preflight.samples import stop_on_samples
from det2lite.data.preflight.truth import not_annotated
from det2lite.engine.auto_batch import is_automatic
from det2lite.evaluation.cityscapes_evaluation import require_cityscapes_scripts
from det2lite.layers import FrozenBatchNorm2d
from det2lite.utils.errors import BadValue, UserError

__all__ = [
    "ClassCountMismatch",
    "ClassMismatch",
    "check_class_count",
    "check_classes_of_data",
    "check_classes_of_weights",
    "check_training_config",
    "resolve_class_counts",
    "warn_of_foreign_classes",
    "warn_of_frozen_random_layers",
]

logger = logging.getLogger(__name__)


_LEAST = {
    "SOLVER.IMS_PER_BATCH": 1,
    "SOLVER.ACCUMULATE": 1,
    "SOLVER.CHECKPOINT_PERIOD": 1,
    "DATALOADER.NUM_WORKERS": 0,
}


class ClassMismatch(UserError, ValueError):
    """Data set, model and checkpoint do not have the same classes."""


class ClassCountMismatch(ClassMismatch):
    """A model of another number of classes than the data set has."""


def check_training_config(cfg: CfgNode) -> None:
    """Raises a `UserError` for what would end a training late: numbers out of range, unknown names in DATASETS.TEST,
    faults of these data sets, a package that their evaluation lacks. Warns of those that have no annotation.

    For the tools, whose test data come from the catalog; a trainer of another kind may get them elsewhere.
    """
    is_automatic(cfg)  # or a word that it does not know
    for key, least in _LEAST.items():
        node, name = key.split(".")
        if not isinstance(cfg[node][name], str) and cfg[node][name] < least:
            raise BadValue(f"{key} is {cfg[node][name]}; set it to {least} or more")
    for name in cfg.DATASETS.TEST:
        if name not in DatasetCatalog:
            DatasetCatalog[name]  # says which names are close
        if str(MetadataCatalog.get(name).get("evaluator_type")).startswith("cityscapes"):
            require_cityscapes_scripts()
        # what the first evaluation would say of files that are missing, broken, or without images
        samples = get_detection_dataset_dicts(name, filter_empty=False, check_consistency=False)
        stop_on_samples([name], samples, learns=False)
        if lacking := not_annotated(name, samples):
            logger.warning(
                "DATASETS.TEST: %s: its evaluations will give no numbers (nan, or none at all). Name a data set with"
                ' annotations there, or none (DATASETS.TEST "()") to train without evaluation',
                lacking,
            )


def resolve_class_counts(cfg: CfgNode) -> CfgNode:
    """`with_class_counts`; "auto" counts the class names that MODEL.WEIGHTS carries where no data set says them."""
    if cfg.MODEL.get("NUM_CLASSES") is None:
        return cfg
    return with_class_counts(cfg, class_names_of_weights(cfg.MODEL.WEIGHTS))


def class_names_of_weights(path: str) -> list[str]:
    """The class names that a checkpoint on this disk carries; empty where it carries none."""
    if not path or path.endswith(".pkl") or not os.path.isfile(path):
        return []
    try:
        return [*map(str, read_run_info(path).get("class_names") or ())]
    except UserError:  # loading says it
        return []


def check_class_count(cfg: CfgNode, dataset_names: Iterable[str]) -> None:
    """Raises `ClassCountMismatch` where a data set has another number of thing classes than the model.

    Data sets that do not say their classes, and architectures that are not ours, are left alone.
    """
    counted = thing_count(cfg)
    if counted is None:
        return
    key, count = counted
    for name in dataset_names:
        classes = MetadataCatalog.get(name).get("thing_classes", None)
        if classes and len(classes) != count:
            listed = ", ".join(map(str, classes[:5])) + (", ..." if len(classes) > 5 else "")
            message = (
                f"{key} is {count}, but data set {name!r} has {len(classes)} classes ({listed});"
                f" set {key} {len(classes)}"
            )
            of_weights = class_names_of_weights(cfg.MODEL.WEIGHTS)
            if len(of_weights) == count:
                message += "\n" + side_by_side(cfg.MODEL.WEIGHTS, of_weights, f"data set {name!r}", classes)
            raise ClassCountMismatch(message)


def check_classes_of_data(cfg: CfgNode) -> None:
    """Raises `ClassMismatch` where a set of DATASETS.TEST has other thing classes than the first of DATASETS.TRAIN."""
    if not len(cfg.DATASETS.TRAIN) or cfg.MODEL.META_ARCHITECTURE not in COUNT_GROUPS:
        return
    first = cfg.DATASETS.TRAIN[0]
    trained = known_class_names(first)
    for name in cfg.DATASETS.TEST:
        tested = known_class_names(name) if trained else []
        if tested and not same_classes(trained, tested):
            raise ClassMismatch(
                f"DATASETS.TEST {name!r} has other classes, or another order, than DATASETS.TRAIN {first!r}: its"
                " evaluation would mean nothing; give both the same categories in the same order\n"
                + side_by_side(repr(first), trained, repr(name), tested)
            )


def check_classes_of_weights(cfg: CfgNode, path: str, dataset_names: Sequence[str], purpose: str) -> None:
    """Raises `ClassMismatch` where a checkpoint was trained for other classes than a data set has.

    purpose: what is done with it, "evaluate" or "resume". Checkpoints without class names are left alone.
    """
    names = class_names_of_weights(path)
    for dataset in dataset_names if names and cfg.MODEL.META_ARCHITECTURE in COUNT_GROUPS else ():
        classes = known_class_names(dataset)
        if classes and not same_classes(names, classes):
            remedy = {
                "evaluate": "evaluate it on data of its own classes",
                "resume": f"train anew from its weights: MODEL.WEIGHTS {path}, another OUTPUT_DIR, without --resume",
            }[purpose]
            raise ClassMismatch(
                f"cannot {purpose} {path}: its classes are not those of data set {dataset!r}; {remedy}\n"
                + side_by_side(os.path.basename(path), names, f"data set {dataset!r}", classes)
            )


def warn_of_foreign_classes(cfg: CfgNode, loaded: Any) -> None:
    """Warns where a training starts from weights whose class heads fit by their size, but are of other classes.

    loaded: what loading it returned. Heads of another size are not loaded, which the checkpointer tells.
    """
    run = loaded.get("run") if isinstance(loaded, Mapping) else None
    names = run.get("class_names") if isinstance(run, Mapping) else None
    if not names or not len(cfg.DATASETS.TRAIN) or cfg.MODEL.META_ARCHITECTURE not in COUNT_GROUPS:
        return
    classes = known_class_names(cfg.DATASETS.TRAIN[0])
    if len(classes) == len(names) and not same_classes(names, classes):
        logger.warning(
            "MODEL.WEIGHTS was trained for other classes, or another order, and as many: its heads are loaded and have"
            " to unlearn them\n%s",
            side_by_side("MODEL.WEIGHTS", names, repr(cfg.DATASETS.TRAIN[0]), classes),
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
