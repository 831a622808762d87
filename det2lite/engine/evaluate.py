"""Evaluation outside of a training."""

import logging
import os
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from det2lite.checkpoint import DetectionCheckpointer
from det2lite.config import CfgNode
from det2lite.data.datasets.register_coco import register_coco_files
from det2lite.engine.checks import check_classes_of_weights, resolve_class_counts
from det2lite.engine.setup import ensure_logging
from det2lite.engine.trainer import DefaultTrainer
from det2lite.evaluation import DatasetEvaluator, verify_results
from det2lite.modeling import build_model_with_tta
from det2lite.utils import comm
from det2lite.utils.errors import BadValue

__all__ = ["evaluate_weights", "evaluate_with_tta", "load_weights"]

logger = logging.getLogger(__name__)


def evaluate_weights(
    cfg: CfgNode,
    *,
    resume: bool = False,
    trainer_class: type[DefaultTrainer] = DefaultTrainer,
    make_evaluator: Callable[[str], DatasetEvaluator] | None = None,
) -> Mapping[str, Any]:
    """Results of MODEL.WEIGHTS (with `resume`: of the last checkpoint in OUTPUT_DIR) on DATASETS.TEST.

    The weights have to fit the model exactly. Results are compared with TEST.EXPECTED_RESULTS. make_evaluator: from the
    name of a data set to what judges it, else the trainer's `build_evaluator`.
    """
    if not cfg.DATASETS.TEST:
        raise BadValue("nothing to evaluate on: DATASETS.TEST is empty; set it to a registered data set")
    ensure_logging()
    register_coco_files(cfg.DATASETS.REGISTER)
    cfg = resolve_class_counts(cfg)
    model = trainer_class.build_model(cfg)
    if cfg.TEST.AUG.ENABLED:
        build_model_with_tta(cfg, model)  # a model that has no such evaluation is told of at once
    load_weights(cfg, model, resume=resume)
    evaluators = None if make_evaluator is None else [make_evaluator(name) for name in cfg.DATASETS.TEST]
    results = dict(trainer_class.test(cfg, model, evaluators))
    if cfg.TEST.AUG.ENABLED:
        results.update(evaluate_with_tta(cfg, model, trainer_class=trainer_class))
    if comm.is_main_process() and len(cfg.TEST.EXPECTED_RESULTS):
        verify_results(cfg, results)
    return results


def load_weights(cfg: CfgNode, model: nn.Module, *, resume: bool = False) -> None:
    """Loads MODEL.WEIGHTS (with `resume`: the last checkpoint in OUTPUT_DIR), which have to fit the model."""
    checkpointer = DetectionCheckpointer(model, save_dir=cfg.OUTPUT_DIR)
    if not cfg.MODEL.WEIGHTS and not (resume and checkpointer.has_checkpoint()):
        raise BadValue("no weights to evaluate: set MODEL.WEIGHTS to a checkpoint, such as output/model_final.pth")
    resumes = resume and checkpointer.has_checkpoint()
    path = checkpointer.get_checkpoint_file() if resumes else cfg.MODEL.WEIGHTS
    check_classes_of_weights(cfg, path, cfg.DATASETS.TEST, "evaluate")
    checkpointer.resume_or_load(cfg.MODEL.WEIGHTS, resume=resume, strict=True)


def evaluate_with_tta(
    cfg: CfgNode, model: nn.Module, *, trainer_class: type[DefaultTrainer] = DefaultTrainer
) -> dict[str, Any]:
    """Results with test-time augmentation (TEST.AUG); tasks are called "bbox_TTA" and so on."""
    logger.info("Evaluating with test-time augmentation ...")
    folder = os.path.join(cfg.OUTPUT_DIR, "inference_TTA")
    names = cfg.DATASETS.TEST
    folders = [folder if len(names) == 1 else os.path.join(folder, name) for name in names]
    evaluators = [trainer_class.build_evaluator(cfg, *pair) for pair in zip(names, folders, strict=True)]
    results = trainer_class.test(cfg, build_model_with_tta(cfg, model), evaluators)
    return {f"{task}_TTA": values for task, values in results.items()}
