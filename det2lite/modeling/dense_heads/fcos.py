"""The head of FCOS, arXiv 1904.01355 and 2006.09214."""

from typing import Any

import torch
from torch import nn

from det2lite.config import CfgNode, configurable
from det2lite.layers import ShapeSpec
from det2lite.modeling.dense_heads.retinanet import RetinaNetHead
from det2lite.utils.errors import BadCall

__all__ = ["FCOSHead"]


class FCOSHead(RetinaNetHead):
    """RetinaNet's head with one prediction at each position, and its centre-ness beside the box."""

    @configurable
    def __init__(self, *, input_shape: list[ShapeSpec], conv_dims: list[int], num_anchors: int = 1, **kwargs: Any):
        super().__init__(input_shape=input_shape, conv_dims=conv_dims, num_anchors=num_anchors, **kwargs)
        self.ctrness = nn.Conv2d(conv_dims[-1], 1, kernel_size=3, padding=1)
        nn.init.normal_(self.ctrness.weight, std=0.01)
        nn.init.zeros_(self.ctrness.bias)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: list[ShapeSpec]) -> dict[str, Any]:
        fcos = cfg.MODEL.FCOS
        return {
            "input_shape": input_shape,
            "num_classes": fcos.NUM_CLASSES,
            "conv_dims": [input_shape[0].channels] * fcos.NUM_CONVS,
            "norm": fcos.NORM,
            "prior_prob": fcos.PRIOR_PROB,
        }

    def forward(
        self, features: list[torch.Tensor]
    ) -> tuple[list[torch.Tensor], list[torch.Tensor], list[torch.Tensor]]:
        """features: one a level, `(N, C, H, W)`. Returns logits `(N, K, H, W)`, distances to the sides
        `(N, 4, H, W)` in strides, and logits of the centre-ness `(N, 1, H, W)`."""
        if len(features) != self._num_features:
            raise BadCall(f"{len(features)} feature maps for {self._num_features} levels")
        logits = [self.cls_score(self.cls_subnet(feature)) for feature in features]
        hidden = [self.bbox_subnet(feature) for feature in features]
        return logits, [self.bbox_pred(x) for x in hidden], [self.ctrness(x) for x in hidden]
