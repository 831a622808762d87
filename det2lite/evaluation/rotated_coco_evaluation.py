"""COCO's metrics for rotated boxes."""

import importlib
import math
import warnings
from collections.abc import Sequence
from typing import Any

from det2lite.evaluation.coco_evaluation import COCOEvaluator
from det2lite.evaluation.coco_ground_truth import CocoGroundTruth
from det2lite.evaluation.coco_numbers import CocoScores, compute_scores
from det2lite.structures import BoxMode, Instances
from det2lite.utils.errors import BadValue

__all__ = ["RotatedCOCOEvaluator", "RotatedCOCOeval"]  # noqa: F822 - the latter is handed on by __getattr__


def __getattr__(name: str) -> Any:
    if name == "RotatedCOCOeval":
        return getattr(importlib.import_module("det2lite.evaluation.coco_api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class _RotatedGroundTruth(CocoGroundTruth):
    """Ground truth whose `bbox` is XYWHA (centre, degrees counter-clockwise), or XYWH for an upright box."""

    def _for_api(self) -> dict[str, Any]:
        annotations = [_with_rotated_box(annotation, self.name) for annotation in self.dataset.get("annotations", [])]
        return {**self.dataset, "annotations": annotations}


def _with_rotated_box(entry: dict, where: str) -> dict:
    """An annotation or result with `obb`, as hotcoco takes it, and `rotated_bbox` XYWHA in place of `bbox`."""
    box = [float(v) for v in entry["bbox"]]
    if len(box) == 4:
        box = [box[0] + box[2] / 2, box[1] + box[3] / 2, *box[2:], 0.0]
    if len(box) != 5:
        raise BadValue(f"{where}: annotation {entry.get('id')}: a bbox has 5 numbers, or 4 for an upright one: {box}")
    if entry.get("iscrowd", 0):
        raise BadValue(f"{where}: annotation {entry.get('id')} is a crowd; rotated boxes are evaluated without crowds")
    # its angles are in radians and turn the other way
    kept = {key: value for key, value in entry.items() if key != "bbox"}
    rotated = {"obb": [*box[:4], -math.radians(box[4])], "rotated_bbox": box}
    return {"area": box[2] * box[3], **kept, **rotated}


class RotatedCOCOEvaluator(COCOEvaluator):
    """COCO's AP of boxes with the IoU of rotated boxes. Masks and keypoints are not evaluated.

    The `bbox` of the ground truth is XYWHA (centre, degrees counter-clockwise), or XYWH for an upright box, as those of
    predictions are written.
    """

    _ground_truth_class = _RotatedGroundTruth

    def _to_json(self, instances: Instances, image_id: Any) -> list[dict]:
        return self.instances_to_json(instances, image_id)

    def instances_to_json(self, instances: Instances, img_id: int | str) -> list[dict]:
        """The detections of one image as dicts with image_id, category_id (contiguous), bbox (XYWHA or XYWH), score."""
        boxes = instances.pred_boxes.tensor.cpu()
        if boxes.shape[1] == 4:
            boxes = BoxMode.convert(boxes, BoxMode.XYXY_ABS, BoxMode.XYWH_ABS)
        columns = instances.pred_classes.tolist(), boxes.tolist(), instances.scores.tolist()
        return [
            {"image_id": img_id, "category_id": label, "bbox": box, "score": score}
            for label, box, score in zip(*columns, strict=True)
        ]

    def _eval_predictions(self, predictions: list[dict], img_ids: Sequence[Any] | None = None) -> None:
        if self._tasks is not None and set(self._tasks) != {"bbox"}:
            raise BadValue(f"RotatedCOCOEvaluator evaluates the task bbox alone, not {', '.join(self._tasks)}")
        super()._eval_predictions(predictions, img_ids)

    def _scores(self, results: list[dict], task: str, img_ids: Sequence[Any] | None) -> CocoScores:
        limits = None if self._max_dets_per_image is None else [1, 10, self._max_dets_per_image]
        rotated = [_with_rotated_box(result, "predictions") for result in results]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # COCO's tools know no rotated boxes to compare with
            return compute_scores(self._ground_truth, rotated, "obb", image_ids=img_ids, max_dets=limits)
