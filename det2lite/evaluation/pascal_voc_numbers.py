"""Average precision by the protocols of Pascal VOC, doi 10.1007/s11263-009-0275-4."""

from dataclasses import dataclass

import numpy as np

__all__ = [
    "VocBoxes",
    "VocMatches",
    "area_below",
    "average_precision",
    "match_detections",
    "right_and_counted",
]


@dataclass
class VocBoxes:
    """Boxes of one class. image: (N,) number of the image of each. corners: (N, 4) XYXY of pixels that are included."""

    image: np.ndarray
    corners: np.ndarray


@dataclass
class VocMatches:
    """What each detection, best first, covers. overlap: (N,) largest IoU with an object; object: (N,) its index, -1
    for none. difficult: (N,) bool of that object."""

    overlap: np.ndarray
    object: np.ndarray
    difficult: np.ndarray


def match_detections(detections: VocBoxes, scores: np.ndarray, objects: VocBoxes, difficult: np.ndarray) -> VocMatches:
    """The object that each detection overlaps most, whether or not another one has it.

    scores: (N,); ties keep their order. difficult: (M,) bool of the objects.
    """
    order = np.argsort(-scores, kind="stable")
    image, corners = detections.image[order], detections.corners[order]
    by_image = np.argsort(objects.image, kind="stable")
    first = np.searchsorted(objects.image[by_image], image)
    count = np.searchsorted(objects.image[by_image], image, side="right") - first  # (N,) objects in the image
    # all pairs of a detection and an object of its image, one detection after the other
    row = np.repeat(np.arange(len(image)), count)
    start = np.cumsum(count) - count
    candidate = by_image[np.arange(len(row)) - start[row] + first[row]]  # (P,) objects
    iou = _overlap(corners[row], objects.corners[candidate])
    overlap, best = np.full(len(image), -np.inf), np.full(len(image), -1)
    has = count > 0
    if has.any():
        overlap[has] = np.maximum.reduceat(iou, start[has])
        best_pair = np.flatnonzero(iou == overlap[row])
        found, position = np.unique(row[best_pair], return_index=True)  # the first of equal ones
        best[found] = candidate[best_pair[position]]
    return VocMatches(overlap=overlap, object=best, difficult=np.append(difficult, False)[best])


def _overlap(corners1: np.ndarray, corners2: np.ndarray) -> np.ndarray:
    """(P,) IoU of pairs; a box of one pixel has equal corners."""
    low, high = np.maximum(corners1[:, :2], corners2[:, :2]), np.minimum(corners1[:, 2:], corners2[:, 2:])
    inter = (high - low + 1).clip(min=0).prod(axis=1)
    area1, area2 = ((c[:, 2:] - c[:, :2] + 1).prod(axis=1) for c in (corners1, corners2))
    return inter / (area1 + area2 - inter)


def average_precision(matches: VocMatches, num_objects: int, iou_threshold: float, *, eleven_points: bool) -> float:
    """AP 0..1 of one class, nan without objects.

    An object is found by the first detection whose IoU is above the threshold; later ones are wrong. Detections of
    difficult objects do not count. num_objects: that are not difficult. eleven_points: the mean of the precisions at
    recall 0, 0.1, ..., 1 (VOC 2007); else the area below the curve (from VOC 2010 on).
    """
    if num_objects == 0:
        return float("nan")
    right, counts = right_and_counted(matches, iou_threshold)
    num_right, num_counted = np.cumsum(right[counts]), np.arange(1, counts.sum() + 1)
    return area_below(num_right / num_objects, num_right / num_counted, eleven_points=eleven_points)


def right_and_counted(matches: VocMatches, iou_threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """(N,) bool of detections, best first: which find an object, and which count at all; see `average_precision`."""
    covers = matches.overlap > iou_threshold
    right = np.zeros(len(covers), bool)
    regular = np.flatnonzero(covers & ~matches.difficult)
    right[regular[np.unique(matches.object[regular], return_index=True)[1]]] = True
    return right, ~(covers & matches.difficult)


def area_below(recall: np.ndarray, precision: np.ndarray, *, eleven_points: bool) -> float:
    """AP 0..1 of a curve (N,), recall ascending; eleven_points: see `average_precision`."""
    # the best precision at this recall or a higher one
    envelope = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    if eleven_points:
        steps = np.arange(0.0, 1.1, 0.1)
        return float(envelope[np.searchsorted(recall, steps)].mean())
    return float((np.diff(recall, prepend=0.0) * envelope[:-1]).sum())
