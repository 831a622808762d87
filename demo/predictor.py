"""Predictions of a config's model, drawn over images and videos."""

from collections.abc import Iterable, Iterator
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
from media import VideoReader

from det2lite.checkpoint.run_info import read_run_info
from det2lite.config import CfgNode
from det2lite.data import MetadataCatalog
from det2lite.engine.defaults import DefaultPredictor
from det2lite.utils.errors import BadValue
from det2lite.utils.video_visualizer import VideoVisualizer
from det2lite.utils.visualizer import ColorMode, VisImage, Visualizer

PROPOSALS_SHOWN = 50


def metadata_of(cfg: CfgNode) -> Any:
    """Class names and colours: of the first test or training set that has any, else those in the checkpoint."""
    for name in (*cfg.DATASETS.TEST[:1], *cfg.DATASETS.TRAIN[:1]):
        if name in MetadataCatalog:
            metadata = MetadataCatalog.get(name)
            if metadata.get("thing_classes") or metadata.get("stuff_classes"):
                return metadata
    return SimpleNamespace(thing_classes=read_run_info(cfg.MODEL.WEIGHTS).get("class_names") or None)


class VisualizationDemo:
    """A model that predicts on BGR images (H, W, 3) as `cv2` reads them, and draws what it found.

    Detections with a score under `confidence_threshold` are not drawn.
    """

    def __init__(self, cfg: CfgNode, instance_mode: ColorMode = ColorMode.IMAGE, confidence_threshold: float = 0.0):
        if not cfg.MODEL.WEIGHTS:
            raise BadValue("MODEL.WEIGHTS is empty: there is nothing to predict with; add --opts MODEL.WEIGHTS FILE")
        self.predictor = DefaultPredictor(cfg)
        self.metadata = metadata_of(cfg)
        self.instance_mode = instance_mode
        self.confidence_threshold = confidence_threshold

    def run_on_image(self, image: np.ndarray) -> tuple[dict[str, Any], VisImage]:
        """image: (H, W, 3) BGR. Returns the model's predictions and the picture."""
        predictions = self._predict(image)
        visualizer = Visualizer(image[:, :, ::-1], self.metadata, instance_mode=self.instance_mode)
        if predictions.get("panoptic_seg") is not None:
            panoptic, segments = predictions["panoptic_seg"]
            return predictions, visualizer.draw_panoptic_seg(panoptic, segments)
        if "sem_seg" in predictions:
            visualizer.draw_sem_seg(predictions["sem_seg"].argmax(dim=0))
        if "instances" in predictions:
            visualizer.draw_instance_predictions(predictions["instances"].to("cpu"))
        elif "proposals" in predictions:
            visualizer.overlay_instances(boxes=predictions["proposals"].proposal_boxes[:PROPOSALS_SHOWN])
        return predictions, visualizer.get_output()

    def run_on_video(self, video: cv2.VideoCapture | Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """An open video, or its frames (H, W, 3) BGR. Yields the frames with what was found in them, BGR."""
        visualizer = VideoVisualizer(self.metadata, self.instance_mode)
        for frame in VideoReader(video) if isinstance(video, cv2.VideoCapture) else video:
            predictions = self._predict(frame)
            picture = self._draw_frame(visualizer, frame[:, :, ::-1], predictions)
            yield np.ascontiguousarray(picture[:, :, ::-1])

    def _draw_frame(self, visualizer: VideoVisualizer, frame: np.ndarray, predictions: dict[str, Any]) -> np.ndarray:
        """frame: (H, W, 3) RGB. Returns the picture, RGB."""
        if predictions.get("panoptic_seg") is not None:
            return visualizer.draw_panoptic_seg_predictions(frame, *predictions["panoptic_seg"]).get_image()
        if "sem_seg" in predictions:
            frame = visualizer.draw_sem_seg(frame, predictions["sem_seg"].argmax(dim=0)).get_image()
        if "instances" in predictions:
            frame = visualizer.draw_instance_predictions(frame, predictions["instances"].to("cpu")).get_image()
        elif "proposals" in predictions:
            boxes = predictions["proposals"].proposal_boxes[:PROPOSALS_SHOWN]
            frame = Visualizer(frame, self.metadata).overlay_instances(boxes=boxes).get_image()
        return frame

    def _predict(self, image: np.ndarray) -> dict[str, Any]:
        predictions = dict(self.predictor(image))
        instances = predictions.get("instances")
        if instances is not None and instances.has("scores"):
            predictions["instances"] = instances[instances.scores >= self.confidence_threshold]
        return predictions
