"""Numbers of semantic segmentation, from counts of pixels."""

from dataclasses import dataclass

import numpy as np

__all__ = ["SemSegScores", "boundary_pixels", "boundary_width", "count_pixels", "sem_seg_scores"]


@dataclass
class SemSegScores:
    """Shares 0..1. iou, acc: (K,) of each class, nan where it does not occur in the ground truth.

    miou, macc: means over the classes that occur. fwiou: IoU weighted by how often a class occurs. pacc: share of
    pixels that are right. All nan without ground truth.
    """

    iou: np.ndarray
    acc: np.ndarray
    miou: float
    fwiou: float
    macc: float
    pacc: float


def count_pixels(predicted: np.ndarray, truth: np.ndarray, num_classes: int) -> np.ndarray:
    """(K + 1, K + 1) int64: pixels by predicted class (rows) and true class (columns); class K is the ignored one.

    predicted, truth: (H, W) classes in [0, K].
    """
    side = num_classes + 1
    cell = side * predicted.astype(np.int64).ravel() + truth.ravel()
    return np.bincount(cell, minlength=side * side).reshape(side, side)


def boundary_width(height: int, width: int, share: float = 0.02) -> int:
    """Pixels from its outline inwards that count as an object's boundary: a share of the image's diagonal."""
    return max(1, round(share * float(np.hypot(height, width))))


def boundary_pixels(labels: np.ndarray) -> np.ndarray:
    """(H, W) bool: pixels of a label map that are close to another label, or to the edge of the image.

    labels: (H, W). Close is a distance of at most `boundary_width`, the larger of both axes, which is what eroding each
    class's mask takes away. Boundary IoU, arXiv 2103.16562.
    """
    import cv2

    outline = np.ones(labels.shape, np.uint8)
    if min(labels.shape) < 3:
        return outline.astype(bool)
    inner = labels[1:-1, 1:-1]
    height, width = labels.shape
    others = [labels[y : height - 2 + y, x : width - 2 + x] for y in range(3) for x in range(3)]
    outline[1:-1, 1:-1] = np.any([inner != other for other in others], axis=0)
    # a path of d steps to another label leaves its own label at a pixel that is at most d - 1 steps away
    side = 2 * (boundary_width(height, width) - 1) + 1
    near = cv2.boxFilter(outline, cv2.CV_32S, (side, side), normalize=False, borderType=cv2.BORDER_CONSTANT)
    return near > 0


def sem_seg_scores(counts: np.ndarray) -> SemSegScores:
    """counts: (K + 1, K + 1) of `count_pixels`. Pixels that the ground truth ignores do not count."""
    counts = counts[:-1, :-1].astype(np.float64)
    right = counts.diagonal()
    in_truth, in_prediction = counts.sum(axis=0), counts.sum(axis=1)
    occurs = in_truth > 0
    acc, iou = np.full(len(right), np.nan), np.full(len(right), np.nan)
    acc[occurs] = right[occurs] / in_truth[occurs]
    iou[occurs] = right[occurs] / (in_truth + in_prediction - right)[occurs]
    if not occurs.any():
        return SemSegScores(iou=iou, acc=acc, miou=np.nan, fwiou=np.nan, macc=np.nan, pacc=np.nan)
    share = in_truth / in_truth.sum()
    return SemSegScores(
        iou=iou,
        acc=acc,
        miou=float(iou[occurs].mean()),
        fwiou=float((iou[occurs] * share[occurs]).sum()),
        macc=float(acc[occurs].mean()),
        pacc=float(right.sum() / in_truth.sum()),
    )


def boundary_iou(counts: np.ndarray) -> np.ndarray:
    """(K,) IoU of the boundaries of each class, nan for one without.

    counts: `count_pixels` of label maps in which every pixel away from a boundary has the class K, on either side.
    """
    right = counts.diagonal()[:-1].astype(np.float64)
    union = counts[:, :-1].sum(axis=0) + counts[:-1, :].sum(axis=1) - right
    return np.divide(right, union, out=np.full(len(right), np.nan), where=union > 0)
