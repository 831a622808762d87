"""Drawing many instances or segments at once: masks under lines, lines under points, labels where there is room."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from det2lite.utils.colormap import lighten, palette_color
from det2lite.utils.drawing import LAYER_MASK, Drawing, rotated_bounds, rotated_corners, to_rgb
from det2lite.utils.errors import BadValue
from det2lite.utils.vis_image import VisImage
from det2lite.utils.vis_inputs import as_array, to_boxes, to_keypoints, to_masks
from det2lite.utils.vis_labels import LabelPlacer
from det2lite.utils.vis_mask import GenericMask, MaskLayer


class InstanceDrawing(Drawing):
    """Drawing of groups. `metadata` may have `keypoint_names`, `keypoint_connection_rules` (name, name, RGB 0..255)."""

    def __init__(self, img_rgb: np.ndarray, metadata: Any = None, scale: float = 1.0, font_size_scale: float = 1.0):
        super().__init__(img_rgb, scale=scale, font_size_scale=font_size_scale)
        self.metadata = SimpleNamespace() if metadata is None else metadata
        self.keypoint_threshold = 0.05
        self._point_radius = max(float(np.sqrt(np.prod(self.output.canvas_size))) / 180, 2.0) / self._stretch.mean()

    def overlay_instances(
        self,
        *,
        boxes: Any = None,
        labels: list[str] | None = None,
        masks: Any = None,
        keypoints: Any = None,
        assigned_colors: list | None = None,
        alpha: float = 0.5,
    ) -> VisImage:
        """Instances by boxes (R, 4 or 5), masks, keypoints (R, K, 3) and labels, each of length R or None.

        Masks lie under outlines, keypoints and labels; labels keep off small objects and off each other.
        """
        boxes = to_boxes(boxes)
        masks = to_masks(masks, self.output.height, self.output.width)
        keypoints = to_keypoints(keypoints)
        count = _common_length(
            boxes=boxes, labels=labels, masks=masks, keypoints=keypoints, assigned_colors=assigned_colors
        )
        if count == 0:
            return self.output
        if boxes is not None and boxes.shape[1] == 5:
            return self.overlay_rotated_instances(boxes, labels, assigned_colors)
        colors = _instance_colors(assigned_colors, count)
        targets = _label_targets(boxes, masks, keypoints, count)
        order = np.argsort(-(targets[:, 2:] - targets[:, :2]).prod(axis=1), kind="stable")  # large ones below
        if masks is not None:
            self._overlay_masks([(masks[i], colors[i]) for i in order], alpha)
        if boxes is not None:
            for i in order:
                self.draw_box(boxes[i], edge_color=colors[i], alpha=0.9)
        if keypoints is not None:
            for i in order:
                self.draw_and_connect_keypoints(keypoints[i])
        if labels is not None:
            self._put_labels(labels, targets, colors, order[::-1])
        return self.output

    def overlay_rotated_instances(
        self, boxes: Any = None, labels: list[str] | None = None, assigned_colors: list | None = None
    ) -> VisImage:
        """Rotated boxes (R, 5): centre x, y, width, height, degrees counter-clockwise."""
        boxes = to_boxes(boxes)
        count = _common_length(boxes=boxes, labels=labels, assigned_colors=assigned_colors)
        if count == 0:
            return self.output
        colors = _instance_colors(assigned_colors, count)
        order = np.argsort(-boxes[:, 2] * boxes[:, 3], kind="stable")
        for i in order:
            self.draw_rotated_box_with_label(boxes[i], alpha=0.9, edge_color=colors[i])
        if labels is not None:
            targets = rotated_bounds(np.stack([rotated_corners(box) for box in boxes]))  # (R, 4)
            self._put_labels(labels, targets, colors, order[::-1])
        return self.output

    def draw_and_connect_keypoints(self, keypoints: Any) -> VisImage:
        """One instance's keypoints (K, 3) x, y, score: those over `keypoint_threshold`, joined by the metadata's rules.

        Where the names are COCO's, the nose is joined with the middle of the shoulders, and this with the hips'.
        """
        keypoints = as_array(keypoints)
        names = getattr(self.metadata, "keypoint_names", None) or [str(i) for i in range(len(keypoints))]
        named = zip(names, keypoints.tolist(), strict=False)
        seen = {name: (x, y) for name, (x, y, score) in named if score > self.keypoint_threshold}
        for first, second, color in getattr(self.metadata, "keypoint_connection_rules", None) or ():
            if first in seen and second in seen:
                self._join(seen[first], seen[second], tuple(c / 255 for c in color))
        self._join_body(seen)
        for point in seen.values():
            self.draw_circle(point, color="red", radius=self._point_radius)
        return self.output

    def _join_body(self, seen: dict[str, tuple[float, float]]) -> None:
        if not {"left_shoulder", "right_shoulder"} <= seen.keys():
            return
        neck = np.mean([seen["left_shoulder"], seen["right_shoulder"]], axis=0)
        if "nose" in seen:
            self._join(seen["nose"], neck, "red")
        if {"left_hip", "right_hip"} <= seen.keys():
            self._join(neck, np.mean([seen["left_hip"], seen["right_hip"]], axis=0), "red")

    def _join(self, first: Any, second: Any, color: Any) -> None:
        self.draw_line([first[0], second[0]], [first[1], second[1]], color)

    def _overlay_masks(self, painted: list[tuple[GenericMask, tuple[float, ...]]], alpha: float) -> None:
        """Masks with their colours, the first lowest, in one layer; then their outlines."""
        layer = MaskLayer(self.output.canvas_size)
        for mask, color in painted:
            layer.paint_patch(*mask.patch_on_canvas(*self.output.canvas_size), color, alpha)
        self.output.add_pixels(layer.pixels(), zorder=LAYER_MASK)
        for mask, color in painted:
            for ring in mask.outlines():
                self._draw_outline(ring, lighten(color, 0.15), alpha=0.9, width=0.6 * self._line_width)

    def _draw_segments(
        self,
        segments: list[tuple[np.ndarray, tuple[float, ...], str]],
        area_threshold: float | None,
        alpha: float,
        *,
        edge_color: Any,
        draw_text: bool = True,
    ) -> VisImage:
        """Segments (mask (H, W) bool, colour, label) that do not overlap; labels deep inside them."""
        size = self.output.height, self.output.width
        smallest = max(10 if area_threshold is None else area_threshold, 1)
        shown = [(GenericMask(mask, *size), color, label) for mask, color, label in segments if mask.sum() >= smallest]
        if not shown:
            return self.output
        layer = MaskLayer(self.output.canvas_size)
        for mask, color, _ in shown:
            layer.paint_patch(*mask.patch_on_canvas(*self.output.canvas_size), color, alpha)
        self.output.add_pixels(layer.pixels(), zorder=LAYER_MASK)
        if edge_color is not None:
            for mask, _, _ in shown:
                for ring in mask.outlines():
                    self._draw_outline(ring, edge_color, alpha=0.6, width=0.4 * self._line_width)
        if draw_text:
            placer = LabelPlacer(*self.output.canvas_size)
            for mask, color, label in sorted(shown, key=lambda entry: entry[0].area()):
                self._put_label_in_mask(label, mask, color, placer)
        return self.output

    def _put_labels(self, labels: Sequence[str], targets: np.ndarray, colors: list, order: np.ndarray) -> None:
        """Labels of boxes (R, 4), in the order in which they choose their place."""
        placer = LabelPlacer(*self.output.canvas_size, targets * np.tile(self._stretch, 2))
        for i in order:
            if labels[i] and targets[i].any():
                self._put_label(labels[i], targets[i], colors[i], placer)


def _common_length(**fields: Sequence | None) -> int:
    """The number of instances, which all given fields must share; 0 where none is given."""
    lengths = {name: len(values) for name, values in fields.items() if values is not None}
    if len(set(lengths.values())) > 1:
        raise BadValue(f"instances to draw differ in number: {lengths}")
    return next(iter(lengths.values()), 0)


def _instance_colors(assigned: Sequence | None, count: int) -> list[tuple[float, float, float]]:
    """The assigned colours as RGB in [0, 1], else one of the palette for each instance."""
    if assigned is None:
        return [palette_color(i) for i in range(count)]
    return [palette_color(i) if color is None else to_rgb(color) for i, color in enumerate(assigned)]


def _label_targets(
    boxes: np.ndarray | None, masks: list[GenericMask] | None, keypoints: np.ndarray | None, count: int
) -> np.ndarray:
    """The box of each instance, from its mask or its seen keypoints where it has none. Returns (R, 4) XYXY.

    Where there is nothing to see of an instance, the box is empty.
    """
    if boxes is not None:
        return boxes
    if masks is not None:
        return np.stack([mask.bbox() for mask in masks])
    targets = np.zeros((count, 4))
    for target, points in zip(targets, [] if keypoints is None else keypoints, strict=False):
        seen = points[points[:, 2] > 0, :2]
        if len(seen):
            target[:] = *seen.min(axis=0), *seen.max(axis=0)
    return targets
