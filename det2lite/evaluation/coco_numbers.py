"""Precision and recall by COCO's protocol, and the numbers and tables that are made of them."""

import itertools
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from det2lite.evaluation.coco_ground_truth import CocoGroundTruth
from det2lite.evaluation.detections import Detections
from det2lite.utils.errors import BadValue

__all__ = ["CocoScores", "METRICS", "compute_scores", "per_category_table", "summary_lines", "summary_stats"]

logger = logging.getLogger(__name__)

METRICS = {
    "bbox": ["AP", "AP50", "AP75", "APs", "APm", "APl"],
    "segm": ["AP", "AP50", "AP75", "APs", "APm", "APl"],
    "keypoints": ["AP", "AP50", "AP75", "APm", "APl"],
}

_NUM_COCO_KEYPOINTS = 17  # of COCO's persons, for which sigmas are known

# rows of the summary: (is_precision, IoU threshold or None for all, area, which of max_dets)
_ROWS = [
    (True, None, "all", -1),
    (True, 0.5, "all", -1),
    (True, 0.75, "all", -1),
    (True, None, "small", -1),
    (True, None, "medium", -1),
    (True, None, "large", -1),
    (False, None, "all", 0),
    (False, None, "all", 1),
    (False, None, "all", 2),
    (False, None, "small", -1),
    (False, None, "medium", -1),
    (False, None, "large", -1),
]
_KEYPOINT_ROWS = [
    (precision, iou, area, -1)
    for precision in (True, False)
    for iou, area in ((None, "all"), (0.5, "all"), (0.75, "all"), (None, "medium"), (None, "large"))
]


@dataclass
class CocoScores:
    """What COCO's protocol computes. -1 stands where there is no ground truth.

    precision: (T, R, K, A, M) by IoU threshold, recall threshold, category, area range, most detections an image.
    recall: (T, K, A, M).
    """

    precision: np.ndarray
    recall: np.ndarray
    iou_thresholds: list[float]
    areas: list[str]
    max_dets: list[int]
    is_keypoints: bool = False


def compute_scores(
    ground_truth: CocoGroundTruth,
    results: list[dict] | Detections,
    task: str,
    *,
    image_ids: Sequence[Any] | None = None,
    max_dets: Sequence[int] | None = None,
    oks_sigmas: Sequence[float] = (),
    fast: bool = True,
) -> CocoScores:
    """Matches results with the ground truth.

    results: dicts of the COCO result format, with original category ids; those whose score is not finite are left out.
    task: bbox, segm or keypoints. image_ids: images to look at; all by default. max_dets: most detections an image
    that count, of which AP counts the largest; [1, 10, 100] by default ([20] for keypoints). oks_sigmas: (K,) for
    keypoints. fast: by `hotcoco`; else by `pycocotools`, with the same numbers.
    """
    if task == "keypoints":
        results = list(results)
        _check_keypoints(ground_truth, results, len(oks_sigmas) or _NUM_COCO_KEYPOINTS)
    evaluation = (_run_hotcoco if fast else _run_pycocotools)(ground_truth, results, task)
    if image_ids is not None:
        image_ids = [ground_truth.image_id(image_id) for image_id in image_ids]
    params = evaluation.params
    if image_ids is not None:
        params.imgIds = image_ids
    if max_dets is not None:
        params.maxDets = sorted(max_dets)  # as pycocotools does: AP counts the last, the most
    if len(oks_sigmas):
        params.kpt_oks_sigmas = [float(s) for s in oks_sigmas] if fast else np.asarray(oks_sigmas, dtype=float)
    evaluation.evaluate()
    evaluation.accumulate()
    return CocoScores(
        precision=np.asarray(evaluation.eval["precision"]),
        recall=np.asarray(evaluation.eval["recall"]),
        iou_thresholds=list(params.iouThrs),
        areas=list(params.areaRngLbl),
        max_dets=list(params.maxDets),
        is_keypoints=task == "keypoints",
    )


def _check_keypoints(ground_truth: CocoGroundTruth, results: list[dict], num_sigmas: int) -> None:
    """Raises `BadValue` where objects, predictions and sigmas are not of the same keypoints."""
    for what, entries in (("the ground truth", ground_truth.dataset.get("annotations", [])), ("a prediction", results)):
        counts = {len(entry["keypoints"]) // 3 for entry in entries if "keypoints" in entry}
        wrong = sorted(counts - {num_sigmas})
        if wrong:
            raise BadValue(
                f"{what} has {wrong[0]} keypoints, but there are {num_sigmas} sigmas to compare them with; set "
                "TEST.KEYPOINT_OKS_SIGMAS to one for each keypoint of the data set"
            )


def finite_results(results: list[dict], task: str) -> list[dict]:
    """The results that can be ranked, made ready for a task. They are changed."""
    finite = [result for result in results if math.isfinite(result["score"])]
    _warn_of_left_out(len(results) - len(finite))
    if task == "segm":
        for result in finite:
            result.pop("bbox", None)  # with a box its area would decide between small and large, not the mask's
    return finite


def _warn_of_left_out(count: int) -> None:
    if count:
        logger.warning("%d predictions whose score is not a finite number are left out", count)


def keys_of(results: Iterable[dict] | Detections) -> set[str]:
    """The keys of any of the results."""
    return results.keys() if isinstance(results, Detections) else set().union(*(result.keys() for result in results))


def loaded_detections(ground_truth: CocoGroundTruth, results: list[dict] | Detections, task: str) -> Any:
    """The results as a `hotcoco.COCO`, loaded from columns where they are known."""
    columns = _columns(ground_truth, results, task)
    if columns is None:
        return ground_truth.api.load_res(finite_results(ground_truth.numbered(results), task))
    finite = np.isfinite(columns.rows[:, 5])
    _warn_of_left_out(int((~finite).sum()))
    rows = columns.rows if finite.all() else columns.rows[finite]
    if not len(rows):
        return ground_truth.api.load_res([])
    if columns.codes is None:
        return ground_truth.api.load_res(rows)
    codes = list(itertools.compress(columns.codes, finite.tolist()))
    detections = ground_truth.api.load_res(rows, segmentation=codes)
    # the mask's area, not that of its box, decides between small and large
    detections.update_anns(ids=np.arange(1, len(codes) + 1), area=columns.areas[finite])
    return detections


class _Columns(NamedTuple):
    """rows: (N, 7) of the image's number, box, score, category. codes, areas: of N masks, for the task segm."""

    rows: np.ndarray
    codes: list[dict] | None = None
    areas: np.ndarray | None = None


def _columns(ground_truth: CocoGroundTruth, results: list[dict] | Detections, task: str) -> _Columns | None:
    """None where the results are not to be had as columns."""
    if not len(results) or task not in ("bbox", "segm"):
        return None
    if isinstance(results, Detections):
        if task == "segm" and any(image.segmentations is None for image in results.images):
            return None
        ids, counts = zip(*results.image_ids(), strict=True)
        numbers = np.repeat([ground_truth.image_id(image_id) for image_id in ids], counts)
        rows = np.column_stack([numbers, *(results.column(name) for name in ("boxes", "scores", "categories"))])
        return _Columns(rows) if task == "bbox" else _Columns(rows, results.segmentations(), results.column("areas"))
    if task == "segm":
        return None
    numbers = [ground_truth.image_id(result["image_id"]) for result in results]
    boxes = np.array([result["bbox"] for result in results], dtype=np.float64)  # (N, 4)
    scores, categories = ([result[key] for result in results] for key in ("score", "category_id"))
    return _Columns(np.column_stack([numbers, boxes, scores, categories]))


def _run_hotcoco(ground_truth: CocoGroundTruth, results: list[dict] | Detections, task: str) -> Any:
    import hotcoco

    return hotcoco.COCOeval(ground_truth.api, loaded_detections(ground_truth, results, task), task)


def _run_pycocotools(ground_truth: CocoGroundTruth, results: list[dict] | Detections, task: str) -> Any:
    import contextlib
    import io

    from pycocotools.cocoeval import COCOeval

    class Quiet(COCOeval):
        def evaluate(self) -> None:
            with contextlib.redirect_stdout(io.StringIO()):
                super().evaluate()

        def accumulate(self, p: Any = None) -> None:
            with contextlib.redirect_stdout(io.StringIO()):
                super().accumulate(p)

    results = finite_results(ground_truth.numbered(results), task)
    api = ground_truth.pycocotools()
    with contextlib.redirect_stdout(io.StringIO()):
        detections = api.loadRes(results) if results else type(api)()
    return Quiet(api, detections, task)


def _mean(scores: CocoScores, row: tuple) -> float:
    is_precision, iou, area, dets = row
    values = scores.precision if is_precision else scores.recall
    if iou is not None:
        values = values[np.isclose(scores.iou_thresholds, iou)]
    if area not in scores.areas or dets >= len(scores.max_dets):
        return -1.0
    values = values[..., scores.areas.index(area), dets]
    values = values[values > -1]
    return float(np.mean(values)) if values.size else -1.0


def _rows(scores: CocoScores) -> list[tuple]:
    return _KEYPOINT_ROWS if scores.is_keypoints else _ROWS


def summary_stats(scores: CocoScores) -> np.ndarray:
    """pycocotools' `stats`, 0..1 with -1 without ground truth; precision is always that at the most detections.

    Returns (12,): AP, AP50, AP75, small, medium, large; AR at each limit, small, medium, large. Keypoints: (10,).
    """
    return np.array([_mean(scores, row) for row in _rows(scores)])


def summary_lines(scores: CocoScores) -> list[str]:
    """The statistics as COCO's tools print them."""
    whole = f"{scores.iou_thresholds[0]:.2f}:{scores.iou_thresholds[-1]:.2f}"
    lines = []
    for row, value in zip(_rows(scores), summary_stats(scores), strict=True):
        is_precision, iou, area, dets = row
        title = "Average Precision  (AP)" if is_precision else "Average Recall     (AR)"
        limit = scores.max_dets[dets] if dets < len(scores.max_dets) else "-"
        span = whole if iou is None else f"{iou:.2f}"
        lines.append(f" {title} @[ IoU={span:<9} | area={area:>6s} | maxDets={limit:>3} ] = {value:0.3f}")
    return lines


def category_ap(scores: CocoScores) -> list[float]:
    """AP 0..100 of each category, nan where it has no ground truth."""
    averages = []
    for index in range(scores.precision.shape[2]):
        values = scores.precision[:, :, index, 0, -1]
        values = values[values > -1]
        averages.append(float(np.mean(values) * 100) if values.size else float("nan"))
    return averages


def per_category_table(ap_by_name: Mapping[str, float]) -> str:
    """Categories and their AP in up to three pairs of columns."""
    from tabulate import tabulate

    cells = [cell for pair in ap_by_name.items() for cell in pair]
    num_columns = min(6, len(cells))
    rows = itertools.zip_longest(*(cells[start::num_columns] for start in range(num_columns)))
    headers = ["category", "AP"] * (num_columns // 2)
    return tabulate(list(rows), tablefmt="pipe", floatfmt=".3f", headers=headers, numalign="left")
