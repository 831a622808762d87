"""Drawing predictions over the frames of a video, an object keeping its colour from frame to frame."""

import importlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from det2lite.utils.colormap import PALETTE_SIZE, palette_color, random_color, random_colors
from det2lite.utils.vis_image import VisImage
from det2lite.utils.vis_inputs import PanopticMasks, as_array, text_labels, to_boxes, to_masks
from det2lite.utils.visualizer import ColorMode, Visualizer

__all__ = ["ColorMode", "VideoVisualizer", "Visualizer", "random_color", "random_colors"]

BOX_IOU = 0.5
MASK_IOU = 0.4
FRAMES_REMEMBERED = 8  # an object may hide this long and still keep its colour


@dataclass
class Track:
    """An object seen lately. `box` (4,) XYXY, or `rle`, its mask; `frames_left` until it is forgotten."""

    category: int
    box: np.ndarray
    rle: dict | None
    color_index: int
    frames_left: int = FRAMES_REMEMBERED


class VideoVisualizer:
    """Visualizer for the frames of one video, in their order.

    An object is known again by its class and its overlap with where it was. `instance_mode` as in `Visualizer`;
    in SEGMENTATION mode colours are those of the classes, and no object is followed. `object_side`, in pixels, makes
    lines and text no larger than suits objects of this side, where it is set.
    """

    def __init__(self, metadata: Any, instance_mode: ColorMode = ColorMode.IMAGE):
        self.metadata = metadata
        self._instance_mode = instance_mode
        self.object_side: float | None = None
        self._tracks: list[Track] = []
        self._color_of_id: dict[int, int] = {}

    def draw_instance_predictions(self, frame: np.ndarray, predictions: Any) -> VisImage:
        """Instances over a frame (H, W, 3) RGB.

        Beyond what `Visualizer` reads, the field `COLOR` gives colours, and `ID` the ids of a tracker, which then
        decide on colours; with `ID_period`, objects seen for at most `metadata.period_threshold` frames are left out.
        """
        predictions = self._settled(predictions)
        fields = predictions.get_fields()
        visualizer = self._visualizer(frame)
        if self._instance_mode == ColorMode.SEGMENTATION and "COLOR" not in fields:
            return visualizer.draw_instance_predictions(predictions, jittering=False)
        classes = as_array(fields["pred_classes"]).tolist() if "pred_classes" in fields else [0] * len(predictions)
        masks = to_masks(fields.get("pred_masks"), *np.shape(frame)[:2])
        if "COLOR" in fields:
            colors = [tuple(as_array(color).tolist()) for color in fields["COLOR"]]
        elif "ID" in fields:
            colors = [self._color_by_id(int(identity)) for identity in fields["ID"]]
        else:
            colors = self._follow(classes, *_boxes_and_rles(fields, masks, len(predictions)))
        if self._instance_mode == ColorMode.IMAGE_BW:
            visualizer.output.reset_image(visualizer._grey_outside(masks))
        scores = as_array(fields["scores"]).tolist() if "scores" in fields else None
        names = getattr(self.metadata, "thing_classes", None)
        return visualizer.overlay_instances(
            boxes=None if masks is not None else fields.get("pred_boxes"),  # boxes of moving masks flicker
            labels=text_labels(classes if "pred_classes" in fields else None, scores, names),
            masks=masks,
            keypoints=fields.get("pred_keypoints"),
            assigned_colors=colors,
            alpha=0.3 if self._instance_mode == ColorMode.IMAGE_BW else 0.5,
        )

    def draw_sem_seg(self, frame: np.ndarray, sem_seg: Any, area_threshold: float | None = None) -> VisImage:
        """A map of classes (H, W) over a frame (H, W, 3) RGB."""
        return Visualizer(frame, self.metadata).draw_sem_seg(sem_seg, area_threshold)

    def draw_panoptic_seg_predictions(
        self,
        frame: np.ndarray,
        panoptic_seg: Any,
        segments_info: list[dict] | None,
        area_threshold: float | None = None,
        alpha: float = 0.5,
    ) -> VisImage:
        """A panoptic map (H, W) over a frame (H, W, 3) RGB; things keep their colours, stuff has its class' colour."""
        segments = PanopticMasks(panoptic_seg, segments_info, self.metadata)
        things = [*segments.instance_masks()]
        masks = to_masks([mask for mask, _ in things], *frame.shape[:2])
        boxes, rles = _boxes_and_rles({}, masks, len(things))
        colors = self._follow([int(segment["category_id"]) for _, segment in things], boxes, rles)
        visualizer = self._visualizer(frame)
        thing_colors = {segment["id"]: color for (_, segment), color in zip(things, colors, strict=True)}
        return visualizer.draw_segments(segments, area_threshold, alpha, thing_colors=thing_colors)

    def _visualizer(self, frame: np.ndarray) -> Visualizer:
        visualizer = Visualizer(frame, self.metadata, instance_mode=self._instance_mode)
        if self.object_side is not None:
            visualizer.limit_sizes(self.object_side)
        return visualizer

    def _settled(self, predictions: Any) -> Any:
        """Without the objects that a tracker has seen for too short a time."""
        if not predictions.has("ID_period"):
            return predictions
        threshold = getattr(self.metadata, "period_threshold", 0)
        keep = [i for i, period in enumerate(predictions.ID_period) if period > threshold]
        return predictions[keep]

    def _color_by_id(self, identity: int) -> tuple[float, ...]:
        index = self._color_of_id.get(identity)
        if index is None:
            index = len(self._color_of_id)
            self._color_of_id[identity] = index
        return palette_color(index)

    def _follow(self, classes: list[int], boxes: np.ndarray, rles: list[dict] | None) -> list[tuple[float, ...]]:
        """Match objects of this frame with those seen before, best overlap first, and give each its colour."""
        overlap = self._overlap(classes, boxes, rles)  # (tracks, objects)
        matched: dict[int, Track] = {}
        while overlap.size and overlap.max() > 0:
            track, seen = np.unravel_index(overlap.argmax(), overlap.shape)
            matched[int(seen)] = self._tracks[track]
            overlap[track, :] = overlap[:, seen] = 0
        kept = {id(track) for track in matched.values()}
        for track in self._tracks:
            track.frames_left -= 1
        self._tracks = [track for track in self._tracks if track.frames_left > 0 or id(track) in kept]
        colors = []
        for i, category in enumerate(classes):
            track = matched.get(i)
            if track is None:
                track = Track(category, boxes[i], None, self._free_color())
                self._tracks.append(track)
            track.box, track.frames_left = boxes[i], FRAMES_REMEMBERED
            track.rle = rles[i] if rles is not None else None
            colors.append(palette_color(track.color_index))
        return colors

    def _overlap(self, classes: list[int], boxes: np.ndarray, rles: list[dict] | None) -> np.ndarray:
        """IoU of tracks and objects, 0 where it is too small or the classes differ. Returns (tracks, objects)."""
        if not self._tracks or not classes:
            return np.zeros((len(self._tracks), len(classes)))
        from pycocotools import mask as coco_mask

        if rles is not None and all(track.rle is not None for track in self._tracks):
            iou = coco_mask.iou([track.rle for track in self._tracks], rles, [0] * len(rles))
            iou = np.asarray(iou) * (np.asarray(iou) >= MASK_IOU)
        else:
            iou = box_iou(np.stack([track.box for track in self._tracks]), boxes)
            iou *= iou >= BOX_IOU
        same = np.array([track.category for track in self._tracks])[:, None] == np.array(classes)[None, :]
        return iou * same

    def _free_color(self) -> int:
        used = {track.color_index for track in self._tracks}
        return next((i for i in range(PALETTE_SIZE) if i not in used), len(self._tracks))


def box_iou(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """IoU of each pair. boxes: (T, 4), others: (R, 4) XYXY. Returns (T, R)."""
    upper_left = np.maximum(boxes[:, None, :2], others[None, :, :2])
    lower_right = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    shared = (lower_right - upper_left).clip(0).prod(axis=2)
    areas = [(b[:, 2:] - b[:, :2]).prod(axis=1) for b in (boxes, others)]
    return shared / np.maximum(areas[0][:, None] + areas[1][None, :] - shared, 1e-9)


def _boxes_and_rles(fields: dict, masks: list | None, count: int) -> tuple[np.ndarray, list[dict] | None]:
    """What objects are followed by: boxes (R, 4) where there are any, else masks."""
    boxes = to_boxes(fields.get("pred_boxes"))
    if boxes is not None and boxes.shape[1] == 5:
        from det2lite.utils.drawing import rotated_bounds, rotated_corners

        boxes = rotated_bounds(np.array([rotated_corners(box) for box in boxes]).reshape(-1, 4, 2))
    if boxes is not None or masks is None:
        return (np.zeros((count, 4)) if boxes is None else boxes), None
    from pycocotools import mask as coco_mask

    return np.zeros((count, 4)), [coco_mask.encode(np.asfortranarray(mask.mask, dtype=np.uint8)) for mask in masks]


def __getattr__(name: str) -> Any:
    if name == "Instances":  # known by this path too, though it lives in a higher package
        return importlib.import_module("det2lite.structures").Instances
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
