"""What boxes tell about themselves: pure functions on arrays, fast on hundreds of thousands of boxes."""

from typing import NamedTuple

import numpy as np

EDGE = 1.0  # pixels that a box or polygon may stand out of its image: rounding, and labels drawn along the rim
FEWEST_BOXES = 4  # that statistics need
XYXY_SHARE = 0.99  # of the boxes that must fit their images when they are read as corners
SMALLEST_IMAGE = 8  # pixels of a side, from which on a box of less than one pixel is strange
BEYOND_SHARE = 0.2  # of the boxes that must not fit when they are read as corner and size


class BoxFaults(NamedTuple):
    """(N,) bool each; a box has at most one of the faults."""

    negative: np.ndarray
    empty: np.ndarray
    outside: np.ndarray
    beyond: np.ndarray


def box_faults(boxes: np.ndarray, sizes: np.ndarray) -> BoxFaults:
    """Boxes without area, or not inside their images. boxes: (N, 4) XYWH; sizes: (N, 2) width, height; NaN: unknown."""
    corner, extent = boxes[:, :2], boxes[:, 2:]
    far = corner + extent
    negative = (extent < 0).any(axis=1)
    empty = (extent == 0).any(axis=1) & ~negative
    has_area = ~negative & ~empty
    outside = ((far <= 0) | (corner >= sizes)).any(axis=1) & has_area
    beyond = overhang(boxes, sizes) > EDGE
    return BoxFaults(negative, empty, outside, beyond & has_area & ~outside)


def overhang(boxes: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """How far each box stands out of its image, (N,) pixels, at least 0. Arguments as for `box_faults`."""
    beyond = np.concatenate([-boxes[:, :2], boxes[:, :2] + boxes[:, 2:] - sizes], axis=1)  # (N, 4)
    return np.nan_to_num(beyond, nan=0.0).max(axis=1, initial=0.0)


def looks_like_xyxy(boxes: np.ndarray, sizes: np.ndarray) -> str:
    """The evidence that boxes given as XYWH are corners XYXY; empty where there is none. Arguments as above.

    Corners fit their images when read as corners, always have x1 > x0 and y1 > y0, and stand far out of their images
    when read as corner and size, as every box does whose centre is right of or below the middle of its image.
    """
    known = np.isfinite(boxes).all(axis=1) & np.isfinite(sizes).all(axis=1)
    boxes, sizes = boxes[known], sizes[known]
    if len(boxes) < FEWEST_BOXES:
        return ""
    as_corners = fit_as_corners(boxes, sizes)
    beyond = overhang(boxes, sizes) > EDGE
    if as_corners.mean() < XYXY_SHARE or beyond.mean() < BEYOND_SHARE or beyond.sum() < 2:
        return ""
    return (
        f"{int(beyond.sum())} of {len(boxes)} boxes reach beyond their images when read as x, y, width, height, and "
        f"{int(as_corners.sum())} fit when read as x0, y0, x1, y1"
    )


def fit_as_corners(boxes: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Whether each box is inside its image when it is read as XYXY, (N,) bool. Arguments as above."""
    return ((boxes[:, 2:] > boxes[:, :2]) & (boxes[:, 2:] <= sizes + EDGE) & (boxes[:, :2] >= -EDGE)).all(axis=1)


def looks_relative(boxes: np.ndarray, sizes: np.ndarray) -> str:
    """The evidence that boxes are fractions of the image instead of pixels; empty where there is none."""
    known = np.isfinite(boxes).all(axis=1) & np.isfinite(sizes).all(axis=1)
    boxes, sizes = boxes[known], sizes[known]
    if len(boxes) < FEWEST_BOXES or boxes.max() > 1 or boxes.min() < 0 or sizes.min() < SMALLEST_IMAGE:
        return ""
    if (boxes % 1 > 0).any(axis=1).mean() < 0.5:  # boxes of one pixel are whole numbers
        return ""
    return f"no number of the {len(boxes)} boxes is above 1: they are fractions of the image, not pixels"


def duplicates(boxes: np.ndarray, *keys: np.ndarray) -> np.ndarray:
    """For each box the index of the first one that is equal in box and all `keys` (N,), -1 for first ones. (N,) int64.

    Boxes with NaN equal none.
    """
    first = np.full(len(boxes), -1, dtype=np.int64)
    if len(boxes) < 2:
        return first
    columns = np.column_stack([*keys, boxes]).astype(np.float64)
    columns += 0.0  # -0.0 and 0.0 have different bytes
    rows = np.ascontiguousarray(columns).view(np.dtype((np.void, columns.itemsize * columns.shape[1]))).ravel()
    _, index, inverse = np.unique(rows, return_index=True, return_inverse=True)  # the index is that of the first
    original = index[inverse.reshape(-1)]
    repeated = (original != np.arange(len(boxes))) & np.isfinite(columns).all(axis=1)
    first[repeated] = original[repeated]
    return first
