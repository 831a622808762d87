"""Region heads that run the last stage of a ResNet on each region: R-CNN "C4", arXiv 1506.01497 and 1512.03385."""

from typing import Any

import torch
from torch import nn

from det2lite.config import CfgNode, configurable
from det2lite.layers import ShapeSpec
from det2lite.modeling.backbone.resnet import build_stage
from det2lite.modeling.poolers import ROIPooler
from det2lite.modeling.roi_heads.base import ROI_HEADS_REGISTRY, ROIHeads, select_foreground_proposals
from det2lite.modeling.roi_heads.fast_rcnn import FastRCNNOutputLayers
from det2lite.modeling.roi_heads.mask_head import build_mask_head
from det2lite.modeling.roi_heads.standard import pooler_from_config
from det2lite.structures import Boxes, ImageList, Instances
from det2lite.utils.errors import BadCall, BadValue

__all__ = ["Res5ROIHeads"]

NUM_BLOCKS = 3  # of res5


@ROI_HEADS_REGISTRY.register()
class Res5ROIHeads(ROIHeads):
    """Boxes and masks on the same regions, pooled from one feature map and passed through `res5`.

    pooler: its output is twice as large as what the mask head sees. mask_head: None for boxes alone.
    """

    mask_on: torch.jit.Final[bool]

    @configurable
    def __init__(
        self,
        *,
        in_features: list[str],
        pooler: ROIPooler,
        res5: nn.Module,
        box_predictor: nn.Module,
        mask_head: nn.Module | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.in_features = in_features
        self.pooler = pooler
        self.res5 = nn.Sequential(*res5) if isinstance(res5, list | tuple) else res5
        self.box_predictor = box_predictor
        self.mask_on = mask_head is not None
        if self.mask_on:
            self.mask_head = mask_head

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        if cfg.MODEL.KEYPOINT_ON:
            raise BadValue("Res5ROIHeads has no keypoints; set MODEL.ROI_HEADS.NAME to StandardROIHeads")
        if len(cfg.MODEL.ROI_HEADS.IN_FEATURES) != 1:
            names = cfg.MODEL.ROI_HEADS.IN_FEATURES
            raise BadValue(f"Res5ROIHeads takes one feature map; MODEL.ROI_HEADS.IN_FEATURES is {names}")
        names, pooler, pooled = pooler_from_config(cfg, cfg.MODEL.ROI_BOX_HEAD, input_shape)
        if pooler is None:
            raise BadValue("Res5ROIHeads needs MODEL.ROI_BOX_HEAD.POOLER_TYPE")
        res5, out_channels = cls._build_res5_block(cfg)
        explicit = {
            **super().from_config(cfg),
            "in_features": names,
            "pooler": pooler,
            "res5": res5,
            "box_predictor": FastRCNNOutputLayers(cfg, ShapeSpec(channels=out_channels, height=1, width=1)),
        }
        if cfg.MODEL.MASK_ON:
            shape = ShapeSpec(channels=out_channels, width=pooled.width, height=pooled.height)
            explicit["mask_head"] = build_mask_head(cfg, shape)
        return explicit

    @classmethod
    def _build_res5_block(cls, cfg: CfgNode) -> tuple[nn.Module, int]:
        """The stage and its channels."""
        blocks = build_stage(cfg.MODEL.RESNETS, 3, NUM_BLOCKS)
        return nn.Sequential(*blocks), blocks[-1].out_channels

    def _shared_roi_transform(self, features: list[torch.Tensor], boxes: list[Boxes]) -> torch.Tensor:
        """Regions of all images after res5, `(R, C, H, W)`."""
        return self.res5(self.pooler(features, boxes))

    def forward(
        self,
        images: ImageList,
        features: dict[str, torch.Tensor],
        proposals: list[Instances],
        targets: list[Instances] | None = None,
    ) -> tuple[list[Instances], dict[str, torch.Tensor]]:
        """See `ROIHeads.forward`; in training there are losses alone."""
        if self.training:
            if targets is None:
                raise BadCall("region heads need targets in training")
            proposals = self.label_and_sample_proposals(proposals, targets)
        maps = [features[name] for name in self.in_features]
        x = self._shared_roi_transform(maps, [p.proposal_boxes for p in proposals])  # (R, C, H, W)
        predictions = self.box_predictor(x.mean(dim=[2, 3]))
        if not self.training:
            detections, _ = self.box_predictor.inference(predictions, proposals)
            return self.forward_with_given_boxes(features, detections), {}
        losses = self.box_predictor.losses(predictions, proposals)
        if self.mask_on:
            objects, masks = select_foreground_proposals(proposals, self.num_classes)
            index = torch.cat(masks).nonzero().squeeze(1)
            losses.update(self.mask_head(x[index], objects))  # their regions have been through res5 already
        return [], losses

    def forward_with_given_boxes(
        self, features: dict[str, torch.Tensor], instances: list[Instances]
    ) -> list[Instances]:
        """Adds masks to instances with `pred_boxes` and `pred_classes`."""
        self._check_given_boxes(instances)
        if not self.mask_on:
            return instances
        maps = [features[name] for name in self.in_features]
        return self.mask_head(self._shared_roi_transform(maps, [i.pred_boxes for i in instances]), instances)
