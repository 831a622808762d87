"""Test-time augmentation: predictions on several sizes and reflections of an image, merged to one."""

import copy
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from fvcore.transforms.transform import HFlipTransform, NoOpTransform, Transform, TransformList
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from det2lite.config import CfgNode, configurable
from det2lite.data.detection_utils import read_image
from det2lite.data.transforms import RandomFlip, ResizeShortestEdge, ResizeTransform, apply_augmentations
from det2lite.layers import batched_nms
from det2lite.modeling.meta_arch import GeneralizedRCNN
from det2lite.modeling.postprocessing import detector_postprocess
from det2lite.structures import Boxes, Instances
from det2lite.utils.errors import BadValue

__all__ = ["DatasetMapperTTA", "GeneralizedRCNNWithTTA", "SemanticSegmentorWithTTA", "build_model_with_tta"]

_MIN_SCORE = 1e-8  # the model has applied its own threshold


class DatasetMapperTTA:
    """Makes several inputs of one: resized to each of `min_sizes`, and each reflected too where `flip`.

    min_sizes: pixels of the shorter edge. max_size: pixels, upper bound of the longer edge.
    """

    @configurable
    def __init__(self, min_sizes: list[int], max_size: int, flip: bool):
        self.min_sizes = min_sizes
        self.max_size = max_size
        self.flip = flip

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        return {"min_sizes": cfg.TEST.AUG.MIN_SIZES, "max_size": cfg.TEST.AUG.MAX_SIZE, "flip": cfg.TEST.AUG.FLIP}

    def __call__(self, dataset_dict: dict[str, Any]) -> list[dict[str, Any]]:
        """dataset_dict: a model's input, with `image (C, H, W)` uint8 and the original `height` and `width`.

        Returns inputs with an augmented `image`, and `transforms`: the `TransformList` from the original image to it.
        """
        image = dataset_dict["image"].permute(1, 2, 0).numpy()  # (H, W, C)
        size, original = image.shape[:2], (dataset_dict["height"], dataset_dict["width"])
        before = NoOpTransform() if size == original else ResizeTransform(*original, *size)
        augmented = []
        for min_size in self.min_sizes:
            resize = ResizeShortestEdge(min_size, self.max_size)
            for augmentations in ([resize], [resize, RandomFlip(prob=1.0)])[: 2 if self.flip else 1]:
                new_image, transforms = apply_augmentations(augmentations, np.copy(image))
                others = {key: copy.deepcopy(value) for key, value in dataset_dict.items() if key != "image"}
                new_image = torch.from_numpy(np.array(new_image.transpose(2, 0, 1), order="C"))
                transforms = TransformList([before]) + transforms
                augmented.append({**others, "image": new_image, "transforms": transforms})
        return augmented


class _ModelWithTTA(nn.Module):
    """Base: a model, the mapper that makes several inputs of one, and how many of them are predicted on at a time."""

    def __init__(self, cfg: CfgNode, model: nn.Module, tta_mapper: Callable | None, batch_size: int):
        super().__init__()
        self.cfg = cfg.clone()
        self.model = model.module if isinstance(model, DistributedDataParallel) else model
        self.tta_mapper = DatasetMapperTTA(cfg) if tta_mapper is None else tta_mapper
        self.batch_size = batch_size

    def forward(self, batched_inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Inputs and outputs are the model's own; an input without `image` has it read from its `file_name`."""
        return [self._inference_one_image(self._complete(inputs)) for inputs in batched_inputs]

    def _complete(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """A copy with the image and the original size in it."""
        inputs = dict(inputs)
        if "image" not in inputs:
            image = read_image(inputs.pop("file_name"), self.cfg.INPUT.FORMAT)
            image = image if image.ndim == 3 else image[:, :, None]
            inputs["image"] = torch.from_numpy(np.array(image.transpose(2, 0, 1), order="C"))  # (C, H, W)
        inputs.setdefault("height", inputs["image"].shape[1])
        inputs.setdefault("width", inputs["image"].shape[2])
        return inputs

    def _augmented(self, inputs: dict[str, Any]) -> tuple[list[dict[str, Any]], list[TransformList]]:
        views = self.tta_mapper(inputs)
        return views, [view.pop("transforms") for view in views]

    def _inference_one_image(self, inputs: dict[str, Any]) -> dict[str, Any]:
        raise NotImplementedError


class GeneralizedRCNNWithTTA(_ModelWithTTA):
    """`GeneralizedRCNN` on augmented images: boxes of all views merged by NMS, masks averaged over the views.

    Keypoints, rotated boxes and precomputed proposals are not supported. Works on one original image at a time, in
    evaluation mode.
    """

    def __init__(self, cfg: CfgNode, model: nn.Module, tta_mapper: Callable | None = None, batch_size: int = 3):
        """model: may be wrapped for distributed training. tta_mapper: `DatasetMapperTTA(cfg)` by default; see there
        for what it returns. batch_size: augmented images in a forward pass."""
        super().__init__(cfg, model, tta_mapper, batch_size)
        _check_support(cfg, self.model)

    def _inference_one_image(self, inputs: dict[str, Any]) -> dict[str, Any]:
        original = inputs["height"], inputs["width"]
        views, transforms = self._augmented(inputs)
        with self._boxes_only():
            instances = self._predict(views)
        merged = self._merge_boxes(instances, transforms, original)
        if not self.cfg.MODEL.MASK_ON:
            return {"instances": merged}
        on_views = [_on_view(merged, view["image"], tfm) for view, tfm in zip(views, transforms, strict=True)]
        predicted = self._predict(views, on_views)
        masks = [_unflip(p.pred_masks, tfm) for p, tfm in zip(predicted, transforms, strict=True)]
        merged.pred_masks = torch.stack(masks).mean(dim=0)  # (R, 1, M, M)
        return {"instances": detector_postprocess(merged, *original)}

    @contextmanager
    def _boxes_only(self) -> Iterator[None]:
        """Heads for masks and keypoints are switched off inside, where the model has any."""
        heads = self.model.roi_heads
        before = {name: getattr(heads, name) for name in ("mask_on", "keypoint_on") if hasattr(heads, name)}
        try:
            for name in before:
                setattr(heads, name, False)
            yield
        finally:
            for name, value in before.items():
                setattr(heads, name, value)

    def _predict(
        self, views: list[dict[str, Any]], detected_instances: list[Instances] | None = None
    ) -> list[Instances]:
        """What the model finds on each view, in its frame; with `detected_instances` masks for their boxes."""
        outputs: list[Instances] = []
        for start in range(0, len(views), self.batch_size):
            part = slice(start, start + self.batch_size)
            given = None if detected_instances is None else detected_instances[part]
            outputs += self.model.inference(views[part], given, do_postprocess=False)
        return outputs

    def _merge_boxes(
        self, instances: list[Instances], transforms: list[TransformList], original: tuple[int, int]
    ) -> Instances:
        """Detections of all views on the original image, suppressed by class, best first."""
        boxes = [
            _apply_to_boxes(tfm.inverse(), i.pred_boxes.tensor) for i, tfm in zip(instances, transforms, strict=True)
        ]
        boxes = Boxes(torch.cat(boxes))  # (R, 4)
        scores = torch.cat([i.scores for i in instances])
        classes = torch.cat([i.pred_classes for i in instances])
        valid = torch.isfinite(boxes.tensor).all(dim=1) & (scores > _MIN_SCORE)
        boxes, scores, classes = boxes[valid], scores[valid], classes[valid]
        boxes.clip(original)
        keep = batched_nms(boxes.tensor, scores, classes, self.cfg.MODEL.ROI_HEADS.NMS_THRESH_TEST)
        limit = self.cfg.TEST.DETECTIONS_PER_IMAGE
        keep = keep[:limit] if limit >= 0 else keep
        return Instances(original, pred_boxes=boxes[keep], scores=scores[keep], pred_classes=classes[keep])


def _check_support(cfg: CfgNode, model: nn.Module) -> None:
    takes_boxes = isinstance(model, GeneralizedRCNN) and (
        "detected_instances" in inspect.signature(model.inference).parameters
    )
    if not takes_boxes:
        raise BadValue(f"GeneralizedRCNNWithTTA needs a GeneralizedRCNN, not a {type(model).__name__}")
    anchors = getattr(getattr(model, "proposal_generator", None), "anchor_generator", None)
    unsupported = {
        "keypoints": cfg.MODEL.KEYPOINT_ON,
        "precomputed proposals": cfg.MODEL.LOAD_PROPOSALS,
        "rotated boxes": getattr(anchors, "box_dim", 4) == 5,
    }
    for what, wanted in unsupported.items():
        if wanted:
            raise BadValue(f"test-time augmentation does not support {what}; set TEST.AUG.ENABLED False")


class SemanticSegmentorWithTTA(_ModelWithTTA):
    """A semantic segmentation model on augmented images: its outputs `sem_seg` are averaged on the original image."""

    def __init__(self, cfg: CfgNode, model: nn.Module, tta_mapper: Callable | None = None, batch_size: int = 1):
        """See `GeneralizedRCNNWithTTA`."""
        super().__init__(cfg, model, tta_mapper, batch_size)

    def _inference_one_image(self, inputs: dict[str, Any]) -> dict[str, Any]:
        views, transforms = self._augmented(inputs)
        total = None
        for start in range(0, len(views), self.batch_size):
            part = slice(start, start + self.batch_size)
            for output, tfm in zip(self.model(views[part]), transforms[part], strict=True):
                sem_seg = _unflip(output["sem_seg"], tfm)  # (K, H, W)
                total = sem_seg if total is None else total + sem_seg
        return {"sem_seg": total / len(views)}


def build_model_with_tta(cfg: CfgNode, model: nn.Module) -> nn.Module:
    """The model with the test-time augmentation of its kind. Raises `BadValue` for one that has none."""
    name = cfg.MODEL.META_ARCHITECTURE
    if name == "SemanticSegmentor":
        return SemanticSegmentorWithTTA(cfg, model)
    try:
        return GeneralizedRCNNWithTTA(cfg, model)
    except BadValue as error:
        raise BadValue(f"TEST.AUG.ENABLED with MODEL.META_ARCHITECTURE {name!r}: {error}") from None


def _apply_to_boxes(tfm: Transform, boxes: torch.Tensor) -> torch.Tensor:
    """boxes: (R, 4) XYXY."""
    # transforms are numpy's, and may write into what they are given
    moved = tfm.apply_box(boxes.detach().cpu().numpy().copy())
    return torch.as_tensor(moved, dtype=boxes.dtype).reshape(-1, 4).to(boxes.device)


def _on_view(instances: Instances, image: torch.Tensor, tfm: TransformList) -> Instances:
    """Detections on the original image, in the frame of an augmented one `(C, H, W)`."""
    boxes = Boxes(_apply_to_boxes(tfm, instances.pred_boxes.tensor))
    size = image.shape[1], image.shape[2]
    return Instances(size, pred_boxes=boxes, scores=instances.scores, pred_classes=instances.pred_classes)


def _unflip(maps: torch.Tensor, tfm: TransformList) -> torch.Tensor:
    """Maps `(..., H, W)`, reflected back where the view was a reflection. Sizes are the original's already."""
    num_flips = sum(isinstance(t, HFlipTransform) for t in tfm.transforms)
    return maps.flip(-1) if num_flips % 2 else maps
