"""The evaluator that a data set asks for."""

import logging
import os
from typing import Any

from det2lite.data import MetadataCatalog
from det2lite.evaluation.cityscapes_evaluation import CityscapesInstanceEvaluator, CityscapesSemSegEvaluator
from det2lite.evaluation.coco_evaluation import COCOEvaluator
from det2lite.evaluation.evaluator import DatasetEvaluator, DatasetEvaluators
from det2lite.evaluation.lvis_evaluation import LVISEvaluator
from det2lite.evaluation.panoptic_evaluation import COCOPanopticEvaluator
from det2lite.evaluation.pascal_voc_evaluation import PascalVOCDetectionEvaluator
from det2lite.evaluation.sem_seg_evaluation import SemSegEvaluator
from det2lite.utils.errors import UnknownName, close_names
from det2lite.utils.registry import Registry

__all__ = ["EVALUATOR_REGISTRY", "build_evaluator"]

logger = logging.getLogger(__name__)

EVALUATOR_REGISTRY = Registry("EVALUATOR")
"""Functions `(cfg, dataset_name, output_dir) -> DatasetEvaluator`, by the `evaluator_type` they are for."""


@EVALUATOR_REGISTRY.register()
def coco(cfg: Any, dataset_name: str, output_dir: str | None) -> DatasetEvaluator:
    """Boxes, masks and keypoints by COCO's protocol."""
    sigmas = tuple(cfg.TEST.KEYPOINT_OKS_SIGMAS)
    return COCOEvaluator(dataset_name, output_dir=output_dir, kpt_oks_sigmas=sigmas)


@EVALUATOR_REGISTRY.register()
def sem_seg(cfg: Any, dataset_name: str, output_dir: str | None) -> DatasetEvaluator:
    """The class of each pixel."""
    return SemSegEvaluator(dataset_name, output_dir=output_dir)


@EVALUATOR_REGISTRY.register()
def coco_panoptic_seg(cfg: Any, dataset_name: str, output_dir: str | None) -> DatasetEvaluator:
    """Segments, and where the data set has them instances and semantic maps."""
    metadata = MetadataCatalog.get(dataset_name)
    evaluators = []
    if metadata.get("sem_seg_root") is not None:
        evaluators.append(SemSegEvaluator(dataset_name, output_dir=output_dir))
    if metadata.get("json_file") is not None:
        evaluators.append(coco(cfg, dataset_name, output_dir))
    evaluators.append(COCOPanopticEvaluator(dataset_name, output_dir))
    return DatasetEvaluators(evaluators)


@EVALUATOR_REGISTRY.register()
def lvis(cfg: Any, dataset_name: str, output_dir: str | None) -> DatasetEvaluator:
    """Boxes and masks by LVIS's federated protocol."""
    return LVISEvaluator(dataset_name, output_dir=output_dir)


@EVALUATOR_REGISTRY.register()
def pascal_voc(cfg: Any, dataset_name: str, output_dir: str | None) -> DatasetEvaluator:
    """Boxes by Pascal VOC's protocol."""
    return PascalVOCDetectionEvaluator(dataset_name)


@EVALUATOR_REGISTRY.register()
def cityscapes_instance(cfg: Any, dataset_name: str, output_dir: str | None) -> DatasetEvaluator:
    """Instance masks by Cityscapes' scripts."""
    return CityscapesInstanceEvaluator(dataset_name)


@EVALUATOR_REGISTRY.register()
def cityscapes_sem_seg(cfg: Any, dataset_name: str, output_dir: str | None) -> DatasetEvaluator:
    """Semantic maps by Cityscapes' scripts."""
    return CityscapesSemSegEvaluator(dataset_name)


@EVALUATOR_REGISTRY.register()
def cityscapes_panoptic_seg(cfg: Any, dataset_name: str, output_dir: str | None) -> DatasetEvaluator:
    """Segments by panoptic quality, instance masks and semantic maps by Cityscapes' scripts."""
    return DatasetEvaluators(
        [
            COCOPanopticEvaluator(dataset_name, output_dir),
            CityscapesSemSegEvaluator(dataset_name),
            CityscapesInstanceEvaluator(dataset_name),
        ]
    )


def build_evaluator(cfg: Any, dataset_name: str, output_dir: str | None = None) -> DatasetEvaluator:
    """The evaluator for a data set's `evaluator_type`; COCO's for a data set that names none.

    output_dir: where results are written; `cfg.OUTPUT_DIR/inference` by default. Raises `UnknownName` for a type that
    there is no evaluator for.
    """
    if output_dir is None:
        output_dir = os.path.join(cfg.OUTPUT_DIR, "inference")
    evaluator_type = MetadataCatalog.get(dataset_name).get("evaluator_type")
    if evaluator_type is None:
        logger.info("data set %s names no evaluator_type; it is evaluated by COCO's protocol", dataset_name)
        evaluator_type = "coco"
    if evaluator_type not in EVALUATOR_REGISTRY:
        known = sorted(name for name, _ in EVALUATOR_REGISTRY)
        raise UnknownName(
            f"data set {dataset_name!r} has evaluator_type {evaluator_type!r}, for which there is no evaluator"
            f"{close_names(evaluator_type, known)}; available: {', '.join(known)}"
        )
    return EVALUATOR_REGISTRY.get(evaluator_type)(cfg, dataset_name, output_dir)
