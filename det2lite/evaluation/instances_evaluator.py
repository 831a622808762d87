"""What the evaluators of instances share: collecting detections and proposals, and writing them."""

import copy
import functools
import logging
import os
import pickle
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO

from det2lite.evaluation.coco_ground_truth import CocoGroundTruth
from det2lite.evaluation.coco_results import instances_to_coco_json
from det2lite.evaluation.detections import Detections, ImageDetections, packed
from det2lite.evaluation.evaluator import DatasetEvaluator
from det2lite.evaluation.proposal_recall import AREAS, box_proposal_recall
from det2lite.evaluation.result_files import FileSaver, no_garbage_collection, save_predictions, write_results
from det2lite.evaluation.to_host import to_host
from det2lite.structures import BoxMode, Instances, RotatedBoxes
from det2lite.utils import comm
from det2lite.utils.errors import BadValue
from det2lite.utils.file_io import atomic_write
from det2lite.utils.logger import create_small_table

__all__ = ["InstancesEvaluator"]

logger = logging.getLogger(__name__)


class InstancesEvaluator(DatasetEvaluator):
    """Base of evaluators whose ground truth is in a format like COCO's. A subclass defines `_eval_predictions`."""

    def __init__(
        self, metadata: Any, ground_truth: CocoGroundTruth, *, distributed: bool, output_dir: str | os.PathLike | None
    ):
        """distributed: collect the predictions of all processes, otherwise this process is evaluated alone.
        output_dir: where predictions are written."""
        self._metadata = metadata
        self._ground_truth = ground_truth
        self._coco_api = ground_truth.api
        self._do_evaluation = ground_truth.has_annotations
        self._distributed = distributed
        self._output_dir = os.fspath(output_dir) if output_dir is not None else None
        self._predictions: list[dict] = []
        self._results: dict[str, dict[str, float]] = {}
        self._saver: FileSaver | None = None
        self._original: dict[int, int] | None = None

    def reset(self) -> None:
        self._predictions = []

    def process(self, inputs: list[dict], outputs: list[dict]) -> None:
        """inputs: dicts with `image_id`. outputs: dicts with `instances` or `proposals`."""
        if not self._predictions:
            self._original = self._original_categories()
        for input, output in zip(inputs, _on_host(outputs), strict=True):
            prediction = {"image_id": input["image_id"]}
            if "instances" in output:
                found = self._to_json(output["instances"], input["image_id"])
                prediction["instances"] = packed(found, self._original, with_text=self._output_dir is not None)
            if "proposals" in output:
                prediction["proposals"] = output["proposals"]
            if len(prediction) > 1:
                self._predictions.append(prediction)

    def _to_json(self, instances: Instances, image_id: Any) -> list[dict]:
        return instances_to_coco_json(instances, image_id)

    def evaluate(self, img_ids: Sequence[Any] | None = None) -> dict[str, dict[str, float]]:
        """img_ids: images to evaluate on; all of the ground truth by default. Results come on the main process."""
        predictions = self._predictions
        if self._distributed:
            comm.synchronize()
            predictions = [p for part in comm.gather(predictions, dst=0) for p in part]
            if not comm.is_main_process():
                return {}
        self._results = {}
        if not predictions:
            logger.warning("[%s] Did not receive valid predictions.", type(self).__name__)
            return {}
        with no_garbage_collection(), FileSaver() as saver:
            self._saver = saver
            try:
                self._evaluate(predictions, img_ids)
            finally:
                self._saver = None
        return copy.deepcopy(self._results)

    def _evaluate(self, predictions: list[dict], img_ids: Sequence[Any] | None) -> None:
        """Saves the predictions and puts their metrics into `self._results`."""
        if self._output_dir:
            # what others may change while it is written is written before
            fixed = all(not p.keys() - {"image_id", "instances"} and _is_fixed(p["instances"]) for p in predictions)
            self._save("instances_predictions.pth", functools.partial(save_predictions, predictions), later=fixed)
        if any("proposals" in prediction for prediction in predictions):
            self._eval_box_proposals([p for p in predictions if "proposals" in p])
        if any("instances" in prediction for prediction in predictions):
            self._eval_predictions([p for p in predictions if "instances" in p], img_ids=img_ids)

    def _eval_predictions(self, predictions: list[dict], img_ids: Sequence[Any] | None = None) -> None:
        """Puts the metrics of predictions, dicts with `instances`, into `self._results`."""
        raise NotImplementedError

    def _save_results(self, results: list[dict] | Detections, file_name: str) -> None:
        if self._output_dir:
            logger.info("Saving results to %s", os.path.join(self._output_dir, file_name))
            later = isinstance(results, Detections)
            self._save(file_name, functools.partial(write_results, results), later=later)

    def _save(self, file_name: str, write: Callable[[BinaryIO], None], *, later: bool) -> None:
        """write: called with the open file. later: it may happen beside what follows."""
        path = os.path.join(self._output_dir, file_name)
        if later and self._saver is not None:
            self._saver.save(path, write)
        else:
            with atomic_write(path, "wb") as file:
                write(file)

    def _category_mapping(self) -> dict[int, int] | None:
        """From the data set's category ids to contiguous ones; None where they are the same."""
        return self._metadata.get("thing_dataset_id_to_contiguous_id")

    def _original_categories(self) -> dict[int, int] | None:
        """From contiguous categories to the data set's own; None where they are the same."""
        mapping = self._category_mapping()
        return None if mapping is None else {contiguous: category for category, contiguous in mapping.items()}

    def _all_results(self, predictions: list[dict]) -> list[dict] | Detections:
        """The detections of all predictions, with the data set's categories."""
        found = [prediction["instances"] for prediction in predictions]
        if all(_is_fixed(detections) for detections in found):
            return Detections([detections for detections in found if detections])
        return self._with_original_categories([result for detections in found for result in detections])

    def _with_original_categories(self, results: list[dict]) -> list[dict]:
        """Results whose contiguous categories 0..K-1 are the data set's own again."""
        original = self._original_categories()
        if original is None:
            return results
        wrong = {result["category_id"] for result in results} - original.keys()
        if wrong:
            raise BadValue(
                f"a prediction has class {min(wrong)}, but data set {self._metadata.name!r} has {len(original)} "
                f"classes, numbered from 0 to {len(original) - 1}; does the model's NUM_CLASSES fit the data set?"
            )
        return [result | {"category_id": original[result["category_id"]]} for result in results]

    def _eval_box_proposals(self, predictions: list[dict]) -> None:
        if self._output_dir:
            self._save_proposals(predictions)
        if not self._do_evaluation:
            logger.info("Annotations are not available for evaluation.")
            return
        logger.info("Evaluating bbox proposals ...")
        numbered = self._ground_truth.numbered(predictions)
        results = {}
        for limit in (100, 1000):
            for area in AREAS:
                recall = box_proposal_recall(numbered, self._coco_api, area=area, limit=limit)
                results[f"AR{'' if area == 'all' else area[0]}@{limit}"] = recall.ar * 100
        logger.info("Proposal metrics: \n%s", create_small_table(results))
        self._results["box_proposals"] = results

    def _save_proposals(self, predictions: list[dict]) -> None:
        """The file that `DATASETS.PROPOSAL_FILES_TEST` takes."""
        proposals = [prediction["proposals"] for prediction in predictions]
        is_rotated = bool(proposals) and isinstance(proposals[0].proposal_boxes, RotatedBoxes)
        content = {
            "boxes": [p.proposal_boxes.tensor.numpy() for p in proposals],
            "objectness_logits": [p.objectness_logits.numpy() for p in proposals],
            "ids": [prediction["image_id"] for prediction in predictions],
            "bbox_mode": (BoxMode.XYWHA_ABS if is_rotated else BoxMode.XYXY_ABS).value,
        }
        with atomic_write(os.path.join(self._output_dir, "box_proposals.pkl"), "wb") as file:
            pickle.dump(content, file)


def _on_host(outputs: list[dict]) -> list[dict]:
    """The outputs' instances and proposals on the CPU."""
    keys = [(index, key) for index, output in enumerate(outputs) for key in ("instances", "proposals") if key in output]
    moved: list[dict] = [{} for _ in outputs]
    for (index, key), value in zip(keys, to_host([outputs[i][key] for i, key in keys]), strict=True):
        moved[index][key] = value
    return moved


def _is_fixed(detections: ImageDetections | list[dict]) -> bool:
    """Whether nobody can change these detections of an image."""
    return isinstance(detections, ImageDetections) or not detections
