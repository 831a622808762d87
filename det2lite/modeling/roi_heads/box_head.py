"""The trunk that turns pooled regions into vectors for classification and box regression."""

from typing import Any

import numpy as np
import torch
from torch import nn

from det2lite.config import CfgNode, configurable
from det2lite.layers import Conv2d, ShapeSpec, get_norm
from det2lite.layers.linear import FastLinear
from det2lite.utils.errors import BadCall
from det2lite.utils.fvcore_nn import weight_init
from det2lite.utils.registry import Registry

__all__ = ["ROI_BOX_HEAD_REGISTRY", "FastRCNNConvFCHead", "build_box_head"]

ROI_BOX_HEAD_REGISTRY = Registry("ROI_BOX_HEAD")
ROI_BOX_HEAD_REGISTRY.__doc__ = "Modules called with `(cfg, input_shape)`, having `output_shape`."


def build_box_head(cfg: CfgNode, input_shape: ShapeSpec) -> nn.Module:
    """The box head of `cfg.MODEL.ROI_BOX_HEAD.NAME`."""
    return ROI_BOX_HEAD_REGISTRY.get(cfg.MODEL.ROI_BOX_HEAD.NAME)(cfg, input_shape)


@ROI_BOX_HEAD_REGISTRY.register()
class FastRCNNConvFCHead(nn.Sequential):
    """3x3 convolutions, then fully connected layers. conv_dims, fc_dims: their channels."""

    @configurable
    def __init__(self, input_shape: ShapeSpec, *, conv_dims: list[int], fc_dims: list[int], conv_norm: str = ""):
        super().__init__()
        if not conv_dims and not fc_dims:
            raise BadCall("a box head needs a layer; see MODEL.ROI_BOX_HEAD.NUM_CONV and NUM_FC")
        channels = input_shape.channels
        for i, dim in enumerate(conv_dims, start=1):
            norm = get_norm(conv_norm, dim)
            conv = Conv2d(channels, dim, 3, padding=1, bias=not conv_norm, norm=norm, activation=nn.ReLU())
            self.add_module(f"conv{i}", conv)
            channels = dim
        self._output_size = (channels, input_shape.height, input_shape.width)
        for i, dim in enumerate(fc_dims, start=1):
            if i == 1:
                self.add_module("flatten", nn.Flatten())
            self.add_module(f"fc{i}", FastLinear(int(np.prod(self._output_size)), dim))
            self.add_module(f"fc_relu{i}", nn.ReLU())
            self._output_size = (dim,)
        # after all layers are there: a seed then gives the same weights as in Detectron2
        for layer in self:
            if isinstance(layer, Conv2d):
                weight_init.c2_msra_fill(layer)
            elif isinstance(layer, nn.Linear):
                weight_init.c2_xavier_fill(layer)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict[str, Any]:
        head = cfg.MODEL.ROI_BOX_HEAD
        return {
            "input_shape": input_shape,
            "conv_dims": [head.CONV_DIM] * head.NUM_CONV,
            "fc_dims": [head.FC_DIM] * head.NUM_FC,
            "conv_norm": head.NORM,
        }

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: `(R, C, H, W)`. Returns `(R, fc_dims[-1])`, or maps where there is no fully connected layer."""
        for layer in self:
            x = layer(x)
        return x

    @property
    @torch.jit.unused
    def output_shape(self) -> ShapeSpec:
        """Shape of the output without its first dimension."""
        return ShapeSpec(**dict(zip(("channels", "height", "width"), self._output_size, strict=False)))
