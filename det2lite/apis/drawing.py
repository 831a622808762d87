"""Pictures and video frames of what was found."""

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import torch

from det2lite.apis.result import DetectionResult
from det2lite.structures import Boxes, Instances, RotatedBoxes
from det2lite.utils.video_visualizer import VideoVisualizer
from det2lite.utils.vis_mask import CroppedMask
from det2lite.utils.visualizer import ColorMode, VisImage, Visualizer

PROPOSALS_SHOWN = 50
MAX_PIXELS = 16_000_000  # larger pictures are scaled down to this: drawing takes about 60 bytes a pixel


def draw_result(image: np.ndarray, result: DetectionResult, mode: ColorMode = ColorMode.IMAGE) -> VisImage:
    """image: (H, W, 3) BGR, which `result` was found in. A picture of more than 16 million pixels is scaled down."""
    image, result = _bounded(image, result)
    metadata = result.classes.metadata
    visualizer = Visualizer(image[:, :, ::-1], metadata, instance_mode=mode)
    if result.panoptic_seg is not None:
        return visualizer.draw_panoptic_seg(*result.panoptic_seg)
    if result.sem_seg is not None:
        visualizer.draw_sem_seg(result.sem_seg)
    if result.are_proposals:
        return visualizer.overlay_instances(boxes=result.boxes[:PROPOSALS_SHOWN])
    if len(result):
        visualizer.limit_sizes(_usual_side(result))
        visualizer.draw_instance_predictions(_as_instances(result))
    return visualizer.get_output()


class VideoDrawer:
    """Draws what was found in the frames of one video, in their order; an object keeps its colour."""

    def __init__(self, metadata: Any, mode: ColorMode = ColorMode.IMAGE):
        self._visualizer = VideoVisualizer(metadata, mode)

    def draw(self, frame: np.ndarray, result: DetectionResult) -> np.ndarray:
        """frame: (H, W, 3) BGR. Returns the picture (H, W, 3) BGR."""
        picture, visualizer = frame[:, :, ::-1], self._visualizer
        if result.panoptic_seg is not None:
            picture = visualizer.draw_panoptic_seg_predictions(picture, *result.panoptic_seg).get_image()
        else:
            if result.sem_seg is not None:
                picture = visualizer.draw_sem_seg(picture, result.sem_seg).get_image()
            if result.are_proposals:
                drawing = Visualizer(picture, visualizer.metadata)
                picture = drawing.overlay_instances(boxes=result.boxes[:PROPOSALS_SHOWN]).get_image()
            else:  # frames without any object count, too: objects are forgotten after some of them
                self._suit_sizes(result)
                picture = visualizer.draw_instance_predictions(picture, _as_instances(result)).get_image()
        return np.ascontiguousarray(picture[:, :, ::-1])

    def _suit_sizes(self, result: DetectionResult) -> None:
        """Lines and text suit the objects; their size changes little from frame to frame."""
        if len(result):
            side, before = _usual_side(result), self._visualizer.object_side
            self._visualizer.object_side = side if before is None else 0.9 * before + 0.1 * side


def _usual_side(result: DetectionResult) -> float:
    """Median over the objects of the shorter side of their boxes, in pixels."""
    return float(np.median((result.boxes[:, 2:] - result.boxes[:, :2]).min(axis=1)))


def _as_instances(result: DetectionResult) -> Instances:
    """What the visualizers read; masks stay crops."""
    rotated = result.rotated_boxes
    boxes = Boxes(torch.from_numpy(result.boxes)) if rotated is None else RotatedBoxes(torch.from_numpy(rotated))
    instances = Instances(result.image_size, pred_boxes=boxes)
    instances.scores = torch.from_numpy(result.scores)
    instances.pred_classes = torch.from_numpy(result.class_ids)
    if result.keypoints is not None:
        instances.pred_keypoints = torch.from_numpy(result.keypoints)
    if result.cropped_masks is not None:
        masks, size = result.cropped_masks, result.image_size
        corners = masks.windows[:, :2].tolist()
        instances.pred_masks = [CroppedMask(masks.crop(i), *corners[i], *size) for i in range(len(masks))]
    return instances


def _bounded(image: np.ndarray, result: DetectionResult) -> tuple[np.ndarray, DetectionResult]:
    """Image and result at a size of at most MAX_PIXELS."""
    height, width = image.shape[:2]
    factor = (MAX_PIXELS / (height * width)) ** 0.5
    if factor >= 1:
        return image, result
    size = max(1, int(width * factor)), max(1, int(height * factor))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA), _resized(result, *size)


def _resized(result: DetectionResult, width: int, height: int) -> DetectionResult:
    stretch = np.array([width / result.image_size[1], height / result.image_size[0]], dtype=np.float32)
    changed: dict[str, Any] = {"image_size": (height, width), "boxes": result.boxes * np.tile(stretch, 2)}
    if result.cropped_masks is not None:
        changed["cropped_masks"] = result.cropped_masks.scaled(width, height)
    if result.keypoints is not None:
        changed["keypoints"] = result.keypoints * np.append(stretch, 1).astype(np.float32)
    if result.rotated_boxes is not None:  # both sides are scaled by the same factor, but for rounding
        changed["rotated_boxes"] = result.rotated_boxes * np.array([*stretch, *stretch, 1], dtype=np.float32)
    if result.sem_seg is not None:
        changed["sem_seg"] = _resized_map(result.sem_seg, width, height)
    if result.panoptic_seg is not None:
        ids, segments = result.panoptic_seg
        changed["panoptic_seg"] = _resized_map(ids, width, height), segments
    return replace(result, **changed)


def _resized_map(ids: np.ndarray, width: int, height: int) -> np.ndarray:
    return cv2.resize(ids.astype(np.int32), (width, height), interpolation=cv2.INTER_NEAREST)
