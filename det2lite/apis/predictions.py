"""From a model's output for an image to a `DetectionResult`."""

from typing import Any

import numpy as np
import torch
from torch import nn

from det2lite.apis.classes import Classes
from det2lite.apis.masks import CroppedMasks
from det2lite.apis.result import DetectionResult
from det2lite.modeling import GeneralizedRCNN, PanopticFPN, SemanticSegmentor
from det2lite.modeling.postprocessing import detector_postprocess, sem_seg_labels
from det2lite.structures import ROIMasks
from det2lite.utils.vis_inputs import as_array

PROPOSAL = Classes(names=("object",))


class UnpastedMasks(nn.Module):
    """A model whose masks stay `ROIMasks` in the frame of their boxes, of which `result_of` makes crops.

    As pasted masks, a hundred objects of a very large image would take gigabytes; as would the logits of all classes
    at its size, in place of which there is the class of each pixel, `sem_seg_labels (H, W)`.
    """

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    @staticmethod
    def is_for(model: nn.Module) -> bool:
        """Whether it is a model of ours that finishes masks and maps, and not code of the model's own."""
        return any(
            all(getattr(type(model), step, None) is getattr(kind, step) for step in steps)
            for kind, steps in _FINISHED_HERE.items()
        )

    def forward(self, batched_inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """batched_inputs: with `height` and `width` of the wanted output."""
        sizes = [(inputs["height"], inputs["width"]) for inputs in batched_inputs]
        if isinstance(self.model, SemanticSegmentor):
            logits, on_input = self.model.logits(batched_inputs)
            parts = zip(logits, on_input, sizes, strict=True)
            return [{"sem_seg_labels": sem_seg_labels(own, size, *wanted)} for own, size, wanted in parts]
        found = self.model.inference(batched_inputs, do_postprocess=False)
        if isinstance(self.model, PanopticFPN):
            parts = zip(*found, sizes, strict=True)
            return [self.model.compact_output(instances, own, *size) for instances, own, size in parts]
        return [
            {"instances": detector_postprocess(instances, *size, paste_masks=False)}
            for instances, size in zip(found, sizes, strict=True)
        ]


_FINISHED_HERE = {
    GeneralizedRCNN: ("forward", "inference", "_postprocess"),
    PanopticFPN: ("forward", "inference", "_output"),
    SemanticSegmentor: ("forward", "logits"),
}


def result_of(
    predictions: dict[str, Any], image_size: tuple[int, int], classes: Classes, source: str | None = None
) -> DetectionResult:
    """predictions: what a model gives for one image: any of `instances`, `proposals`, `sem_seg` (or `sem_seg_labels`),
    `panoptic_seg`.

    image_size: (height, width) of the original image, which the predictions are for.
    """
    values: dict[str, Any] = {"image_size": tuple(image_size), "source": source, "classes": classes}
    if "instances" in predictions:
        values |= _of_instances(predictions["instances"])
    elif "proposals" in predictions:
        values |= _of_proposals(predictions["proposals"])
    else:
        none = np.zeros(0, dtype=np.float32)
        values |= {"boxes": none.reshape(0, 4), "scores": none, "class_ids": none.astype(np.int64)}
        values["finds_objects"] = False
    labels = predictions.get("sem_seg_labels")
    if predictions.get("sem_seg") is not None:
        labels = predictions["sem_seg"].argmax(dim=0)
    if labels is not None:
        values["sem_seg"] = as_array(labels).astype(np.int32)
    if predictions.get("panoptic_seg") is not None:
        ids, segments = predictions["panoptic_seg"]
        values["panoptic_seg"] = as_array(ids), segments
    return DetectionResult(**values)


def _of_instances(instances: Any) -> dict[str, Any]:
    count = len(instances)
    scores = as_array(instances.scores) if instances.has("scores") else np.ones(count)
    classes = as_array(instances.pred_classes) if instances.has("pred_classes") else np.zeros(count)
    values = {"scores": scores.astype(np.float32), "class_ids": classes.astype(np.int64)}
    if instances.has("pred_masks"):
        values["cropped_masks"] = _masks_of(instances)
    if instances.has("pred_keypoints"):
        values["keypoints"] = as_array(instances.pred_keypoints).astype(np.float32)
    if not instances.has("pred_boxes"):
        windows = values["cropped_masks"].windows if "cropped_masks" in values else np.zeros((count, 4))
        return values | {"boxes": windows.astype(np.float32)}
    return values | _of_boxes(instances.pred_boxes)


def _masks_of(instances: Any) -> CroppedMasks:
    masks = instances.pred_masks
    if isinstance(masks, ROIMasks):
        return CroppedMasks.from_roi_masks(masks.tensor, instances.pred_boxes.tensor, instances.image_size)
    return CroppedMasks.from_dense(torch.as_tensor(getattr(masks, "tensor", masks)))


def _of_boxes(boxes: Any) -> dict[str, Any]:
    array = as_array(boxes.tensor).astype(np.float32)
    if array.shape[1] == 4:
        return {"boxes": array}
    x, y, width, height = array[:, :4].T
    angle = np.deg2rad(array[:, 4])
    across = (np.abs(width * np.cos(angle)) + np.abs(height * np.sin(angle))) / 2
    down = (np.abs(width * np.sin(angle)) + np.abs(height * np.cos(angle))) / 2
    bounds = np.stack([x - across, y - down, x + across, y + down], axis=1)
    return {"boxes": bounds.astype(np.float32), "rotated_boxes": array}


def _of_proposals(proposals: Any) -> dict[str, Any]:
    logits = as_array(proposals.objectness_logits) if proposals.has("objectness_logits") else np.zeros(len(proposals))
    with np.errstate(over="ignore"):
        scores = (1 / (1 + np.exp(-logits.astype(np.float64)))).astype(np.float32)
    values = _of_boxes(proposals.proposal_boxes)
    class_ids = np.zeros(len(proposals), dtype=np.int64)
    return values | {"scores": scores, "class_ids": class_ids, "are_proposals": True, "classes": PROPOSAL}
