"""Where labels go: beside or in their objects, off small objects and off each other."""

from typing import NamedTuple

import numpy as np

LABEL_OVERLAP_COST = 8.0
LABEL_TOUCH_COST = 1.0
OBJECT_COVER_COST = 3.0
DISTANCE_COST = 0.35  # for each label height between a label and its object
ORDER_COST = 0.03
DETACHED = 0.75  # label heights of gap from which on a line must lead to the object


Point = tuple[float, float]


class Placement(NamedTuple):
    """A label's rectangle (x0, y0, x1, y1) in canvas pixels, and the object's point to draw a line to, if needed."""

    box: np.ndarray
    leader: Point | None


class LabelPlacer:
    """Chooses places for labels on a canvas of `width` x `height` pixels with objects in boxes (R, 4) XYXY."""

    def __init__(self, width: float, height: float, objects: np.ndarray | tuple = ()):
        self.width = width
        self.height = height
        self.objects = np.asarray(objects, dtype=np.float64).reshape(-1, 4)
        self.labels = np.empty((0, 4))

    def place(self, size: tuple[float, float], target: np.ndarray, point: Point | None = None) -> Placement:
        """The best place for a label of `size` (width, height) at the object in the box `target` (4,).

        point: where inside the object a label would sit best, if the object has room for it.
        """
        target = np.asarray(target, dtype=np.float64)
        label_width, label_height = size
        corners = _candidates(size, target, point)  # (C, 2) XY of the upper left corner
        limit = np.maximum([self.width - label_width, self.height - label_height], 0)
        moved = corners.clip(0, limit)
        boxes = np.concatenate([moved, moved + size], axis=1)  # (C, 4)

        cost = np.arange(len(boxes)) * ORDER_COST
        gap = _gaps(boxes, target) / label_height  # (C,)
        cost += gap * DISTANCE_COST
        labels = _near(boxes, self.labels)
        overlap = _intersections(boxes, labels).sum(axis=1) / (label_width * label_height)
        cost += overlap * LABEL_OVERLAP_COST + (overlap > 0) * LABEL_TOUCH_COST
        objects = _near(boxes, self.objects)
        sides = objects[:, 2:] - objects[:, :2]
        covered = _intersections(boxes, objects) / np.maximum(sides.prod(axis=1), 1)  # (C, R)
        cost += covered.sum(axis=1) * OBJECT_COVER_COST
        best = int(cost.argmin())
        self.labels = np.concatenate([self.labels, boxes[best : best + 1]])
        leader = None
        if gap[best] > DETACHED:
            leader = tuple(((target[:2] + target[2:]) / 2).tolist())
        return Placement(boxes[best], leader)


def _candidates(size: tuple[float, float], target: np.ndarray, point: Point | None) -> np.ndarray:
    """Upper left corners of a label round and in `target`, best first. Returns (C, 2) XY."""
    width, height = size
    x0, y0, x1, y1 = target
    middle_x, middle_y = (x0 + x1 - width) / 2, (y0 + y1 - height) / 2
    inside = [(x0, y0), (x1 - width, y0), (x0, y1 - height), (x1 - width, y1 - height), (middle_x, y0)]
    above_below = [(x0, y0 - height), (x0, y1), (x1 - width, y0 - height), (x1 - width, y1)]
    beside = [(x, y) for y in (y0, middle_y, y1 - height) for x in (x1, x0 - width)]
    roomy = x1 - x0 > 1.5 * width and y1 - y0 > 4 * height
    corners = [*inside, *above_below, *beside] if roomy else [*above_below, *beside]
    if point is not None and x1 - x0 >= width and y1 - y0 >= height:
        corners.insert(0, (point[0] - width / 2, point[1] - height / 2))
    for ring in (1.5, 2.5, 4.0):
        dx, dy = ring * height, ring * height
        corners += [(middle_x, y0 - height - dy), (middle_x, y1 + dy), (x1 + dx, middle_y), (x0 - width - dx, middle_y)]
        corners += [(x1 + dx, y0 - height - dy), (x0 - width - dx, y0 - height - dy)]
        corners += [(x1 + dx, y1 + dy), (x0 - width - dx, y1 + dy)]
    return np.array(corners)


def _near(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Those of `others` (R, 4) that a box can overlap: of thousands of labels and objects, a few. boxes: (C, 4)."""
    apart = (others[:, :2] >= boxes[:, 2:].max(axis=0)) | (others[:, 2:] <= boxes[:, :2].min(axis=0))
    return others[~apart.any(axis=1)]


def _intersections(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Areas shared by each pair. boxes: (C, 4), others: (R, 4) XYXY. Returns (C, R)."""
    upper_left = np.maximum(boxes[:, None, :2], others[None, :, :2])
    lower_right = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    return (lower_right - upper_left).clip(0).prod(axis=2)


def _gaps(boxes: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Distance between each box and `target`, 0 where they touch. boxes: (C, 4). Returns (C,)."""
    apart = np.maximum(boxes[:, :2] - target[2:], target[:2] - boxes[:, 2:]).clip(0)
    return np.hypot(apart[:, 0], apart[:, 1])
