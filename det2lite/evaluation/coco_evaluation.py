"""COCO's metrics for boxes, masks, keypoints and proposals."""

import importlib
import logging
import os
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from det2lite.config import CfgNode
from det2lite.data import MetadataCatalog
from det2lite.data.datasets.coco import convert_to_coco_dict, convert_to_coco_json
from det2lite.evaluation.coco_ground_truth import CocoGroundTruth
from det2lite.evaluation.coco_numbers import (
    METRICS,
    CocoScores,
    category_ap,
    compute_scores,
    keys_of,
    per_category_table,
    summary_lines,
    summary_stats,
)
from det2lite.evaluation.coco_results import instances_to_coco_json
from det2lite.evaluation.detections import Detections
from det2lite.evaluation.evaluator import DatasetEvaluator
from det2lite.evaluation.instances_evaluator import InstancesEvaluator
from det2lite.evaluation.proposal_recall import _evaluate_box_proposals  # noqa: F401 - projects import it from here
from det2lite.structures import Boxes, BoxMode, pairwise_iou
from det2lite.utils import comm
from det2lite.utils.errors import BadValue
from det2lite.utils.logger import create_small_table

__all__ = [
    "Boxes",
    "BoxMode",
    "COCOEvaluator",
    "COCOevalMaxDets",  # noqa: F822 - handed on by __getattr__
    "COCOeval_opt",  # noqa: F822
    "CfgNode",
    "DatasetEvaluator",
    "MetadataCatalog",
    "convert_to_coco_json",
    "create_small_table",
    "instances_to_coco_json",
    "pairwise_iou",
]

logger = logging.getLogger(__name__)


def __getattr__(name: str) -> Any:
    if name in ("COCOeval_opt", "COCOevalMaxDets", "_evaluate_predictions_on_coco"):
        return getattr(importlib.import_module("det2lite.evaluation.coco_api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class COCOEvaluator(InstancesEvaluator):
    """AP and AR of boxes, masks and keypoints, and the recall of proposals, for any data set of object instances.

    `evaluate` returns `{"bbox": {"AP": ..., "AP50": ..., "AP-<category>": ...}, "segm": ..., "keypoints": ...,
    "box_proposals": {"AR@100": ...}}`, all 0..100, nan where there is no ground truth.
    """

    _ground_truth_class = CocoGroundTruth

    def __init__(
        self,
        dataset_name: str,
        tasks: Sequence[str] | None = None,
        distributed: bool = True,
        output_dir: str | os.PathLike | None = None,
        *,
        max_dets_per_image: int | None = None,
        use_fast_impl: bool = True,
        kpt_oks_sigmas: Sequence[float] = (),
        allow_cached_coco: bool = True,
    ):
        """dataset_name: its metadata may name a `json_file`; a data set without one is converted to COCO's format.

        tasks: of bbox, segm, keypoints; by default those that the predictions have. distributed: collect the
        predictions of all processes, otherwise this process is evaluated alone. output_dir: where predictions are
        written. max_dets_per_image: best-scored detections that count, 100 by default, which with 1 and 10 are the
        limits of COCO's protocol; AP counts the largest of the three, so that fewer than 10 only add a recall.
        use_fast_impl: `hotcoco`, else `pycocotools`; the numbers are the same. kpt_oks_sigmas: (K,) spread of each
        keypoint; empty for COCO's persons. allow_cached_coco: use a converted file that is in `output_dir` already.
        """
        if isinstance(tasks, CfgNode):
            logger.warning("COCOEvaluator(name, cfg) is deprecated; give tasks and kpt_oks_sigmas instead")
            kpt_oks_sigmas, tasks = kpt_oks_sigmas or tasks.TEST.KEYPOINT_OKS_SIGMAS, None
        unknown = sorted(set(tasks or ()) - set(METRICS))
        if unknown:
            raise BadValue(f"unknown tasks {unknown}; COCOEvaluator knows {', '.join(METRICS)}")
        self._tasks = tuple(tasks) if tasks is not None else None
        self._use_fast_impl = use_fast_impl
        if max_dets_per_image is not None and max_dets_per_image < 10:
            logger.warning(
                "max_dets_per_image=%d: COCO's AP counts the largest of the limits 1, 10 and %d, which is 10",
                *(max_dets_per_image, max_dets_per_image),
            )
        self._max_dets_per_image = max_dets_per_image
        self._kpt_oks_sigmas = tuple(kpt_oks_sigmas)
        metadata = MetadataCatalog.get(dataset_name)
        json_file = metadata.get("json_file")
        if json_file is None:
            json_file = self._convert(dataset_name, output_dir, distributed, allow_cached_coco)
        ground_truth = self._ground_truth_class(json_file)
        if ground_truth.has_annotations and not ground_truth.dataset["annotations"]:
            logger.warning("data set %r has no annotation: all numbers of its evaluation will be nan", dataset_name)
        super().__init__(metadata, ground_truth, distributed=distributed, output_dir=output_dir)

    @staticmethod
    def _convert(
        dataset_name: str, output_dir: str | os.PathLike | None, distributed: bool, allow_cached: bool
    ) -> str | dict[str, Any]:
        """The data set in the COCO format: a file in `output_dir`, or its content."""
        if output_dir is None:
            raise BadValue(
                f"data set {dataset_name!r} has no json_file in its metadata; give COCOEvaluator an output_dir, "
                "where the data set can be written in the COCO format"
            )
        json_file = os.path.join(output_dir, f"{dataset_name}_coco_format.json")
        logger.info("data set %s is converted to the COCO format: %s", dataset_name, json_file)
        if comm.is_main_process() or not distributed:
            convert_to_coco_json(dataset_name, json_file, allow_cached=allow_cached)
        if distributed:
            comm.synchronize()
        # it may be on another machine, whose disk the main process does not write to
        return json_file if os.path.isfile(json_file) else convert_to_coco_dict(dataset_name)

    def _tasks_from_predictions(self, results: Iterable[dict]) -> list[str]:
        """Boxes always; masks and keypoints where a prediction has them."""
        keys = keys_of(results)
        found = {"segmentation": "segm", "keypoints": "keypoints"}
        return ["bbox", *(task for key, task in found.items() if key in keys)]

    def _eval_predictions(self, predictions: list[dict], img_ids: Sequence[Any] | None = None) -> None:
        logger.info("Preparing results for COCO format ...")
        results = self._all_results(predictions)
        tasks = self._tasks or self._tasks_from_predictions(results)
        self._save_results(results, "coco_instances_results.json")
        if not self._do_evaluation:
            logger.info("Annotations are not available for evaluation.")
            return
        if not results:
            logger.warning("No predictions from the model!")
        logger.info("Evaluating predictions with %s ...", "hotcoco" if self._use_fast_impl else "pycocotools")
        for task in sorted(tasks):
            self._warn_of_missing_truth(task)
            scores = self._scores(results, task, img_ids)
            logger.info("COCO protocol for %s:\n%s", task, "\n".join(summary_lines(scores)))
            self._results[task] = self._derive_results(scores, task)

    def _warn_of_missing_truth(self, task: str) -> None:
        key = {"segm": "segmentation", "keypoints": "keypoints"}.get(task)
        annotations = self._ground_truth.dataset["annotations"]
        if key and annotations and not any(annotation.get(key) for annotation in annotations):
            logger.warning(
                "%s: no annotation has a %r, so the AP of %s says nothing of the model; evaluate other tasks alone "
                "(COCOEvaluator's `tasks`, --eval of det2lite eval)",
                *(self._ground_truth.name, key, task),
            )

    def _scores(self, results: list[dict] | Detections, task: str, img_ids: Sequence[Any] | None) -> CocoScores:
        limits = None if self._max_dets_per_image is None else [1, 10, self._max_dets_per_image]
        return compute_scores(
            self._ground_truth,
            results,
            task,
            image_ids=img_ids,
            max_dets=None if task == "keypoints" else limits,
            oks_sigmas=self._kpt_oks_sigmas if task == "keypoints" else (),
            fast=self._use_fast_impl,
        )

    def _derive_results(self, scores: CocoScores, task: str) -> dict[str, float]:
        """The metrics of a task by name, logged as tables."""
        names = METRICS[task]
        stats = summary_stats(scores)[: len(names)]
        results = {name: float(v * 100) if v >= 0 else float("nan") for name, v in zip(names, stats, strict=True)}
        logger.info("Evaluation results for %s: \n%s", task, create_small_table(results))
        if not np.isfinite(sum(results.values())):
            logger.info("Some metrics have no ground truth to be computed from, and are shown as nan.")
        categories = self._category_names(scores.precision.shape[2])
        if len(categories) <= 1:
            return results
        by_category = dict(zip(categories, category_ap(scores), strict=True))
        logger.info("Per-category %s AP: \n%s", task, per_category_table(by_category))
        return results | {f"AP-{name}": ap for name, ap in by_category.items()}

    def _category_names(self, count: int) -> list[str]:
        """By ascending category id, as the scores are ordered."""
        names = self._metadata.get("thing_classes")
        if names is not None and len(names) == count:
            return list(names)
        categories = self._coco_api.loadCats(sorted(self._coco_api.getCatIds()))
        if names is not None:
            logger.warning("%d thing_classes but %d categories in the ground truth", len(names), count)
        return [category["name"] for category in categories]
