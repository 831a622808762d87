"""Prediction with a trained model, from images to instances."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from det2lite.checkpoint import DetectionCheckpointer
from det2lite.config import CfgNode
from det2lite.data import Metadata, MetadataCatalog
from det2lite.data import transforms as T
from det2lite.engine.checks import resolve_class_counts
from det2lite.modeling import build_model
from det2lite.modeling.mixed_precision import for_inference
from det2lite.utils.errors import BadValue

__all__ = ["DefaultPredictor"]


class DefaultPredictor:
    """A model as MODEL.DEVICE, MODEL.WEIGHTS and INPUT say, for images as `cv2.imread` gives them.

    The weights have to fit the model; an error says what does not. A single image takes
    `predictor(image)`, several at once `predictor([image, image, ...])`, `batch_size` of them through the
    model at a time. Results are the model's, for each image a dict such as {"instances": Instances}.
    `metadata` is that of the first of DATASETS.TEST; where it names no classes, the checkpoint does. `run_info` is what
    the checkpoint says of the run that wrote it, see `checkpoint.run_info`.
    """

    batch_size = 8  # images of 800 x 1333 pixels at once: about 10 GB with ResNet-50-FPN

    def __init__(self, cfg: CfgNode) -> None:
        self.cfg = resolve_class_counts(cfg.clone())
        self.model = build_model(self.cfg)
        self.model.eval()
        loaded = DetectionCheckpointer(self.model).load(cfg.MODEL.WEIGHTS, strict=True)
        run = loaded.get("run")
        self.run_info: dict[str, Any] = run if isinstance(run, dict) else {}
        self.metadata = _metadata(cfg, self.run_info)
        self.aug = T.ResizeShortestEdge([cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MIN_SIZE_TEST], cfg.INPUT.MAX_SIZE_TEST)
        self.input_format = cfg.INPUT.FORMAT
        if self.input_format not in ("RGB", "BGR"):
            raise BadValue(f"INPUT.FORMAT is {self.input_format!r}; prediction knows 'BGR' and 'RGB'")

    def __call__(self, image: np.ndarray | Sequence[np.ndarray]) -> dict[str, Any] | list[dict[str, Any]]:
        """image: (H, W, 3) BGR of 0..255, or a list of such of any sizes. Returns a dict, or a list of them."""
        if isinstance(image, np.ndarray) and image.ndim != 4:
            return self._predict([image])[0]
        results = []
        for start in range(0, len(image), self.batch_size):
            results += self._predict(image[start : start + self.batch_size])
        return results

    def _predict(self, images: Sequence[np.ndarray]) -> list[dict[str, Any]]:
        return self.run([self.to_input(image) for image in images])

    def run(self, batched_inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """What the model finds, without gradients and in the precision of TEST.AMP, on inputs such as `to_input`'s."""
        with torch.no_grad():
            return for_inference(self.cfg, self.model)(batched_inputs)

    def to_input(self, image: np.ndarray) -> dict[str, Any]:
        """What the model takes for an image (H, W, 3) BGR: `image` (3, h, w), resized, and `height`, `width`."""
        if not isinstance(image, np.ndarray) or image.ndim != 3 or image.shape[2] != 3:
            got = f"shape {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
            raise BadValue(f"an image is a numpy array (H, W, 3) in BGR, not {got}")
        height, width = image.shape[:2]
        if self.input_format == "RGB":
            image = image[:, :, ::-1]
        image = self.aug.get_transform(image).apply_image(image)  # (h, w, 3)
        tensor = torch.as_tensor(np.ascontiguousarray(image.transpose(2, 0, 1)))  # (3, h, w)
        return {"image": tensor, "height": height, "width": width}


def _metadata(cfg: CfgNode, run: dict[str, Any]) -> Metadata | None:
    """What is known of the data set that is tested on; else the class names that the checkpoint carries."""
    metadata = MetadataCatalog.get(cfg.DATASETS.TEST[0]) if len(cfg.DATASETS.TEST) else None
    class_names = run.get("class_names")
    if not class_names or (metadata is not None and metadata.get("thing_classes")):
        return metadata
    return Metadata(name="" if metadata is None else metadata.name, thing_classes=list(class_names))
