"""The head of RetinaNet, arXiv 1708.02002."""

import logging
import math
from typing import Any

import torch
from torch import nn

from det2lite.config import CfgNode, configurable
from det2lite.layers import CycleBatchNormList, ShapeSpec, get_norm
from det2lite.modeling.anchor_generator import build_anchor_generator
from det2lite.utils.errors import BadCall, BadValue

__all__ = ["RetinaNetHead"]

logger = logging.getLogger(__name__)

BATCH_NORMS = {"BN": nn.BatchNorm2d, "SyncBN": nn.SyncBatchNorm}


class RetinaNetHead(nn.Module):
    """Two rows of 3x3 convolutions that all levels share, one for the classes, one for the boxes.

    input_shape: of each level. num_anchors: at each position. conv_dims: channels of each row's convolutions. norm:
    see `get_norm`; BN and SyncBN keep statistics of their own for each level. prior_prob: of an object, at the start.
    """

    @configurable
    def __init__(
        self,
        *,
        input_shape: list[ShapeSpec],
        num_classes: int,
        num_anchors: int,
        conv_dims: list[int],
        norm: str = "",
        prior_prob: float = 0.01,
    ):
        super().__init__()
        self._num_features = len(input_shape)
        sources = [input_shape[0].channels, *conv_dims[:-1]]
        cls_subnet, bbox_subnet = [], []
        for in_channels, out_channels in zip(sources, conv_dims, strict=True):
            for subnet in (cls_subnet, bbox_subnet):
                subnet.append(nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1))
                if norm:
                    subnet.append(self._norm(norm, out_channels))
                subnet.append(nn.ReLU())
        self.cls_subnet = nn.Sequential(*cls_subnet)
        self.bbox_subnet = nn.Sequential(*bbox_subnet)
        self.cls_score = nn.Conv2d(conv_dims[-1], num_anchors * num_classes, kernel_size=3, padding=1)
        self.bbox_pred = nn.Conv2d(conv_dims[-1], num_anchors * 4, kernel_size=3, padding=1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.01)
                nn.init.zeros_(module.bias)
        nn.init.constant_(self.cls_score.bias, -math.log((1 - prior_prob) / prior_prob))

    def _norm(self, norm: str, channels: int) -> nn.Module:
        if norm in BATCH_NORMS:
            return CycleBatchNormList(self._num_features, bn_class=BATCH_NORMS[norm], num_features=channels)
        if "BN" in norm:
            logger.warning("%s in a head that levels share mixes their statistics; BN and SyncBN keep them apart", norm)
        return get_norm(norm, channels)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: list[ShapeSpec]) -> dict[str, Any]:
        num_anchors = set(build_anchor_generator(cfg, input_shape).num_anchors)
        if len(num_anchors) != 1:
            raise BadValue(
                f"one head serves all levels: they need equal numbers of anchors, got {sorted(num_anchors)}; see "
                "MODEL.ANCHOR_GENERATOR"
            )
        retinanet = cfg.MODEL.RETINANET
        return {
            "input_shape": input_shape,
            "num_classes": retinanet.NUM_CLASSES,
            "num_anchors": num_anchors.pop(),
            "conv_dims": [input_shape[0].channels] * retinanet.NUM_CONVS,
            "norm": retinanet.NORM,
            "prior_prob": retinanet.PRIOR_PROB,
        }

    def forward(self, features: list[torch.Tensor]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """features: one a level, `(N, C, H, W)`. Returns logits `(N, A * K, H, W)` and deltas `(N, A * 4, H, W)`."""
        if len(features) != self._num_features:
            raise BadCall(f"{len(features)} feature maps for {self._num_features} levels")
        logits = [self.cls_score(self.cls_subnet(feature)) for feature in features]
        return logits, [self.bbox_pred(self.bbox_subnet(feature)) for feature in features]
