"""Predictions of a config's model, drawn over images and videos."""

from collections.abc import Iterable, Iterator
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np

from det2lite.apis import DetectionResult, VideoReader
from det2lite.apis.classes import Classes
from det2lite.apis.drawing import VideoDrawer, draw_result
from det2lite.apis.predictions import result_of
from det2lite.checkpoint import read_run_info
from det2lite.config import CfgNode
from det2lite.data import MetadataCatalog
from det2lite.engine.defaults import DefaultPredictor
from det2lite.utils.errors import BadValue
from det2lite.utils.visualizer import ColorMode, VisImage


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
        return predictions, draw_result(image, self._result(image, predictions), self.instance_mode)

    def run_on_video(self, video: cv2.VideoCapture | Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """An open video, or its frames (H, W, 3) BGR. Yields the frames with what was found in them, BGR."""
        drawer = VideoDrawer(self.metadata, self.instance_mode)
        for frame in VideoReader(video) if isinstance(video, cv2.VideoCapture) else video:
            yield drawer.draw(frame, self._result(frame, self._predict(frame)))

    def _result(self, image: np.ndarray, predictions: dict[str, Any]) -> DetectionResult:
        return result_of(predictions, image.shape[:2], Classes(metadata=self.metadata))

    def _predict(self, image: np.ndarray) -> dict[str, Any]:
        predictions = dict(self.predictor(image))
        instances = predictions.get("instances")
        if instances is not None and instances.has("scores"):
            predictions["instances"] = instances[instances.scores >= self.confidence_threshold]
        return predictions
