"""COCOeval classes for code that works with pycocotools' objects."""

import contextlib
import copy
import datetime
import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from pycocotools.cocoeval import COCOeval

from det2lite.evaluation.coco_numbers import CocoScores, summary_lines, summary_stats
from det2lite.structures import BoxMode, RotatedBoxes, pairwise_iou_rotated
from det2lite.utils.errors import BadCall

__all__ = ["COCOevalMaxDets", "COCOeval_opt", "RotatedCOCOeval"]

_PARAMETERS = ("imgIds", "catIds", "iouThrs", "recThrs", "maxDets", "areaRng", "areaRngLbl")


class COCOeval_opt(COCOeval):
    """pycocotools' COCOeval, computed by `hotcoco` in a fraction of the time; `eval` and `stats` have the same numbers.

    What hotcoco does not take (image ids that are strings, for one) or counts otherwise pycocotools computes, and also
    `evalImgs` and `ious`, the matches and overlaps of each image, once somebody reads them: they take its time.
    """

    def evaluate(self) -> None:
        """Matches detections with ground truth."""
        self._lazy_params = None
        try:
            self._hotcoco = self._evaluate_by_hotcoco()
            self._lazy_params = copy.deepcopy(self.params)
        except (ValueError, TypeError, KeyError, OverflowError):
            self._hotcoco = None
            super().evaluate()

    @property
    def evalImgs(self) -> list[dict | None]:
        """The matches of each category, area range and image, as pycocotools has them; empty before `evaluate`."""
        self._match_images()
        return self._eval_imgs

    @evalImgs.setter
    def evalImgs(self, value: list[dict | None]) -> None:
        self._eval_imgs = value

    @property
    def ious(self) -> dict[tuple, Any]:
        """Overlaps of detections and ground truth by (image id, category id); empty before `evaluate`."""
        self._match_images()
        return self._ious

    @ious.setter
    def ious(self, value: dict[tuple, Any]) -> None:
        self._ious = value

    def _match_images(self) -> None:
        """pycocotools' own matching, with the parameters of the last `evaluate`, where hotcoco did without."""
        if getattr(self, "_lazy_params", None) is None:
            return
        params, self.params, self._lazy_params = self.params, self._lazy_params, None
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                super().evaluate()
        finally:
            self.params = params

    def _evaluate_by_hotcoco(self) -> Any:
        import hotcoco

        params = self.params
        params.imgIds = list(np.unique(params.imgIds))
        params.catIds = list(np.unique(params.catIds)) if params.useCats else params.catIds
        params.maxDets = sorted(params.maxDets)
        truth, detections = self.cocoGt.dataset, self.cocoDt.dataset
        _check_entries(truth, detections)
        evaluation = hotcoco.COCOeval(
            hotcoco.COCO(_complete(truth)), hotcoco.COCO(_complete(detections)), params.iouType
        )
        for name in _PARAMETERS:
            setattr(evaluation.params, name, np.asarray(getattr(params, name)).tolist())
        evaluation.params.useCats = bool(params.useCats)
        if params.iouType == "keypoints":
            evaluation.params.kpt_oks_sigmas = np.asarray(params.kpt_oks_sigmas, dtype=float).tolist()
        evaluation.evaluate()
        return evaluation

    def accumulate(self, p: Any = None) -> None:
        """Collects the matches as precision and recall in `eval`."""
        if getattr(self, "_hotcoco", None) is None:
            super().accumulate(p)
            return
        self._hotcoco.accumulate()
        arrays = {name: np.asarray(self._hotcoco.eval[name]) for name in ("precision", "recall", "scores")}
        counts = list(arrays["precision"].shape)
        self.eval = {"params": self.params, "counts": counts, "date": str(datetime.datetime.now()), **arrays}


class COCOevalMaxDets(COCOeval):
    """COCOeval whose summary counts the last of `params.maxDets` detections an image, where pycocotools expects 100."""

    def summarize(self) -> None:
        """Computes `stats` from `eval`, and prints them. Raises RuntimeError before `accumulate`."""
        if not self.eval:
            raise RuntimeError("run accumulate() first")
        scores = CocoScores(
            precision=self.eval["precision"],
            recall=self.eval["recall"],
            iou_thresholds=list(self.params.iouThrs),
            areas=list(self.params.areaRngLbl),
            max_dets=list(self.params.maxDets),
            is_keypoints=self.params.iouType == "keypoints",
        )
        self.stats = summary_stats(scores)
        print("\n".join(summary_lines(scores)))


class RotatedCOCOeval(COCOeval):
    """COCOeval of boxes XYWHA (centre, degrees counter-clockwise), or XYWH for upright ones; none may be a crowd."""

    @staticmethod
    def boxlist_to_tensor(boxlist: Sequence[Sequence[float]], output_box_dim: int) -> torch.Tensor:
        """(N, output_box_dim) boxes of 4 or 5 numbers each. Raises `BadCall` for another length."""
        boxes = [list(map(float, box)) for box in boxlist]
        if any(len(box) not in (4, output_box_dim) for box in boxes):
            raise BadCall(f"boxes have 4 or {output_box_dim} numbers, got {sorted({len(box) for box in boxes})}")
        if output_box_dim == 5:
            boxes = [BoxMode.convert(b, BoxMode.XYWH_ABS, BoxMode.XYWHA_ABS) if len(b) == 4 else b for b in boxes]
        return torch.tensor(boxes, dtype=torch.float32).reshape(-1, output_box_dim)

    def compute_iou_dt_gt(self, dt: Sequence, gt: Sequence, is_crowd: Sequence[int]) -> np.ndarray:
        """(D, G) IoU of boxes."""
        if any(is_crowd):
            raise BadCall("rotated boxes are evaluated without crowds")
        boxes = [RotatedBoxes(self.boxlist_to_tensor(boxlist, 5)) for boxlist in (dt, gt)]
        return pairwise_iou_rotated(*boxes).double().numpy()

    def computeIoU(self, imgId: Any, catId: Any) -> np.ndarray | list:
        """(D, G) IoU of the best-scored detections of an image with its objects; [] where there are neither."""
        categories = [catId] if self.params.useCats else self.params.catIds
        found, objects = (
            [entry for category in categories for entry in entries[imgId, category]]
            for entries in (self._dts, self._gts)
        )
        if not found and not objects:
            return []
        order = np.argsort([-entry["score"] for entry in found], kind="mergesort")[: self.params.maxDets[-1]]
        boxes = [found[i]["bbox"] for i in order], [entry["bbox"] for entry in objects]
        return self.compute_iou_dt_gt(*boxes, [int(entry["iscrowd"]) for entry in objects])


def _evaluate_predictions_on_coco(
    coco_gt: Any,
    coco_results: list[dict],
    iou_type: str,
    kpt_oks_sigmas: Sequence[float] | None = None,
    cocoeval_fn: type[COCOeval] = COCOeval_opt,
    img_ids: Sequence[Any] | None = None,
    max_dets_per_image: Sequence[int] | None = None,
) -> COCOeval:
    """Results (COCO's format, at least one) evaluated against pycocotools' `coco_gt`; evaluators of projects call it.

    max_dets_per_image: three limits, [1, 10, 100] by default. Returns the evaluation, summarised and printed.
    """
    if not coco_results:
        raise BadCall("there are no results to evaluate")
    if iou_type == "segm":
        coco_results = [{key: value for key, value in result.items() if key != "bbox"} for result in coco_results]
    limits = [1, 10, 100] if max_dets_per_image is None else list(max_dets_per_image)
    if len(limits) < 3:
        raise BadCall(f"max_dets_per_image is three limits, such as [1, 10, 100], got {limits}")
    cls = cocoeval_fn if limits[2] == 100 else COCOevalMaxDets
    evaluation = cls(coco_gt, coco_gt.loadRes(coco_results), iou_type)
    if iou_type != "keypoints":
        evaluation.params.maxDets = limits
    elif kpt_oks_sigmas:
        evaluation.params.kpt_oks_sigmas = np.array(kpt_oks_sigmas)
    if img_ids is not None:
        evaluation.params.imgIds = list(img_ids)
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation


def _check_entries(truth: dict[str, Any], detections: dict[str, Any]) -> None:
    """Raises KeyError or ValueError for what pycocotools refuses or counts otherwise than hotcoco."""
    for entry in truth.get("annotations", []):
        entry["area"], entry["iscrowd"]
        if entry["id"] == 0:
            raise ValueError("a match with the annotation 0 is none to pycocotools")
    for entry in detections.get("annotations", []):
        if math.isnan(entry["score"]):
            raise ValueError("the order of scores that are not numbers")


def _complete(dataset: dict[str, Any]) -> dict[str, Any]:
    return {"images": [], "categories": [], "annotations": [], **dataset}
