"""Panoptic feature pyramid network, arXiv 1901.02446: instances and semantic segmentation on one pyramid."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from det2lite.config import CfgNode, configurable
from det2lite.modeling.meta_arch.build import META_ARCH_REGISTRY
from det2lite.modeling.meta_arch.common import output_size
from det2lite.modeling.meta_arch.rcnn import GeneralizedRCNN
from det2lite.modeling.meta_arch.semantic_seg import build_sem_seg_head, sem_seg_targets
from det2lite.modeling.postprocessing import detector_postprocess, sem_seg_labels, sem_seg_postprocess
from det2lite.structures import Instances, ROIMasks
from det2lite.structures.mask_paste import mask_regions, paste_in_region
from det2lite.utils.errors import BadCall

__all__ = ["PanopticFPN", "combine_semantic_and_instance_outputs"]


@META_ARCH_REGISTRY.register()
class PanopticFPN(GeneralizedRCNN):
    """`GeneralizedRCNN` with a head for semantic segmentation, whose class 0 stands for all things.

    combine_overlap_thresh, combine_stuff_area_thresh, combine_instances_score_thresh: see
    `combine_semantic_and_instance_outputs`. combine: False leaves `panoptic_seg` out of the predictions.
    """

    @configurable
    def __init__(
        self,
        *,
        sem_seg_head: nn.Module,
        combine_overlap_thresh: float = 0.5,
        combine_stuff_area_thresh: float = 4096,
        combine_instances_score_thresh: float = 0.5,
        combine: bool = True,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.sem_seg_head = sem_seg_head
        self.combine_overlap_thresh = combine_overlap_thresh
        self.combine_stuff_area_thresh = combine_stuff_area_thresh
        self.combine_instances_score_thresh = combine_instances_score_thresh
        self.combine = combine

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        explicit = super().from_config(cfg)
        combine = cfg.MODEL.PANOPTIC_FPN.COMBINE
        explicit["sem_seg_head"] = build_sem_seg_head(cfg, explicit["backbone"].output_shape())
        explicit["combine_overlap_thresh"] = combine.OVERLAP_THRESH
        explicit["combine_stuff_area_thresh"] = combine.STUFF_AREA_LIMIT
        explicit["combine_instances_score_thresh"] = combine.INSTANCES_CONFIDENCE_THRESH
        explicit["combine"] = combine.ENABLED
        _scale_losses(explicit["roi_heads"], cfg.MODEL.PANOPTIC_FPN.INSTANCE_LOSS_WEIGHT)
        return explicit

    def forward(self, batched_inputs: list[dict[str, Any]]) -> dict[str, torch.Tensor] | list[dict[str, Any]]:
        """As `GeneralizedRCNN.forward`, with `sem_seg (H, W)` in training's inputs.

        A prediction has `instances`, `sem_seg (K, height, width)` and `panoptic_seg`, which is what
        `combine_semantic_and_instance_outputs` returns.
        """
        if not self.training:
            return self.inference(batched_inputs)
        images = self.preprocess_image(batched_inputs)
        features = self.backbone(images.tensor)
        if "sem_seg" not in batched_inputs[0]:
            raise BadCall("training needs 'sem_seg' in its inputs")
        targets = sem_seg_targets(batched_inputs, self.backbone, self.sem_seg_head.ignore_value)
        _, losses = self.sem_seg_head(features, self._move_to_current_device(targets))
        gt_instances = self.ground_truth(batched_inputs)
        proposals, proposal_losses = self._propose(images, features, batched_inputs, gt_instances)
        _, detector_losses = self.roi_heads(images, features, proposals, gt_instances)
        return {**losses, **proposal_losses, **detector_losses}

    def inference(
        self, batched_inputs: list[dict[str, Any]], do_postprocess: bool = True
    ) -> list[dict[str, Any]] | tuple[list[Instances], torch.Tensor]:
        """Predictions on a batch; without `do_postprocess` the instances and the logits `(N, K, H, W)` as they are."""
        images = self.preprocess_image(batched_inputs)
        features = self.backbone(images.tensor)
        logits, _ = self.sem_seg_head(features, None)
        proposals, _ = self._propose(images, features, batched_inputs)
        results, _ = self.roi_heads(images, features, proposals, None)
        if not do_postprocess:
            return results, logits
        parts = zip(results, logits, batched_inputs, images.image_sizes, strict=True)
        return [self._output(instances, own, size, *output_size(x, size)) for instances, own, x, size in parts]

    def _output(
        self, instances: Instances, logits: torch.Tensor, image_size: tuple[int, int], height: int, width: int
    ) -> dict[str, Any]:
        sem_seg = sem_seg_postprocess(logits, image_size, height, width)
        instances = detector_postprocess(instances, height, width)
        return {"sem_seg": sem_seg, "instances": instances, **self._combined(instances, sem_seg.argmax(dim=0))}

    def compact_output(self, instances: Instances, logits: torch.Tensor, height: int, width: int) -> dict[str, Any]:
        """A prediction for an image of `height x width` pixels that takes little more memory than a few maps of it.

        instances, logits: of `inference` without `do_postprocess`. As a prediction, but the masks stay `ROIMasks`, and
        in place of the logits `sem_seg` there is their greatest class, `sem_seg_labels (height, width)` int64.
        """
        labels = sem_seg_labels(logits, instances.image_size, height, width)
        instances = detector_postprocess(instances, height, width, paste_masks=False)
        return {"sem_seg_labels": labels, "instances": instances, **self._combined(instances, labels)}

    def _combined(self, instances: Instances, labels: torch.Tensor) -> dict[str, Any]:
        if not self.combine:
            return {}
        thresholds = self.combine_overlap_thresh, self.combine_stuff_area_thresh, self.combine_instances_score_thresh
        return {"panoptic_seg": combine_semantic_and_instance_outputs(instances, labels, *thresholds)}


def _scale_losses(roi_heads: nn.Module, factor: float) -> None:
    """Scales the losses of the heads, named as in `StandardROIHeads`."""
    if factor == 1.0:
        return
    predictors = roi_heads.box_predictor
    for predictor in predictors if isinstance(predictors, nn.ModuleList) else [predictors]:
        names = ("loss_cls", "loss_box_reg")
        predictor.loss_weight = {name: factor * predictor.loss_weight.get(name, 1.0) for name in names}
    for name in ("mask_head", "keypoint_head"):
        if hasattr(roi_heads, name):
            getattr(roi_heads, name).loss_weight *= factor


def combine_semantic_and_instance_outputs(
    instance_results: Instances,
    semantic_results: torch.Tensor,
    overlap_threshold: float,
    stuff_area_thresh: float,
    instances_score_thresh: float,
) -> tuple[torch.Tensor, list[dict[str, Any]]]:
    """Segments without overlap: instances from the best one on, and stuff where none of them is.

    instance_results: with `pred_masks (R, H, W)` bool, or `ROIMasks` of its `pred_boxes`, each of which is pasted alone
    and only while it is looked at; `scores` and `pred_classes`. semantic_results: `(H, W)`, a
    stuff class or 0. An instance is left out that scores below `instances_score_thresh`, or of which a share above
    `overlap_threshold` is covered already; stuff with fewer pixels than `stuff_area_thresh`, too.
    Returns the id of each pixel's segment `(H, W)` int32, 0 for none, and a dict a segment: `id`, `isthing`,
    `category_id`; `score` and `instance_id`, its row, of things; `area` of stuff. The device is waited for once for
    things and once for stuff, not for each segment.
    """
    panoptic = torch.zeros_like(semantic_results, dtype=torch.int32)
    order = instance_results.scores.argsort(descending=True, stable=True)
    usable = instance_results.scores[order] >= instances_score_thresh
    last_id = panoptic.new_zeros(())
    segment_ids = []
    for (mask, window), scores_enough in zip(_masks_in(instance_results, order), usable, strict=True):
        part = panoptic[window]  # a view of where the mask may be
        area = mask.sum()
        free = mask & (part == 0)
        covered = area - free.sum()
        kept = scores_enough & (area > 0) & (covered <= overlap_threshold * area)
        last_id = last_id + kept
        part.copy_(torch.where(free & kept, last_id.to(torch.int32), part))
        segment_ids.append(torch.where(kept, last_id, 0))
    things = _things(instance_results, order, segment_ids)
    return _add_stuff(panoptic, semantic_results, stuff_area_thresh, things)


def _masks_in(instances: Instances, order: torch.Tensor) -> Iterator[tuple[torch.Tensor, tuple[slice, slice]]]:
    """The masks in an order, each `(h, w)` bool with the window of the image that it is of, rows and columns."""
    masks = instances.pred_masks
    if not isinstance(masks, ROIMasks):
        for position in range(len(order)):  # never a copy of all, which may be large
            yield masks.index_select(0, order[position : position + 1])[0].bool(), (slice(None), slice(None))
        return
    height, width = instances.image_size
    masks, boxes = masks.tensor[order], instances.pred_boxes.tensor[order]
    regions = [[0, 0, width, height]] * len(masks)
    if masks.device.type == "cpu":  # an accelerator would be waited for
        regions = mask_regions(boxes, height, width).tolist()
    for position, (x0, y0, x1, y1) in enumerate(regions):
        one, window = slice(position, position + 1), (slice(y0, max(y0, y1)), slice(x0, max(x0, x1)))
        yield paste_in_region(masks[one], boxes[one], (x0, y0, x1, y1), 0.5), window


def _things(instances: Instances, order: torch.Tensor, segment_ids: list[torch.Tensor]) -> list[dict[str, Any]]:
    if not segment_ids:
        return []
    ids, rows = torch.stack(segment_ids).tolist(), order.tolist()
    scores, classes = instances.scores.tolist(), instances.pred_classes.tolist()
    return [
        {"id": i, "isthing": True, "score": scores[row], "category_id": classes[row], "instance_id": row}
        for i, row in zip(ids, rows, strict=True)
        if i > 0
    ]


def _add_stuff(
    panoptic: torch.Tensor, semantic: torch.Tensor, area_thresh: float, things: list[dict[str, Any]]
) -> tuple[torch.Tensor, list[dict[str, Any]]]:
    """Gives pixels without a segment to the large ones of the stuff classes."""
    free = panoptic == 0
    areas = torch.bincount(torch.where(free, semantic, 0).flatten())
    areas = areas.tolist()
    segments, id_of_label = list(things), [0] * max(len(areas), 1)
    for label, area in enumerate(areas):
        if label > 0 and area > 0 and area >= area_thresh:
            id_of_label[label] = len(segments) + 1
            segments.append({"id": len(segments) + 1, "isthing": False, "category_id": label, "area": area})
    ids = panoptic.new_tensor(id_of_label)
    return torch.where(free, ids[torch.where(free, semantic, 0)], panoptic), segments
