"""Rotated region proposal network, arXiv 1703.01086."""

from typing import Any

import torch

from det2lite.config import CfgNode
from det2lite.layers import ShapeSpec, batched_nms_rotated
from det2lite.modeling.box_coders.delta import Box2BoxTransformRotated
from det2lite.modeling.proposal_generator.build import PROPOSAL_GENERATOR_REGISTRY
from det2lite.modeling.proposal_generator.proposal_utils import (
    best_of_levels,
    finite_candidates,
    pick_candidates,
    split_by_image,
)
from det2lite.modeling.proposal_generator.rpn import RPN
from det2lite.structures import Instances, RotatedBoxes, pairwise_iou_rotated
from det2lite.utils.errors import BadValue

__all__ = ["RRPN", "find_top_rrpn_proposals"]


def find_top_rrpn_proposals(
    proposals: list[torch.Tensor],
    pred_objectness_logits: list[torch.Tensor],
    image_sizes: list[tuple[int, int]],
    nms_thresh: float,
    pre_nms_topk: int,
    post_nms_topk: int,
    min_box_size: float,
    training: bool,
) -> list[Instances]:
    """`find_top_rpn_proposals` of rotated boxes, `(N, R_l, 5)` a level."""
    candidates = best_of_levels(proposals, pred_objectness_logits, pre_nms_topk)
    return select_rotated_proposals(*candidates, image_sizes, nms_thresh, post_nms_topk, min_box_size, training)


def select_rotated_proposals(
    boxes: torch.Tensor,
    scores: torch.Tensor,
    levels: torch.Tensor,
    image_sizes: list[tuple[int, int]],
    nms_thresh: float,
    post_nms_topk: int,
    min_box_size: float,
    training: bool,
) -> list[Instances]:
    """`select_proposals` of rotated boxes `(N, K, 5)`."""
    finite = finite_candidates(boxes, scores, training)
    boxes = torch.where(finite[..., None], boxes, 0)
    boxes = torch.stack([_clip(own, size) for own, size in zip(boxes, image_sizes, strict=True)])
    usable = finite & (boxes[..., 2:4] > min_box_size).all(dim=2)
    boxes, scores, groups, image_of = pick_candidates(boxes, scores, levels, usable)
    keep = batched_nms_rotated(boxes, scores, groups, nms_thresh)  # best first, over all images
    kept = split_by_image(keep, image_of[keep], len(image_sizes), post_nms_topk)
    return [
        Instances(size, proposal_boxes=RotatedBoxes(boxes[own]), objectness_logits=scores[own])
        for size, own in zip(image_sizes, kept, strict=True)
    ]


def _clip(boxes: torch.Tensor, image_size: tuple[int, int]) -> torch.Tensor:
    clipped = RotatedBoxes(boxes).clone()
    clipped.clip(image_size)
    return clipped.tensor


@PROPOSAL_GENERATOR_REGISTRY.register()
class RRPN(RPN):
    """`RPN` of rotated boxes `(x, y, width, height, degrees)`; it needs rotated anchors."""

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        explicit = super().from_config(cfg, input_shape)
        weights = cfg.MODEL.RPN.BBOX_REG_WEIGHTS
        if explicit["anchor_generator"].box_dim != 5 or len(weights) != 5:
            raise BadValue(
                "RRPN needs MODEL.ANCHOR_GENERATOR.NAME RotatedAnchorGenerator and five MODEL.RPN.BBOX_REG_WEIGHTS, "
                f"got {cfg.MODEL.ANCHOR_GENERATOR.NAME} and {weights}"
            )
        explicit["box2box_transform"] = Box2BoxTransformRotated(weights=weights)
        return explicit

    @staticmethod
    def _overlaps(gt_boxes: RotatedBoxes, anchors: RotatedBoxes) -> torch.Tensor:
        return pairwise_iou_rotated(gt_boxes, anchors)

    def _select(
        self, boxes: torch.Tensor, scores: torch.Tensor, levels: torch.Tensor, image_sizes: list[tuple[int, int]]
    ) -> list[Instances]:
        return select_rotated_proposals(
            boxes,
            scores,
            levels,
            image_sizes,
            self.nms_thresh,
            self.post_nms_topk[self.training],
            self.min_box_size,
            self.training,
        )
