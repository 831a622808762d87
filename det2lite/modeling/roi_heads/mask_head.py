"""Masks of regions, Mask R-CNN, arXiv 1703.06870."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from det2lite.config import CfgNode, configurable
from det2lite.layers import Conv2d, ConvTranspose2d, ShapeSpec, fast_for_convolutions, get_norm
from det2lite.layers.full_precision import FullPrecisionConv2d
from det2lite.structures import Instances
from det2lite.utils.errors import BadCall
from det2lite.utils.events import get_event_storage
from det2lite.utils.fvcore_nn import weight_init
from det2lite.utils.registry import Registry

__all__ = [
    "ROI_MASK_HEAD_REGISTRY",
    "BaseMaskRCNNHead",
    "MaskRCNNConvUpsampleHead",
    "build_mask_head",
    "mask_rcnn_inference",
    "mask_rcnn_loss",
]

ROI_MASK_HEAD_REGISTRY = Registry("ROI_MASK_HEAD")
ROI_MASK_HEAD_REGISTRY.__doc__ = "Modules called with `(cfg, input_shape)`; see `BaseMaskRCNNHead`."

MAX_DRAWN = 10  # masks in a picture, one below the other


def build_mask_head(cfg: CfgNode, input_shape: ShapeSpec) -> nn.Module:
    """The mask head of `cfg.MODEL.ROI_MASK_HEAD.NAME`."""
    return ROI_MASK_HEAD_REGISTRY.get(cfg.MODEL.ROI_MASK_HEAD.NAME)(cfg, input_shape)


def mask_rcnn_loss(
    pred_mask_logits: torch.Tensor, instances: list[Instances], vis_period: int = 0
) -> torch.Tensor:
    """Binary cross-entropy of the masks of the true classes, averaged over their pixels.

    pred_mask_logits: `(R, K, M, M)`, or `(R, 1, M, M)` for all classes. instances: objects with `proposal_boxes`,
    `gt_classes` and `gt_masks`, R in all.
    """
    side = pred_mask_logits.shape[2]
    matched = [i for i in instances if len(i)]
    if not matched:
        return pred_mask_logits.sum() * 0
    targets = [i.gt_masks.crop_and_resize(i.proposal_boxes.tensor, side) for i in matched]
    target = torch.cat([t.to(pred_mask_logits.device) for t in targets])  # (R, M, M) bool
    logits = _of_class(pred_mask_logits, torch.cat([i.gt_classes for i in matched]))
    with torch.no_grad():
        _log_accuracy(logits > 0, target.bool())
        storage = get_event_storage()
        if vis_period > 0 and storage.iter % vis_period == 0:
            pair = torch.cat([logits.sigmoid().float(), target.float()], dim=2)  # (R, M, 2 * M)
            picture = pair[:MAX_DRAWN].flatten(0, 1)
            storage.put_image("Left: mask prediction;   Right: mask GT", picture.expand(3, -1, -1))
    return F.binary_cross_entropy_with_logits(logits, target.to(logits.dtype), reduction="mean")


def _of_class(mask_logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The mask `(R, M, M)` of each region's class from `(R, K or 1, M, M)`."""
    if mask_logits.shape[1] == 1:
        return mask_logits[:, 0]
    return mask_logits[torch.arange(len(labels), device=labels.device), labels]


def _log_accuracy(predicted: torch.Tensor, target: torch.Tensor) -> None:
    wrong, num_positive = predicted != target, target.sum()
    storage = get_event_storage()
    storage.put_scalar("mask_rcnn/accuracy", 1 - wrong.float().mean())
    negatives = (target.numel() - num_positive).clamp(min=1)
    storage.put_scalar("mask_rcnn/false_positive", (wrong & ~target).sum() / negatives)
    storage.put_scalar("mask_rcnn/false_negative", (wrong & target).sum() / num_positive.clamp(min=1))


def mask_rcnn_inference(pred_mask_logits: torch.Tensor, pred_instances: list[Instances]) -> None:
    """Sets `pred_masks`, probabilities `(R_i, 1, M, M)` of each predicted class, on each image's instances."""
    labels = [i.pred_classes for i in pred_instances]
    masks = pred_mask_logits
    if masks.shape[1] > 1:
        masks = _of_class(masks, torch.cat(labels))[:, None]
    parts = masks.float().sigmoid().split([len(x) for x in labels])
    for instances, own in zip(pred_instances, parts):  # noqa: B905 - TorchScript
        instances.pred_masks = own


class BaseMaskRCNNHead(nn.Module):
    """A mask head is its `layers`; loss and inference are here. vis_period: iterations between pictures of masks."""

    @configurable
    def __init__(self, *, loss_weight: float = 1.0, vis_period: int = 0):
        super().__init__()
        self.vis_period = vis_period
        self.loss_weight = loss_weight

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict[str, Any]:
        return {"vis_period": cfg.VIS_PERIOD}

    def forward(self, x: torch.Tensor, instances: list[Instances]):  # result: TorchScript sees evaluation alone
        """x: pooled regions `(R, C, H, W)` of all `instances`. Returns `loss_mask` in training, else the instances
        with `pred_masks`."""
        x = self.layers(fast_for_convolutions(x))
        if self.training:
            return {"loss_mask": mask_rcnn_loss(x, instances, self.vis_period) * self.loss_weight}
        mask_rcnn_inference(x, instances)
        return instances

    def layers(self, x: torch.Tensor) -> torch.Tensor:
        """Logits `(R, K or 1, M, M)` from pooled regions `(R, C, H, W)`."""
        raise NotImplementedError


@ROI_MASK_HEAD_REGISTRY.register()
class MaskRCNNConvUpsampleHead(BaseMaskRCNNHead, nn.Sequential):
    """3x3 convolutions, a transposed convolution of stride 2, and the predictor.

    conv_dims: channels of the convolutions, the last those of the transposed one. num_classes: 1 for class-agnostic.
    """

    @configurable
    def __init__(
        self, input_shape: ShapeSpec, *, num_classes: int, conv_dims: list[int], conv_norm: str = "", **kwargs: Any
    ):
        super().__init__(**kwargs)
        if not conv_dims:
            raise BadCall("a mask head needs conv_dims; see MODEL.ROI_MASK_HEAD.NUM_CONV and CONV_DIM")
        channels = input_shape.channels
        for i, dim in enumerate(conv_dims[:-1], start=1):
            norm = get_norm(conv_norm, dim)
            conv = Conv2d(channels, dim, 3, padding=1, bias=not conv_norm, norm=norm, activation=nn.ReLU())
            self.add_module(f"mask_fcn{i}", conv)
            channels = dim
        self.deconv = ConvTranspose2d(channels, conv_dims[-1], kernel_size=2, stride=2)
        self.add_module("deconv_relu", nn.ReLU())
        self.predictor = FullPrecisionConv2d(conv_dims[-1], num_classes, kernel_size=1)
        # after all layers are there: a seed then gives the same weights as in Detectron2
        for layer in self:
            if isinstance(layer, Conv2d | ConvTranspose2d) and layer is not self.predictor:
                weight_init.c2_msra_fill(layer)
        nn.init.normal_(self.predictor.weight, std=0.001)
        nn.init.zeros_(self.predictor.bias)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict[str, Any]:
        head = cfg.MODEL.ROI_MASK_HEAD
        return {
            **super().from_config(cfg, input_shape),
            "input_shape": input_shape,
            "num_classes": 1 if head.CLS_AGNOSTIC_MASK else cfg.MODEL.ROI_HEADS.NUM_CLASSES,
            "conv_dims": [head.CONV_DIM] * (head.NUM_CONV + 1),
            "conv_norm": head.NORM,
        }

    def layers(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self:
            x = layer(x)
        return x
