"""Judging what models predict: one file a family of metrics."""

from det2lite.evaluation.build import EVALUATOR_REGISTRY, build_evaluator
from det2lite.evaluation.cityscapes_evaluation import CityscapesInstanceEvaluator, CityscapesSemSegEvaluator
from det2lite.evaluation.coco_evaluation import COCOEvaluator
from det2lite.evaluation.evaluator import (
    DatasetEvaluator,
    DatasetEvaluators,
    inference_context,
    inference_on_dataset,
)
from det2lite.evaluation.lvis_evaluation import LVISEvaluator
from det2lite.evaluation.panoptic_evaluation import COCOPanopticEvaluator
from det2lite.evaluation.pascal_voc_evaluation import PascalVOCDetectionEvaluator
from det2lite.evaluation.rotated_coco_evaluation import RotatedCOCOEvaluator
from det2lite.evaluation.sem_seg_evaluation import SemSegEvaluator
from det2lite.evaluation.testing import flatten_results_dict, print_csv_format, verify_results

__all__ = [
    "COCOEvaluator",
    "COCOPanopticEvaluator",
    "CityscapesInstanceEvaluator",
    "CityscapesSemSegEvaluator",
    "DatasetEvaluator",
    "DatasetEvaluators",
    "EVALUATOR_REGISTRY",
    "LVISEvaluator",
    "PascalVOCDetectionEvaluator",
    "RotatedCOCOEvaluator",
    "SemSegEvaluator",
    "build_evaluator",
    "flatten_results_dict",
    "inference_context",
    "inference_on_dataset",
    "print_csv_format",
    "verify_results",
]
