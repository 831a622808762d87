"""Semantic segmentation, and the head of panoptic feature pyramids, arXiv 1901.02446."""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from det2lite.config import CfgNode, configurable
from det2lite.layers import Conv2d, ShapeSpec, get_norm
from det2lite.layers.full_precision import FullPrecisionConv2d
from det2lite.modeling.backbone import Backbone, build_backbone
from det2lite.modeling.meta_arch.build import META_ARCH_REGISTRY
from det2lite.modeling.meta_arch.common import ImageNormalizer, output_size
from det2lite.modeling.postprocessing import sem_seg_postprocess
from det2lite.structures import ImageList
from det2lite.utils.errors import BadCall, BadValue
from det2lite.utils.fvcore_nn import weight_init
from det2lite.utils.registry import Registry

__all__ = ["SEM_SEG_HEADS_REGISTRY", "SemSegFPNHead", "SemanticSegmentor", "build_sem_seg_head", "sem_seg_targets"]

SEM_SEG_HEADS_REGISTRY = Registry("SEM_SEG_HEADS")
SEM_SEG_HEADS_REGISTRY.__doc__ = "Modules called with `(cfg, input_shape)`; see `SemSegFPNHead` for what they return."


def build_sem_seg_head(cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> nn.Module:
    """The head of `cfg.MODEL.SEM_SEG_HEAD.NAME`."""
    return SEM_SEG_HEADS_REGISTRY.get(cfg.MODEL.SEM_SEG_HEAD.NAME)(cfg, input_shape)


def sem_seg_targets(batched_inputs: list[dict[str, Any]], backbone: Backbone, ignore_value: int) -> torch.Tensor:
    """The `sem_seg` of each input, `(H, W)`, padded as its image is with `ignore_value`: `(N, H, W)` int64."""
    labels = [x["sem_seg"] for x in batched_inputs]
    return ImageList.from_tensors(
        labels, backbone.size_divisibility, ignore_value, backbone.padding_constraints
    ).tensor


@META_ARCH_REGISTRY.register()
class SemanticSegmentor(ImageNormalizer):
    """A backbone and a head that gives each pixel a class. pixel_mean, pixel_std: a value a channel."""

    @configurable
    def __init__(
        self,
        *,
        backbone: Backbone,
        sem_seg_head: nn.Module,
        pixel_mean: tuple[float, ...],
        pixel_std: tuple[float, ...],
    ):
        super().__init__(pixel_mean, pixel_std)
        self.backbone = backbone
        self.sem_seg_head = sem_seg_head

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        backbone = build_backbone(cfg)
        return {
            "backbone": backbone,
            "sem_seg_head": build_sem_seg_head(cfg, backbone.output_shape()),
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
        }

    def forward(self, batched_inputs: list[dict[str, Any]]) -> dict[str, torch.Tensor] | list[dict[str, Any]]:
        """batched_inputs: a dict an image, with `image (C, H, W)`; in training `sem_seg (H, W)`, the class of each
        pixel; `height` and `width` of the wanted output. Returns losses in training, else a dict an image with
        `sem_seg (K, height, width)`, logits."""
        images = self.preprocess_image(batched_inputs)
        features = self.backbone(images.tensor)
        targets = None
        if "sem_seg" in batched_inputs[0]:
            ignore_value = self.sem_seg_head.ignore_value
            targets = self._move_to_current_device(sem_seg_targets(batched_inputs, self.backbone, ignore_value))
        elif self.training:
            raise BadCall("training needs 'sem_seg' in its inputs")
        results, losses = self.sem_seg_head(features, targets)
        if self.training:
            return losses
        parts = zip(results, batched_inputs, images.image_sizes, strict=True)
        return [{"sem_seg": sem_seg_postprocess(r, size, *output_size(inputs, size))} for r, inputs, size in parts]

    def logits(self, batched_inputs: list[dict[str, Any]]) -> tuple[torch.Tensor, list[tuple[int, int]]]:
        """Of each class in each pixel of the padded inputs, `(N, K, H, W)`, and the size of each image in its input."""
        images = self.preprocess_image(batched_inputs)
        results, _ = self.sem_seg_head(self.backbone(images.tensor), None)
        return results, images.image_sizes


@SEM_SEG_HEADS_REGISTRY.register()
class SemSegFPNHead(nn.Module):
    """Brings the levels of a pyramid to one resolution, by convolutions and upsampling, and adds them up.

    conv_dims: channels. common_stride: of the resolution. norm: see `get_norm`. ignore_value: label that is not
    learnt.
    """

    @configurable
    def __init__(
        self,
        input_shape: dict[str, ShapeSpec],
        *,
        num_classes: int,
        conv_dims: int,
        common_stride: int,
        loss_weight: float = 1.0,
        norm: str | Callable | None = None,
        ignore_value: int = -1,
    ):
        super().__init__()
        shapes = sorted(input_shape.items(), key=lambda item: item[1].stride)
        if not shapes:
            raise BadValue("MODEL.SEM_SEG_HEAD.IN_FEATURES is empty; name features of the backbone, such as p2 ... p5")
        self.in_features = [name for name, _ in shapes]
        self.ignore_value = ignore_value
        self.common_stride = common_stride
        self.loss_weight = loss_weight
        for name, shape in shapes:
            self.add_module(name, self._level(shape, conv_dims, norm))
        self.predictor = FullPrecisionConv2d(conv_dims, num_classes, kernel_size=1)
        weight_init.c2_msra_fill(self.predictor)

    def _level(self, shape: ShapeSpec, channels: int, norm: str | Callable | None) -> nn.Sequential:
        """A convolution for each halving that is taken back, at least one."""
        num_doublings = int(math.log2(shape.stride)) - int(math.log2(self.common_stride))
        layers, in_channels = [], shape.channels
        for _ in range(max(1, num_doublings)):
            conv = Conv2d(
                in_channels,
                channels,
                kernel_size=3,
                padding=1,
                bias=not norm,
                norm=get_norm(norm, channels),
                activation=F.relu,
            )
            weight_init.c2_msra_fill(conv)
            layers.append(conv)
            if shape.stride != self.common_stride:
                layers.append(nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False))
            in_channels = channels
        return nn.Sequential(*layers)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        head = cfg.MODEL.SEM_SEG_HEAD
        return {
            "input_shape": {name: shape for name, shape in input_shape.items() if name in head.IN_FEATURES},
            "ignore_value": head.IGNORE_VALUE,
            "num_classes": head.NUM_CLASSES,
            "conv_dims": head.CONVS_DIM,
            "common_stride": head.COMMON_STRIDE,
            "norm": head.NORM,
            "loss_weight": head.LOSS_WEIGHT,
        }

    def forward(
        self, features: dict[str, torch.Tensor], targets: torch.Tensor | None = None
    ) -> tuple[torch.Tensor | None, dict[str, torch.Tensor]]:
        """targets: `(N, H, W)`. Returns `(None, losses)` in training, else logits `(N, K, H, W)` and no losses."""
        x = self.layers(features)
        if self.training:
            return None, self.losses(x, targets)
        x = F.interpolate(x.float(), scale_factor=self.common_stride, mode="bilinear", align_corners=False)
        return x, {}  # (N, K, H, W)

    def layers(self, features: dict[str, torch.Tensor]) -> torch.Tensor:
        """Logits `(N, K, H / common_stride, W / common_stride)`."""
        return self.predictor(sum(getattr(self, name)(features[name]) for name in self.in_features))

    def losses(self, predictions: torch.Tensor, targets: torch.Tensor) -> dict[str, torch.Tensor]:
        """`loss_sem_seg`, the mean cross-entropy of labelled pixels; 0 where there are none."""
        logits = predictions.float()  # in half precision the softmax over many classes is coarse
        logits = F.interpolate(logits, scale_factor=self.common_stride, mode="bilinear", align_corners=False)
        loss = F.cross_entropy(logits, targets, reduction="sum", ignore_index=self.ignore_value)
        num_labelled = (targets != self.ignore_value).sum().clamp(min=1)
        return {"loss_sem_seg": loss / num_labelled * self.loss_weight}
