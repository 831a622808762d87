"""Region heads that pool for each task by itself: Faster and Mask R-CNN with a feature pyramid."""

import inspect
from typing import Any

import torch
from torch import nn

from det2lite.config import CfgNode, configurable
from det2lite.layers import ShapeSpec
from det2lite.modeling.poolers import ROIPooler
from det2lite.modeling.roi_heads.base import (
    ROI_HEADS_REGISTRY,
    ROIHeads,
    select_foreground_proposals,
    select_proposals_with_visible_keypoints,
)
from det2lite.modeling.roi_heads.box_head import build_box_head
from det2lite.modeling.roi_heads.fast_rcnn import FastRCNNOutputLayers
from det2lite.modeling.roi_heads.keypoint_head import build_keypoint_head
from det2lite.modeling.roi_heads.mask_head import build_mask_head
from det2lite.structures import Boxes, ImageList, Instances
from det2lite.utils.errors import BadCall, BadValue


def pooler_from_config(
    cfg: CfgNode, head: CfgNode, input_shape: dict[str, ShapeSpec]
) -> tuple[list[str], ROIPooler | None, ShapeSpec]:
    """The features that a region head looks at, its pooler (None for an empty POOLER_TYPE), and the pooled shape."""
    names = cfg.MODEL.ROI_HEADS.IN_FEATURES
    channels = {input_shape[name].channels for name in names}
    if len(channels) != 1:
        raise BadValue(f"MODEL.ROI_HEADS.IN_FEATURES {names} have different channels: {sorted(channels)}")
    channels = channels.pop()
    if not head.POOLER_TYPE:
        return names, None, {name: input_shape[name] for name in names}
    pooler = ROIPooler(
        output_size=head.POOLER_RESOLUTION,
        scales=[1.0 / input_shape[name].stride for name in names],
        sampling_ratio=head.POOLER_SAMPLING_RATIO,
        pooler_type=head.POOLER_TYPE,
    )
    return names, pooler, ShapeSpec(channels=channels, width=head.POOLER_RESOLUTION, height=head.POOLER_RESOLUTION)


@ROI_HEADS_REGISTRY.register()
class StandardROIHeads(ROIHeads):
    """A box head, and where given a mask head and a keypoint head, each with its own features and pooler.

    train_on_pred_boxes: masks and keypoints are trained on predicted boxes instead of proposals.
    """

    mask_on: torch.jit.Final[bool]
    keypoint_on: torch.jit.Final[bool]

    @configurable
    def __init__(
        self,
        *,
        box_in_features: list[str],
        box_pooler: ROIPooler,
        box_head: nn.Module,
        box_predictor: nn.Module,
        mask_in_features: list[str] | None = None,
        mask_pooler: ROIPooler | None = None,
        mask_head: nn.Module | None = None,
        keypoint_in_features: list[str] | None = None,
        keypoint_pooler: ROIPooler | None = None,
        keypoint_head: nn.Module | None = None,
        train_on_pred_boxes: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.in_features = self.box_in_features = box_in_features
        self.box_pooler = box_pooler
        self.box_head = box_head
        self.box_predictor = box_predictor
        self.mask_on = mask_in_features is not None
        if self.mask_on:
            self.mask_in_features = mask_in_features
            self.mask_pooler = mask_pooler
            self.mask_head = mask_head
        self.keypoint_on = keypoint_in_features is not None
        if self.keypoint_on:
            self.keypoint_in_features = keypoint_in_features
            self.keypoint_pooler = keypoint_pooler
            self.keypoint_head = keypoint_head
        self.train_on_pred_boxes = train_on_pred_boxes

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        explicit = super().from_config(cfg)
        explicit["train_on_pred_boxes"] = cfg.MODEL.ROI_BOX_HEAD.TRAIN_ON_PRED_BOXES
        # subclasses may replace one part by a method of this name, as a plain or a class method
        for part in (cls._init_box_head, cls._init_mask_head, cls._init_keypoint_head):
            if inspect.ismethod(part):
                explicit.update(part(cfg, input_shape))
        return explicit

    @classmethod
    def _init_box_head(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        names, pooler, shape = pooler_from_config(cfg, cfg.MODEL.ROI_BOX_HEAD, input_shape)
        box_head = build_box_head(cfg, shape)
        return {
            "box_in_features": names,
            "box_pooler": pooler,
            "box_head": box_head,
            "box_predictor": FastRCNNOutputLayers(cfg, box_head.output_shape),
        }

    @classmethod
    def _init_mask_head(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        if not cfg.MODEL.MASK_ON:
            return {}
        names, pooler, shape = pooler_from_config(cfg, cfg.MODEL.ROI_MASK_HEAD, input_shape)
        return {"mask_in_features": names, "mask_pooler": pooler, "mask_head": build_mask_head(cfg, shape)}

    @classmethod
    def _init_keypoint_head(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        if not cfg.MODEL.KEYPOINT_ON:
            return {}
        names, pooler, shape = pooler_from_config(cfg, cfg.MODEL.ROI_KEYPOINT_HEAD, input_shape)
        head = build_keypoint_head(cfg, shape)
        return {"keypoint_in_features": names, "keypoint_pooler": pooler, "keypoint_head": head}

    def forward(
        self,
        images: ImageList,
        features: dict[str, torch.Tensor],
        proposals: list[Instances],
        targets: list[Instances] | None = None,
    ) -> tuple[list[Instances], dict[str, torch.Tensor]]:
        """See `ROIHeads.forward`; in training the sampled proposals come back in place of detections."""
        if self.training:
            if targets is None:
                raise BadCall("region heads need targets in training")
            proposals = self.label_and_sample_proposals(proposals, targets)
            losses = self._forward_box(features, proposals)
            # with train_on_pred_boxes the proposals hold the predicted boxes by now
            losses.update(self._forward_mask(features, proposals))
            losses.update(self._forward_keypoint(features, proposals))
            return proposals, losses
        detections = self._forward_box(features, proposals)
        return self.forward_with_given_boxes(features, detections), {}

    def forward_with_given_boxes(
        self, features: dict[str, torch.Tensor], instances: list[Instances]
    ) -> list[Instances]:
        """Adds masks and keypoints to instances with `pred_boxes` and `pred_classes`."""
        self._check_given_boxes(instances)
        instances = self._forward_mask(features, instances)
        return self._forward_keypoint(features, instances)

    # The results of the following have no type in their signatures: they are losses in training and instances in
    # evaluation, which TorchScript sees alone.

    def _forward_box(self, features: dict[str, torch.Tensor], proposals: list[Instances]):
        """Losses in training, else detections."""
        maps = [features[name] for name in self.box_in_features]
        x = self.box_head(self.box_pooler(maps, [p.proposal_boxes for p in proposals]))
        predictions = self.box_predictor(x)
        if not self.training:
            detections, _ = self.box_predictor.inference(predictions, proposals)
            return detections
        losses = self.box_predictor.losses(predictions, proposals)
        if self.train_on_pred_boxes:
            with torch.no_grad():
                predicted = self.box_predictor.predict_boxes_for_gt_classes(predictions, proposals)
                for per_image, boxes in zip(proposals, predicted, strict=True):
                    per_image.proposal_boxes = Boxes(boxes)
        return losses

    def _forward_mask(self, features: dict[str, torch.Tensor], instances: list[Instances]):
        if not self.mask_on:
            if self.training:
                return {}
            return instances
        if self.training:
            instances, _ = select_foreground_proposals(instances, self.num_classes)
        if self.mask_pooler is None:  # the head pools by itself
            return self.mask_head({name: features[name] for name in self.mask_in_features}, instances)
        maps = [features[name] for name in self.mask_in_features]
        return self.mask_head(self.mask_pooler(maps, self._boxes_to_pool(instances)), instances)

    def _forward_keypoint(self, features: dict[str, torch.Tensor], instances: list[Instances]):
        if not self.keypoint_on:
            if self.training:
                return {}
            return instances
        if self.training:
            instances, _ = select_foreground_proposals(instances, self.num_classes)
            instances = select_proposals_with_visible_keypoints(instances)
        if self.keypoint_pooler is None:
            return self.keypoint_head({name: features[name] for name in self.keypoint_in_features}, instances)
        maps = [features[name] for name in self.keypoint_in_features]
        return self.keypoint_head(self.keypoint_pooler(maps, self._boxes_to_pool(instances)), instances)

    def _boxes_to_pool(self, instances: list[Instances]) -> list[Boxes]:
        """Proposals in training, detections in evaluation."""
        if self.training:
            return [i.proposal_boxes for i in instances]
        return [i.pred_boxes for i in instances]
