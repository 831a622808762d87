"""Which detections of overlapping tiles are views of the same object, and what the object is then."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from det2lite.apis.masks import CroppedMasks
from det2lite.apis.result import DetectionResult

MERGES = ("ios", "nms")
CUT = 2.0  # pixels: a box that comes so near to a border of its tile may go on behind it

Window = tuple[int, int, int, int]


def merge_views(
    views: Sequence[DetectionResult], windows: Sequence[Window], *, method: str = "ios", threshold: float = 0.5
) -> DetectionResult:
    """The objects of an image from what was found in its tiles, best score first.

    views: of each tile, in the image's pixels. windows: the tiles, XYXY. Two tiles see the same pixels where they
    overlap, and so detections of one class are views of one object where they agree there: by intersection over union
    (method "nms") or over the smaller of both ("ios"), of masks where there are any, else of boxes. An object has one
    view a tile at most, so that neighbours, which a tile sees as two, stay two.
    "nms" keeps the best view of an object, one that no seam cuts if there is one. "ios" joins them: the box is around
    those of all views, the mask is their union.
    """
    together = _together(views)
    tiles = np.repeat(np.arange(len(views)), [len(view) for view in views])
    frames = np.array(windows, dtype=np.float64).reshape(-1, 4)[tiles]  # (D, 4) the tile of each detection
    depths = _depths(together.boxes, frames, together.image_size)
    groups = _groups(_same_object(together, tiles, np.array(windows), method, threshold), tiles)
    best = np.array([_best(group, together.scores, depths) for group in groups], dtype=np.int64)
    result = together[best]
    scores = np.array([together.scores[group].max() for group in groups], dtype=np.float32)
    result = replace(result, scores=scores)
    if method == "ios":
        result = _joined(result, together, groups)
    return result[np.argsort(-scores, kind="stable")]


def _together(views: Sequence[DetectionResult]) -> DetectionResult:
    """All detections in one result."""
    changed = {
        name: np.concatenate([getattr(view, name) for view in views])
        for name in ("boxes", "scores", "class_ids", "keypoints", "rotated_boxes")
        if getattr(views[0], name) is not None
    }
    if views[0].cropped_masks is not None:
        changed["cropped_masks"] = CroppedMasks.cat([view.cropped_masks for view in views])
    return replace(views[0], **changed)


def _depths(boxes: np.ndarray, frames: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
    """How far each side of each box lies inside its tile, (D, 4); infinite where the tile ends with the image."""
    height, width = image_size
    depths = np.concatenate([boxes[:, :2] - frames[:, :2], frames[:, 2:] - boxes[:, 2:]], axis=1)
    at_border = frames == np.array([0, 0, width, height])
    return np.where(at_border, np.inf, depths)


def _same_object(
    found: DetectionResult, tiles: np.ndarray, windows: np.ndarray, method: str, threshold: float
) -> list[tuple[float, int, int]]:
    """Pairs of detections that are views of one object, each with its IoU."""
    of_tile = [np.flatnonzero(tiles == tile) for tile in range(len(windows))]
    pairs = []
    for first, second in zip(*np.nonzero(np.triu(_intersections(windows, windows), 1)), strict=True):
        corners = (
            np.maximum(windows[first, :2], windows[second, :2]),
            np.minimum(windows[first, 2:], windows[second, 2:]),
        )
        region = np.concatenate(corners)
        pairs += _pairs_in_region(found, of_tile[first], of_tile[second], region, method, threshold)
    return pairs


def _pairs_in_region(
    found: DetectionResult, rows: np.ndarray, columns: np.ndarray, region: np.ndarray, method: str, threshold: float
) -> list[tuple[float, int, int]]:
    """As `_same_object`, of two tiles that share `region` (4,) XYXY. rows, columns: the detections of each."""
    rows, row_boxes = _within(found.boxes, rows, region)
    columns, column_boxes = _within(found.boxes, columns, region)
    shared = _intersections(row_boxes, column_boxes)
    shared *= found.class_ids[rows][:, None] == found.class_ids[columns][None, :]
    row_areas, column_areas = _areas(row_boxes), _areas(column_boxes)
    if found.cropped_masks is not None and shared.any():
        shared, row_areas, column_areas = _mask_overlaps(found.cropped_masks, rows, columns, region, shared > 0)
    union = row_areas[:, None] + column_areas[None, :] - shared
    smaller = np.minimum(row_areas[:, None], column_areas[None, :])
    iou = shared / np.maximum(union, 1e-9)
    measure = iou if method == "nms" else shared / np.maximum(smaller, 1e-9)
    row, column = np.nonzero((measure >= threshold) & (shared > 0))
    order = np.argsort(-iou[row, column], kind="stable")
    return [(float(iou[row[k], column[k]]), int(rows[row[k]]), int(columns[column[k]])) for k in order]


def _within(boxes: np.ndarray, chosen: np.ndarray, region: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Those of the chosen detections that reach into the region, and their boxes within it."""
    clipped = np.concatenate(
        [np.maximum(boxes[chosen, :2], region[:2]), np.minimum(boxes[chosen, 2:], region[2:])], axis=1
    ).astype(np.float64)
    inside = (clipped[:, 2:] > clipped[:, :2]).all(axis=1)
    return chosen[inside], clipped[inside]


def _areas(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)


def _intersections(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Areas (N, M) that boxes (N, 4) and others (M, 4) share."""
    upper_left = np.maximum(boxes[:, None, :2], others[None, :, :2])
    lower_right = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    return (lower_right - upper_left).clip(0).prod(axis=2)


def _mask_overlaps(
    masks: CroppedMasks, rows: np.ndarray, columns: np.ndarray, region: np.ndarray, candidates: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixels of the region that masks share (N, M), of the candidates alone, and that each covers (N,), (M,)."""
    region = region.astype(np.int64)
    needed = candidates.any(axis=1), candidates.any(axis=0)
    parts = [
        {k: masks.part(index, region) for k, index in enumerate(indices) if used[k]}
        for indices, used in zip((rows, columns), needed, strict=True)
    ]
    areas = [
        np.array([parts[side][k].sum() if k in parts[side] else 0 for k in range(len(indices))], dtype=np.float64)
        for side, indices in enumerate((rows, columns))
    ]
    shared = np.zeros(candidates.shape)
    for row, column in zip(*np.nonzero(candidates), strict=True):
        shared[row, column] = np.count_nonzero(parts[0][row] & parts[1][column])
    return shared, areas[0], areas[1]


def _groups(pairs: list[tuple[float, int, int]], tiles: np.ndarray) -> list[np.ndarray]:
    """The views of each object. Pairs that agree most come first; a group has one view a tile at most."""
    group_of = list(range(len(tiles)))
    members = {index: [index] for index in group_of}
    for _, first, second in sorted(pairs, key=lambda pair: -pair[0]):
        a, b = group_of[first], group_of[second]
        if a == b or {tiles[i] for i in members[a]} & {tiles[i] for i in members[b]}:
            continue
        for index in members[b]:
            group_of[index] = a
        members[a] += members.pop(b)
    return [np.array(group) for group in members.values()]


def _best(group: np.ndarray, scores: np.ndarray, depths: np.ndarray) -> int:
    """The view of the best score among those that no seam cuts, if there are such."""
    whole = group[depths[group].min(axis=1) > CUT]
    candidates = whole if len(whole) else group
    return int(candidates[scores[candidates].argmax()])


def _joined(result: DetectionResult, together: DetectionResult, groups: list[np.ndarray]) -> DetectionResult:
    """`result` with the boxes and masks of all views of each object; rotated boxes stay those of the best view."""
    boxes, changed = result.boxes.copy(), {}
    several = [(k, group) for k, group in enumerate(groups) if len(group) > 1]
    if result.rotated_boxes is None:
        for k, group in several:
            boxes[k, :2] = together.boxes[group, :2].min(axis=0)
            boxes[k, 2:] = together.boxes[group, 2:].max(axis=0)
        changed["boxes"] = boxes
    if result.cropped_masks is not None:
        united = [together.cropped_masks.union(group) for _, group in several]
        own = [k for k, group in enumerate(groups) if len(group) == 1]
        corners, crops = zip(*united, strict=True) if united else ((), ())
        joined = CroppedMasks.from_crops(result.image_size, corners, crops)
        order = np.argsort([*(k for k, _ in several), *own])
        changed["cropped_masks"] = CroppedMasks.cat([joined, result.cropped_masks[np.array(own, dtype=int)]])[order]
    return replace(result, **changed)
