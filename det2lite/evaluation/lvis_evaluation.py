"""LVIS's metrics for boxes and masks."""

import logging
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from det2lite.config import CfgNode
from det2lite.data import MetadataCatalog
from det2lite.evaluation.coco_ground_truth import CocoGroundTruth
from det2lite.evaluation.coco_numbers import CocoScores, keys_of, loaded_detections, summary_stats
from det2lite.evaluation.detections import Detections
from det2lite.evaluation.instances_evaluator import InstancesEvaluator
from det2lite.utils.errors import BadValue
from det2lite.utils.logger import create_small_table

__all__ = ["LVISEvaluator"]

logger = logging.getLogger(__name__)

_TASKS = ("bbox", "segm")
_METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl")
_FREQUENCIES = {"APr": "r", "APc": "c", "APf": "f"}  # rare, common, frequent categories


class LVISEvaluator(InstancesEvaluator):
    """AP of boxes and masks, and the recall of proposals, by the federated protocol of LVIS, arXiv 1908.03195.

    Detections count in an image only for the categories that were looked for in it: those that it has and its
    `neg_category_ids`; surplus ones are not wrong for its `not_exhaustive_category_ids`. `evaluate` returns `{"bbox":
    {"AP", "AP50", "AP75", "APs", "APm", "APl", "APr", "APc", "APf"}, "segm": ...}`, 0..100, nan where there is no
    ground truth.
    """

    def __init__(
        self,
        dataset_name: str,
        tasks: Sequence[str] | None = None,
        distributed: bool = True,
        output_dir: str | os.PathLike | None = None,
        *,
        max_dets_per_image: int | None = None,
    ):
        """dataset_name: its metadata has `json_file`, in the LVIS format. tasks: of bbox, segm; by default those that
        the predictions have. distributed, output_dir: see `COCOEvaluator`. max_dets_per_image: best-scored detections
        of all categories together that count, 300 by default."""
        if isinstance(tasks, CfgNode):
            logger.warning("LVISEvaluator(name, cfg) is deprecated; give tasks instead")
            tasks = None
        unknown = sorted(set(tasks or ()) - set(_TASKS))
        if unknown:
            raise BadValue(f"unknown tasks {unknown}; LVISEvaluator knows {', '.join(_TASKS)}")
        metadata = MetadataCatalog.get(dataset_name)
        json_file = metadata.get("json_file")
        if json_file is None:
            raise BadValue(f"data set {dataset_name!r} has no json_file in its metadata; LVISEvaluator needs it")
        super().__init__(metadata, CocoGroundTruth(json_file), distributed=distributed, output_dir=output_dir)
        self._tasks = tuple(tasks) if tasks is not None else None
        self._max_dets_per_image = 300 if max_dets_per_image is None else max_dets_per_image
        self._do_evaluation = bool(self._ground_truth.dataset.get("annotations"))

    def _category_mapping(self) -> dict[int, int]:
        """LVIS counts categories from 1, where the metadata do not say otherwise."""
        mapping = super()._category_mapping()
        if mapping is not None:
            return mapping
        return {category: category - 1 for category in self._coco_api.getCatIds()}

    def _eval_predictions(self, predictions: list[dict], img_ids: Sequence[Any] | None = None) -> None:
        logger.info("Preparing results in the LVIS format ...")
        results = self._all_results(predictions)
        self._save_results(results, "lvis_instances_results.json")
        if not self._do_evaluation:
            logger.info("Annotations are not available for evaluation.")
            return
        if not results:
            logger.warning("No predictions from the model!")
        has_masks = "segmentation" in keys_of(results)
        logger.info("Evaluating predictions ...")
        for task in sorted(self._tasks or (_TASKS if has_masks else _TASKS[:1])):
            scores = compute_lvis_scores(self._ground_truth, results, task, self._max_dets_per_image, img_ids)
            frequencies = [c.get("frequency") for c in self._coco_api.loadCats(sorted(self._coco_api.getCatIds()))]
            metrics = metrics_of(scores, frequencies)
            logger.info("Evaluation results for %s: \n%s", task, create_small_table(metrics))
            self._results[task] = metrics


def compute_lvis_scores(
    ground_truth: CocoGroundTruth,
    results: list[dict] | Detections,
    task: str,
    max_dets: int,
    image_ids: Sequence[Any] | None = None,
) -> CocoScores:
    """Matches results with the ground truth by LVIS's rules.

    results, task, image_ids: see `compute_scores`. max_dets: best-scored results of an image that count; negative for
    all. Categories are in the order of their ids.
    """
    import hotcoco

    detections = loaded_detections(ground_truth, results, task)
    detections = detections.cap_detections_per_image(max_dets if max_dets >= 0 else None)
    evaluation = hotcoco.LVISeval(ground_truth.api, detections, task)
    if image_ids is not None:
        evaluation.params.imgIds = [ground_truth.image_id(image_id) for image_id in image_ids]
    evaluation.evaluate()
    evaluation.accumulate()
    return CocoScores(
        precision=np.asarray(evaluation.eval["precision"]),
        recall=np.asarray(evaluation.eval["recall"]),
        iou_thresholds=list(evaluation.params.iouThrs),
        areas=list(evaluation.params.areaRngLbl),
        max_dets=list(evaluation.params.maxDets),
    )


def metrics_of(scores: CocoScores, frequencies: Sequence[str | None]) -> dict[str, float]:
    """The metrics by name, 0..100. frequencies: (K,) of the categories, "r", "c" or "f"."""
    metrics = dict(zip(_METRICS, summary_stats(scores), strict=False))
    all_areas = scores.precision[:, :, :, scores.areas.index("all"), -1]  # (T, R, K)
    for name, frequency in _FREQUENCIES.items():
        values = all_areas[:, :, np.array(frequencies) == frequency]
        values = values[values > -1]
        metrics[name] = values.mean() if values.size else -1.0
    return {name: float(100 * value) if value >= 0 else float("nan") for name, value in metrics.items()}
