"""What every backbone offers: a forward pass to named feature maps, and their shapes."""

from abc import ABCMeta, abstractmethod

import torch
from torch import nn

from det2lite.layers import FeatureShapes, ShapeSpec

__all__ = ["Backbone"]


class Backbone(nn.Module, metaclass=ABCMeta):
    """Maps images `(N, C, H, W)` to a dict of feature maps.

    A subclass sets `_out_features` (names), `_out_feature_channels` and `_out_feature_strides` (dicts by name).
    """

    _out_features: list[str]
    _out_feature_channels: dict[str, int]
    _out_feature_strides: dict[str, int]

    @abstractmethod
    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Feature maps by name, each `(N, C_i, H / stride_i, W / stride_i)`."""

    @property
    def size_divisibility(self) -> int:
        """Number of pixels that height and width of the input must be multiples of; 0: any size."""
        return 0

    @property
    def padding_constraints(self) -> dict[str, int]:
        """Further demands on the input's size: `size_divisibility`, and `square_size` of a square input."""
        return {}

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Channels and stride of each feature map."""
        channels, strides = self._out_feature_channels, self._out_feature_strides
        return FeatureShapes(
            (name, ShapeSpec(channels=channels.get(name), stride=strides.get(name))) for name in self._out_features
        )
