"""Bringing boxes, masks, keypoints and annotations in their many forms to plain arrays for drawing.

Structures are recognised by what they offer, because they live above this package.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from det2lite.utils.errors import BadValue
from det2lite.utils.vis_mask import GenericMask

XYXY_ABS, XYWH_ABS, XYXY_REL, XYWH_REL, XYWHA_ABS = range(5)  # the values of structures.BoxMode


def as_array(values: Any) -> np.ndarray:
    """A tensor (on any device), array or sequence as numpy array."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        return values.float().numpy() if values.is_floating_point() else values.numpy()
    return np.asarray(values)


def to_boxes(boxes: Any) -> np.ndarray | None:
    """Boxes, RotatedBoxes, a tensor or an array. Returns (R, 4) XYXY or (R, 5) centre, size, angle; float64."""
    if boxes is None:
        return None
    array = as_array(getattr(boxes, "tensor", boxes)).astype(np.float64)
    if array.size == 0:
        return array.reshape(0, 5 if array.ndim == 2 and array.shape[1] == 5 else 4)
    if array.ndim != 2 or array.shape[1] not in (4, 5):
        raise BadValue(f"boxes to draw have shape (R, 4) or (R, 5), not {array.shape}")
    return np.nan_to_num(array, posinf=1e6, neginf=-1e6)


def to_masks(masks: Any, height: int, width: int) -> list[GenericMask] | None:
    """PolygonMasks, BitMasks, (R, H, W) array or tensor, or a list of polygon lists, bitmaps, RLEs or such masks."""
    if masks is None:
        return None
    masks = getattr(masks, "polygons", getattr(masks, "tensor", masks))
    if hasattr(masks, "ndim") and masks.ndim == 4 and masks.shape[1] == 1:
        masks = masks[:, 0]
    if hasattr(masks, "detach"):
        masks = masks.detach().cpu().numpy()
    return [m if isinstance(m, GenericMask) else _generic_mask(m, height, width) for m in masks]


def _generic_mask(mask: Any, height: int, width: int) -> GenericMask:
    return GenericMask(as_array(mask) if hasattr(mask, "detach") else mask, height, width)


def to_keypoints(keypoints: Any) -> np.ndarray | None:
    """Keypoints, a tensor or an array. Returns (R, K, 3): x, y, score or visibility."""
    if keypoints is None:
        return None
    return as_array(getattr(keypoints, "tensor", keypoints)).astype(np.float64)


def to_segment_map(segments: Any) -> np.ndarray:
    """An (H, W) map of integer ids as array."""
    array = as_array(segments)
    if array.ndim != 2:
        raise BadValue(f"a map of segments has shape (H, W), not {array.shape}")
    return array.astype(np.int64)


def text_labels(
    classes: Sequence[int] | None,
    scores: Sequence[float] | None,
    class_names: Sequence[str] | None,
    is_crowd: Sequence[int] | None = None,
) -> list[str] | None:
    """`name 97%` for each object; None where neither classes nor scores are known."""
    labels = None
    if classes is not None:
        known = len(class_names) if class_names else 0
        labels = [str(class_names[c]) if 0 <= c < known else str(c) for c in map(int, classes)]
    if scores is not None:
        percents = [f"{score * 100:.0f}%" for score in map(float, scores)]
        labels = percents if labels is None else [f"{name} {p}" for name, p in zip(labels, percents, strict=True)]
    if labels is not None and is_crowd is not None:
        labels = [f"{label}|crowd" if crowd else label for label, crowd in zip(labels, is_crowd, strict=True)]
    return labels


def annotation_box(annotation: dict, height: int, width: int) -> np.ndarray | None:
    """The annotation's box as (4,) XYXY or (5,) rotated, in pixels; None where it has none."""
    if annotation.get("bbox") is None:
        return None
    box = np.asarray(annotation["bbox"], dtype=np.float64).reshape(-1)
    mode = int(annotation.get("bbox_mode", XYWHA_ABS if len(box) == 5 else XYXY_ABS))
    if len(box) != (5 if mode == XYWHA_ABS else 4):
        raise BadValue(f"bbox {annotation['bbox']} has {len(box)} numbers, which does not fit bbox_mode {mode}")
    if mode in (XYWH_ABS, XYWH_REL):
        box[2:] += box[:2]
    if mode in (XYXY_REL, XYWH_REL):
        box *= (width, height, width, height)
    return box


def annotation_boxes(
    annotations: list[dict], masks: list[GenericMask] | None, height: int, width: int
) -> np.ndarray | None:
    """The boxes of all annotations, (R, 4) or (R, 5); one without a box takes the bounds of its mask.

    Returns None where no annotation has a box.
    """
    boxes = [annotation_box(annotation, height, width) for annotation in annotations]
    sizes = {len(box) for box in boxes if box is not None}
    if not sizes:
        return None
    if len(sizes) > 1 or (sizes == {5} and any(box is None for box in boxes)):
        raise BadValue("rotated boxes are mixed with upright or missing ones in one image; draw them in turn")
    for index, box in enumerate(boxes):
        if box is None:
            boxes[index] = masks[index].bbox() if masks else np.zeros(4)
    return np.stack(boxes)


def annotation_keypoints(annotations: list[dict]) -> np.ndarray | None:
    """The keypoints of all annotations, (R, K, 3), zeros where one has none; None where none has any."""
    keypoints = [np.asarray(a.get("keypoints") or [], dtype=np.float64).reshape(-1, 3) for a in annotations]
    count = max((len(points) for points in keypoints), default=0)
    if count == 0:
        return None
    return np.stack([np.pad(points, ((0, count - len(points)), (0, 0))) for points in keypoints])


def distinct_segments(panoptic: np.ndarray, segments_info: list[dict] | None, metadata: Any) -> list[dict]:
    """Segments with id, category_id, isthing. Without a list, an id is its category times `label_divisor` plus n."""
    if segments_info is not None:
        return segments_info
    divisor = getattr(metadata, "label_divisor", None)
    if not divisor:
        raise BadValue("panoptic ids without segments_info need label_divisor in the data set's metadata")
    things = set((getattr(metadata, "thing_dataset_id_to_contiguous_id", None) or {}).values())
    segments = []
    for segment in np.unique(panoptic):
        category = int(segment) // divisor
        if segment >= 0:  # -1 is void
            segments.append({"id": int(segment), "category_id": category, "isthing": category in things})
    return segments


class PanopticMasks:
    """The segments of a panoptic map as masks (H, W) bool, each with its entry of `segments_info`, largest first.

    panoptic_seg, segments_info: see `Visualizer.draw_panoptic_seg`.
    """

    def __init__(self, panoptic_seg: Any, segments_info: list[dict] | None, metadata: Any = None):
        self._map = to_segment_map(panoptic_seg)
        ids, counts = np.unique(self._map, return_counts=True)
        areas = dict(zip(ids.tolist(), counts.tolist(), strict=True))
        present = [s for s in distinct_segments(self._map, segments_info, metadata) if s["id"] in areas]
        self._segments = sorted(present, key=lambda segment: -areas[segment["id"]])

    def non_empty_mask(self) -> np.ndarray:
        """(H, W) uint8: 1 where there is a segment."""
        return np.isin(self._map, [segment["id"] for segment in self._segments]).astype(np.uint8)

    def semantic_masks(self) -> Iterator[tuple[np.ndarray, dict]]:
        """Those of stuff."""
        return self._masks(things=False)

    def instance_masks(self) -> Iterator[tuple[np.ndarray, dict]]:
        """Those of things."""
        return self._masks(things=True)

    def _masks(self, things: bool) -> Iterator[tuple[np.ndarray, dict]]:
        chosen = [segment for segment in self._segments if bool(segment.get("isthing", True)) == things]
        return ((self._map == segment["id"], segment) for segment in chosen)
