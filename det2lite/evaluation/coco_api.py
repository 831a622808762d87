"""COCOeval classes for code that works with pycocotools' objects."""

import contextlib
import copy
import datetime
import io
from typing import Any

import numpy as np
from pycocotools.cocoeval import COCOeval

from det2lite.evaluation.coco_numbers import CocoScores, summary_lines, summary_stats

__all__ = ["COCOevalMaxDets", "COCOeval_opt"]

_PARAMETERS = ("imgIds", "catIds", "iouThrs", "recThrs", "maxDets", "areaRng", "areaRngLbl")


class COCOeval_opt(COCOeval):
    """pycocotools' COCOeval, computed by `hotcoco` in a fraction of the time; `eval` and `stats` have the same numbers.

    What hotcoco does not take (image ids that are strings, for one) pycocotools computes, and also `evalImgs` and
    `ious`, the matches and overlaps of each image, once somebody reads them: they take its time.
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


def _complete(dataset: dict[str, Any]) -> dict[str, Any]:
    return {"images": [], "categories": [], "annotations": [], **dataset}
