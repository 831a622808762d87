"""Keypoints of regions as heatmaps, Mask R-CNN, arXiv 1703.06870."""

import itertools
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from det2lite.config import CfgNode, configurable
from det2lite.layers import Conv2d, ConvTranspose2d, ShapeSpec, fast_for_convolutions, interpolate
from det2lite.structures import Instances, heatmaps_to_keypoints
from det2lite.utils.errors import BadCall
from det2lite.utils.events import get_event_storage
from det2lite.utils.registry import Registry

__all__ = [
    "ROI_KEYPOINT_HEAD_REGISTRY",
    "BaseKeypointRCNNHead",
    "KRCNNConvDeconvUpsampleHead",
    "build_keypoint_head",
    "keypoint_rcnn_inference",
    "keypoint_rcnn_loss",
]

ROI_KEYPOINT_HEAD_REGISTRY = Registry("ROI_KEYPOINT_HEAD")
ROI_KEYPOINT_HEAD_REGISTRY.__doc__ = "Modules called with `(cfg, input_shape)`; see `BaseKeypointRCNNHead`."

_skipped_batches = itertools.count(1)  # of this process


def build_keypoint_head(cfg: CfgNode, input_shape: ShapeSpec) -> nn.Module:
    """The keypoint head of `cfg.MODEL.ROI_KEYPOINT_HEAD.NAME`."""
    return ROI_KEYPOINT_HEAD_REGISTRY.get(cfg.MODEL.ROI_KEYPOINT_HEAD.NAME)(cfg, input_shape)


def keypoint_rcnn_loss(
    pred_keypoint_logits: torch.Tensor, instances: list[Instances], normalizer: float | None
) -> torch.Tensor:
    """Cross-entropy over the positions of each visible keypoint's heatmap, summed, over `normalizer`.

    pred_keypoint_logits: `(R, K, S, S)`. instances: objects with `proposal_boxes` and `gt_keypoints`, R in all.
    normalizer: None for the number of visible keypoints.
    """
    side = pred_keypoint_logits.shape[2]
    heatmaps, visible = [], []
    for per_image in instances:
        if len(per_image):
            target, valid = per_image.gt_keypoints.to_heatmap(per_image.proposal_boxes.tensor, side)
            heatmaps.append(target.flatten())
            visible.append(valid.flatten())
    chosen = torch.cat(visible).bool().nonzero().squeeze(1) if visible else None
    if chosen is None or not len(chosen):
        get_event_storage().put_scalar("kpts_num_skipped_batches", next(_skipped_batches), smoothing_hint=False)
        return pred_keypoint_logits.sum() * 0
    logits = pred_keypoint_logits.flatten(0, 1).flatten(1)  # (R * K, S * S)
    loss = F.cross_entropy(logits[chosen], torch.cat(heatmaps)[chosen], reduction="sum")
    return loss / (len(chosen) if normalizer is None else normalizer)


def keypoint_rcnn_inference(pred_keypoint_logits: torch.Tensor, pred_instances: list[Instances]) -> None:
    """Sets `pred_keypoints (R_i, K, 3)`, x, y and score, and `pred_keypoint_heatmaps` on each image's instances."""
    boxes = torch.cat([i.pred_boxes.tensor for i in pred_instances])
    logits = pred_keypoint_logits.detach().float()
    keypoints = heatmaps_to_keypoints(logits, boxes.detach())[:, :, [0, 1, 3]]  # (R, K, 3)
    counts = [len(i) for i in pred_instances]
    parts = zip(pred_instances, keypoints.split(counts), logits.split(counts))  # noqa: B905 - TorchScript
    for instances, own, maps in parts:
        instances.pred_keypoints = own
        instances.pred_keypoint_heatmaps = maps


class BaseKeypointRCNNHead(nn.Module):
    """A keypoint head is its `layers`; loss and inference are here.

    loss_normalizer: "visible" for the number of visible keypoints in the batch, or a number an image.
    """

    @configurable
    def __init__(self, *, num_keypoints: int, loss_weight: float = 1.0, loss_normalizer: float | str = 1.0):
        super().__init__()
        if isinstance(loss_normalizer, str) and loss_normalizer != "visible":
            raise BadCall(f"loss_normalizer is a number or 'visible', got {loss_normalizer!r}")
        self.num_keypoints = num_keypoints
        self.loss_weight = loss_weight
        self.loss_normalizer = loss_normalizer

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict[str, Any]:
        head, roi = cfg.MODEL.ROI_KEYPOINT_HEAD, cfg.MODEL.ROI_HEADS
        full_batch = head.NUM_KEYPOINTS * roi.BATCH_SIZE_PER_IMAGE * roi.POSITIVE_FRACTION
        return {
            "loss_weight": head.LOSS_WEIGHT,
            "num_keypoints": head.NUM_KEYPOINTS,
            "loss_normalizer": "visible" if head.NORMALIZE_LOSS_BY_VISIBLE_KEYPOINTS else full_batch,
        }

    def forward(self, x: torch.Tensor, instances: list[Instances]):  # result: TorchScript sees evaluation alone
        """x: pooled regions `(R, C, H, W)` of all `instances`. Returns `loss_keypoint` in training, else the
        instances with `pred_keypoints`."""
        x = self.layers(fast_for_convolutions(x))
        if self.training:
            normalizer = None if self.loss_normalizer == "visible" else len(instances) * self.loss_normalizer
            return {"loss_keypoint": keypoint_rcnn_loss(x, instances, normalizer) * self.loss_weight}
        keypoint_rcnn_inference(x, instances)
        return instances

    def layers(self, x: torch.Tensor) -> torch.Tensor:
        """Logits `(R, num_keypoints, S, S)` from pooled regions `(R, C, H, W)`."""
        raise NotImplementedError


@ROI_KEYPOINT_HEAD_REGISTRY.register()
class KRCNNConvDeconvUpsampleHead(BaseKeypointRCNNHead, nn.Sequential):
    """3x3 convolutions, a transposed convolution of stride 2, and bilinear upsampling by 2."""

    @configurable
    def __init__(self, input_shape: ShapeSpec, *, num_keypoints: int, conv_dims: list[int], **kwargs: Any):
        super().__init__(num_keypoints=num_keypoints, **kwargs)
        channels = input_shape.channels
        for i, dim in enumerate(conv_dims, start=1):
            self.add_module(f"conv_fcn{i}", Conv2d(channels, dim, 3, stride=1, padding=1))
            self.add_module(f"conv_fcn_relu{i}", nn.ReLU())
            channels = dim
        self.score_lowres = ConvTranspose2d(channels, num_keypoints, 4, stride=2, padding=1)
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            else:
                nn.init.kaiming_normal_(parameter, mode="fan_out", nonlinearity="relu")

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict[str, Any]:
        explicit = super().from_config(cfg, input_shape)
        return {**explicit, "input_shape": input_shape, "conv_dims": cfg.MODEL.ROI_KEYPOINT_HEAD.CONV_DIMS}

    def layers(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self:
            x = layer(x)
        return interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
