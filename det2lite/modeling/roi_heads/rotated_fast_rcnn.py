"""Region heads for rotated boxes, arXiv 1703.01086."""

from typing import Any

import torch

from det2lite.config import CfgNode, configurable
from det2lite.layers import ShapeSpec, batched_nms_rotated
from det2lite.modeling.box_coders.delta import Box2BoxTransformRotated
from det2lite.modeling.proposal_generator.proposal_utils import split_by_image
from det2lite.modeling.roi_heads.base import ROI_HEADS_REGISTRY
from det2lite.modeling.roi_heads.box_head import build_box_head
from det2lite.modeling.roi_heads.fast_rcnn import FastRCNNOutputLayers, candidates_above
from det2lite.modeling.roi_heads.standard import StandardROIHeads, pooler_from_config
from det2lite.structures import Instances, RotatedBoxes, pairwise_iou_rotated
from det2lite.utils.errors import BadValue

__all__ = ["RROIHeads", "RotatedFastRCNNOutputLayers", "fast_rcnn_inference_rotated"]


def fast_rcnn_inference_rotated(
    boxes: list[torch.Tensor],
    scores: list[torch.Tensor],
    image_shapes: list[tuple[int, int]],
    score_thresh: float,
    nms_thresh: float,
    topk_per_image: int,
) -> tuple[list[Instances], list[torch.Tensor]]:
    """`fast_rcnn_inference` of rotated boxes, `(R_i, K * 5)` or `(R_i, 5)` an image."""
    if not scores:
        return [], []
    num_classes = scores[0].shape[1] - 1
    boxes, scores, labels, image_of, row = candidates_above(boxes, scores, score_thresh, box_dim=5)
    for image, size in enumerate(image_shapes):
        clipped = RotatedBoxes(boxes).clone()
        clipped.clip(size)
        boxes = torch.where((image_of == image)[:, None], clipped.tensor, boxes)
    keep = batched_nms_rotated(boxes, scores, image_of * num_classes + labels, nms_thresh)  # best first
    kept = split_by_image(keep, image_of[keep], len(image_shapes), topk_per_image)
    instances = [
        Instances(size, pred_boxes=RotatedBoxes(boxes[own]), scores=scores[own], pred_classes=labels[own])
        for size, own in zip(image_shapes, kept, strict=True)
    ]
    return instances, [row[own] for own in kept]


def fast_rcnn_inference_single_image_rotated(
    boxes: torch.Tensor,
    scores: torch.Tensor,
    image_shape: tuple[int, int],
    score_thresh: float,
    nms_thresh: float,
    topk_per_image: int,
) -> tuple[Instances, torch.Tensor]:
    """`fast_rcnn_inference_rotated` of one image."""
    results, rows = fast_rcnn_inference_rotated(
        [boxes], [scores], [image_shape], score_thresh, nms_thresh, topk_per_image
    )
    return results[0], rows[0]


class RotatedFastRCNNOutputLayers(FastRCNNOutputLayers):
    """`FastRCNNOutputLayers` of rotated boxes."""

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict[str, Any]:
        explicit = super().from_config(cfg, input_shape)
        weights = cfg.MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS
        if len(weights) != 5:
            raise BadValue(f"rotated boxes need five MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS, got {weights}")
        explicit["box2box_transform"] = Box2BoxTransformRotated(weights=weights)
        return explicit

    def inference(
        self, predictions: tuple[torch.Tensor, torch.Tensor], proposals: list[Instances]
    ) -> tuple[list[Instances], list[torch.Tensor]]:
        """See `fast_rcnn_inference_rotated`."""
        return fast_rcnn_inference_rotated(
            self.predict_boxes(predictions, proposals),
            self.predict_probs(predictions, proposals),
            [p.image_size for p in proposals],
            self.test_score_thresh,
            self.test_nms_thresh,
            self.test_topk_per_image,
        )


@ROI_HEADS_REGISTRY.register()
class RROIHeads(StandardROIHeads):
    """`StandardROIHeads` of rotated boxes, without masks and keypoints."""

    @configurable
    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        if self.mask_on or self.keypoint_on:
            raise BadValue("RROIHeads has no masks and no keypoints; set MODEL.MASK_ON and MODEL.KEYPOINT_ON to False")
        if self.train_on_pred_boxes:
            raise BadValue("RROIHeads cannot train on predicted boxes; see MODEL.ROI_BOX_HEAD.TRAIN_ON_PRED_BOXES")

    @classmethod
    def _init_box_head(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        pooler_type = cfg.MODEL.ROI_BOX_HEAD.POOLER_TYPE
        if pooler_type != "ROIAlignRotated":
            raise BadValue(f"RROIHeads needs MODEL.ROI_BOX_HEAD.POOLER_TYPE ROIAlignRotated, not {pooler_type!r}")
        names, pooler, shape = pooler_from_config(cfg, cfg.MODEL.ROI_BOX_HEAD, input_shape)
        box_head = build_box_head(cfg, shape)
        return {
            "box_in_features": names,
            "box_pooler": pooler,
            "box_head": box_head,
            "box_predictor": RotatedFastRCNNOutputLayers(cfg, box_head.output_shape),
        }

    @staticmethod
    def _overlaps(gt_boxes: RotatedBoxes, proposal_boxes: RotatedBoxes) -> torch.Tensor:
        return pairwise_iou_rotated(gt_boxes, proposal_boxes)
