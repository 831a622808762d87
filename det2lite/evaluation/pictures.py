"""Pictures of a test run: the ground truth beside what the model found."""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from det2lite.data import Metadata
from det2lite.data.detection_utils import read_image
from det2lite.evaluation.evaluator import DatasetEvaluator
from det2lite.utils.visualizer import Visualizer


class PictureMaker(DatasetEvaluator):
    """Draws each image of a data set twice, ground truth left and predictions right; gives no metrics.

    samples: of the data set, in the standard format; without annotations only predictions are drawn. folder: where
    JPEG files go, named like the images, and by their ids too where two have one name. show: called with each picture,
    (H, W, 3) BGR. min_score: of the detections that are drawn.
    """

    def __init__(
        self, samples: Sequence[dict], metadata: Metadata, *, folder: str | None = None,
        show: Callable[[np.ndarray], Any] | None = None, min_score: float = 0.5,
    ):  # fmt: skip
        self._sample_of = {sample["image_id"]: sample for sample in samples}
        self._uses = Counter(Path(sample["file_name"]).stem for sample in samples)
        self._metadata, self._folder, self._show, self._min_score = metadata, folder, show, min_score

    def process(self, inputs: list[dict], outputs: list[dict]) -> None:
        for image, output in zip(inputs, outputs, strict=True):
            sample = self._sample_of[image["image_id"]]
            picture = self._draw(sample, output)[:, :, ::-1]
            if self._folder is not None:
                os.makedirs(self._folder, exist_ok=True)
                cv2.imwrite(os.path.join(self._folder, self._name(sample)), picture)
            if self._show is not None:
                self._show(np.ascontiguousarray(picture))

    def _name(self, sample: dict) -> str:
        stem = Path(sample["file_name"]).stem
        number = str(sample["image_id"]).replace(os.sep, "_")
        return f"{stem}.jpg" if self._uses[stem] == 1 else f"{stem}_{number}.jpg"

    def _draw(self, sample: dict, output: dict[str, Any]) -> np.ndarray:
        """(H, 2 * W, 3) RGB, or (H, W, 3) without ground truth."""
        image = read_image(sample["file_name"], "RGB")
        found = Visualizer(image, self._metadata)
        if "panoptic_seg" in output:
            segments, info = output["panoptic_seg"]
            found.draw_panoptic_seg(segments.to("cpu"), info)
        elif "instances" in output:
            instances = output["instances"].to("cpu")
            found.draw_instance_predictions(instances[instances.scores >= self._min_score])
        elif "sem_seg" in output:
            found.draw_sem_seg(output["sem_seg"].argmax(dim=0).to("cpu"))
        parts = [found.output.get_image()]
        if any(key in sample for key in ("annotations", "sem_seg_file_name", "pan_seg_file_name")):
            parts.insert(0, Visualizer(image, self._metadata).draw_dataset_dict(sample).get_image())
        return np.concatenate(parts, axis=1)
