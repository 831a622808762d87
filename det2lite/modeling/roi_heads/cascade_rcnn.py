"""Cascade R-CNN, arXiv 1712.00726: box heads in a row, each trained on the boxes of the one before."""

from typing import Any

import torch
from torch import nn

from det2lite.config import CfgNode, configurable
from det2lite.layers import ShapeSpec
from det2lite.modeling.box_coders.delta import Box2BoxTransform
from det2lite.modeling.matcher import Matcher
from det2lite.modeling.poolers import ROIPooler
from det2lite.modeling.roi_heads.base import ROI_HEADS_REGISTRY
from det2lite.modeling.roi_heads.box_head import build_box_head
from det2lite.modeling.roi_heads.fast_rcnn import FastRCNNOutputLayers, fast_rcnn_inference
from det2lite.modeling.roi_heads.standard import StandardROIHeads, pooler_from_config
from det2lite.structures import Boxes, ImageList, Instances, pairwise_iou
from det2lite.utils.errors import BadCall, BadValue
from det2lite.utils.events import get_event_storage

__all__ = ["CascadeROIHeads"]

Predictions = tuple[torch.Tensor, torch.Tensor]


class _ScaleGradient(torch.autograd.Function):
    """The identity, whose gradient is scaled."""

    @staticmethod
    def forward(ctx, x: torch.Tensor, scale: float) -> torch.Tensor:
        ctx.scale = scale
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return gradient * ctx.scale, None


@ROI_HEADS_REGISTRY.register()
class CascadeROIHeads(StandardROIHeads):
    """`StandardROIHeads` with a box head, a predictor and a matcher for each stage.

    Boxes are those of the last stage, scores the mean of all. Boxes must be the same for all classes.
    """

    @configurable
    def __init__(
        self,
        *,
        box_in_features: list[str],
        box_pooler: ROIPooler,
        box_heads: list[nn.Module],
        box_predictors: list[nn.Module],
        proposal_matchers: list[Matcher],
        **kwargs: Any,
    ):
        if "proposal_matcher" in kwargs:
            raise BadCall("CascadeROIHeads takes proposal_matchers, one a stage, and no proposal_matcher")
        if not len(box_heads) == len(box_predictors) == len(proposal_matchers):
            raise BadCall(
                f"a cascade needs a head, a predictor and a matcher for each stage, got {len(box_heads)}, "
                f"{len(box_predictors)} and {len(proposal_matchers)}"
            )
        super().__init__(
            box_in_features=box_in_features,
            box_pooler=box_pooler,
            box_head=nn.ModuleList(box_heads),
            box_predictor=nn.ModuleList(box_predictors),
            proposal_matcher=proposal_matchers[0],
            **kwargs,
        )
        self.num_cascade_stages = len(box_heads)
        self.proposal_matchers = proposal_matchers

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        explicit = super().from_config(cfg, input_shape)
        del explicit["proposal_matcher"]
        return explicit

    @classmethod
    def _init_box_head(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        cascade, roi = cfg.MODEL.ROI_BOX_CASCADE_HEAD, cfg.MODEL.ROI_HEADS
        if len(cascade.IOUS) != len(cascade.BBOX_REG_WEIGHTS):
            raise BadValue(
                f"MODEL.ROI_BOX_CASCADE_HEAD: {len(cascade.IOUS)} IOUS for {len(cascade.BBOX_REG_WEIGHTS)} stages of "
                "BBOX_REG_WEIGHTS"
            )
        if not cfg.MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG:
            raise BadValue("CascadeROIHeads needs MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG True")
        if cascade.IOUS[0] != roi.IOU_THRESHOLDS[0]:
            raise BadValue(
                f"proposals are sampled at MODEL.ROI_HEADS.IOU_THRESHOLDS {roi.IOU_THRESHOLDS[0]}, which must be the "
                f"first of MODEL.ROI_BOX_CASCADE_HEAD.IOUS, {cascade.IOUS[0]}"
            )
        names, pooler, shape = pooler_from_config(cfg, cfg.MODEL.ROI_BOX_HEAD, input_shape)
        heads, predictors, matchers = [], [], []
        for iou, weights in zip(cascade.IOUS, cascade.BBOX_REG_WEIGHTS, strict=True):
            heads.append(build_box_head(cfg, shape))
            transform = Box2BoxTransform(weights=weights)
            predictors.append(FastRCNNOutputLayers(cfg, heads[-1].output_shape, box2box_transform=transform))
            matchers.append(Matcher([iou], [0, 1], allow_low_quality_matches=False))
        return {
            "box_in_features": names,
            "box_pooler": pooler,
            "box_heads": heads,
            "box_predictors": predictors,
            "proposal_matchers": matchers,
        }

    def forward(
        self,
        images: ImageList,
        features: dict[str, torch.Tensor],
        proposals: list[Instances],
        targets: list[Instances] | None = None,
    ) -> tuple[list[Instances], dict[str, torch.Tensor]]:
        """See `StandardROIHeads.forward`; the losses of stage k end in `_stage{k}`."""
        if self.training:
            if targets is None:
                raise BadCall("region heads need targets in training")
            proposals = self.label_and_sample_proposals(proposals, targets)
            losses = self._forward_box(features, proposals, targets)
            losses.update(self._forward_mask(features, proposals))
            losses.update(self._forward_keypoint(features, proposals))
            return proposals, losses
        detections = self._forward_box(features, proposals)
        return self.forward_with_given_boxes(features, detections), {}

    def _forward_box(
        self,
        features: dict[str, torch.Tensor],
        proposals: list[Instances],
        targets: list[Instances] | None = None,
    ):
        """Losses in training, else detections."""
        maps = [features[name] for name in self.box_in_features]
        if self.training:
            return self._box_losses(maps, proposals, targets)
        return self._detect(maps, proposals)

    def _box_losses(
        self, features: list[torch.Tensor], proposals: list[Instances], targets: list[Instances]
    ) -> dict[str, torch.Tensor]:
        image_sizes = [p.image_size for p in proposals]
        losses, boxes = {}, []
        for stage, predictor in enumerate(self.box_predictor):
            if stage > 0:
                proposals = self._create_proposals_from_boxes(boxes, image_sizes)
                proposals = self._match_and_label_boxes(proposals, stage, targets)
            predictions = self._run_stage(features, proposals, stage)
            boxes = predictor.predict_boxes(predictions, proposals)
            with get_event_storage().name_scope(f"stage{stage}"):
                own = predictor.losses(predictions, proposals)
            losses.update({f"{name}_stage{stage}": loss for name, loss in own.items()})
        return losses

    def _detect(self, features: list[torch.Tensor], proposals: list[Instances]) -> list[Instances]:
        image_sizes = [p.image_size for p in proposals]
        boxes: list[torch.Tensor] = []
        scores: list[torch.Tensor] = []
        for stage, predictor in enumerate(self.box_predictor):
            if stage > 0:
                proposals = self._create_proposals_from_boxes(boxes, image_sizes)
            predictions = self._run_stage(features, proposals, stage)
            boxes = predictor.predict_boxes(predictions, proposals)
            own = predictor.predict_probs(predictions, proposals)
            scores = [scores[i] + own[i] for i in range(len(own))] if stage > 0 else own
        last = self.box_predictor[-1]
        detections, _ = fast_rcnn_inference(
            boxes,
            [total / self.num_cascade_stages for total in scores],
            image_sizes,
            last.test_score_thresh,
            last.test_nms_thresh,
            last.test_topk_per_image,
        )
        return detections

    def _run_stage(self, features: list[torch.Tensor], proposals: list[Instances], stage: int) -> Predictions:
        """What the predictor of a stage says of the proposals."""
        x = self.box_pooler(features, [p.proposal_boxes for p in proposals])
        if self.training:
            # the backbone learns from the mean of the stages, however many there are
            x = _ScaleGradient.apply(x, 1.0 / self.num_cascade_stages)
        predictions = (x, x)
        for i, (head, predictor) in enumerate(zip(self.box_head, self.box_predictor)):  # noqa: B905 - TorchScript
            if i == stage:  # TorchScript unrolls this; it cannot take the part of a number
                predictions = predictor(head(x))
        return predictions

    def _create_proposals_from_boxes(
        self, boxes: list[torch.Tensor], image_sizes: list[tuple[int, int]]
    ) -> list[Instances]:
        """Boxes `(R_i, 4)` of each image as fixed proposals inside the image; in training without empty ones."""
        proposals: list[Instances] = []
        for of_image, image_size in zip(boxes, image_sizes):  # noqa: B905 - TorchScript
            clipped = Boxes(of_image.detach())
            clipped.clip(image_size)
            if self.training:
                clipped = clipped[clipped.nonempty()]
            proposals.append(Instances(image_size, proposal_boxes=clipped))
        return proposals

    @torch.no_grad()
    def _match_and_label_boxes(
        self, proposals: list[Instances], stage: int, targets: list[Instances]
    ) -> list[Instances]:
        """Sets `gt_classes` and `gt_boxes` of all proposals, as the matcher of the stage sees them."""
        num_foreground = num_background = 0
        for per_image, target in zip(proposals, targets, strict=True):
            overlaps = pairwise_iou(target.gt_boxes, per_image.proposal_boxes)  # (M, R)
            matches, labels = self.proposal_matchers[stage](overlaps)
            if len(target):
                classes = torch.where(labels == 0, self.num_classes, target.gt_classes[matches])
                gt_boxes = target.gt_boxes[matches]
            else:
                classes = torch.full_like(matches, self.num_classes)
                gt_boxes = Boxes(torch.zeros_like(per_image.proposal_boxes.tensor))
            per_image.gt_classes, per_image.gt_boxes = classes, gt_boxes
            background = (classes == self.num_classes).sum()
            num_background = num_background + background
            num_foreground = num_foreground + (len(classes) - background)
        storage = get_event_storage()
        storage.put_scalar(f"stage{stage}/roi_head/num_fg_samples", num_foreground / max(len(proposals), 1))
        storage.put_scalar(f"stage{stage}/roi_head/num_bg_samples", num_background / max(len(proposals), 1))
        return proposals
