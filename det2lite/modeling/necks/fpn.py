"""Feature pyramid network, arXiv 1612.03144."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from det2lite.config import CfgNode
from det2lite.layers import Conv2d, ShapeSpec, get_norm
from det2lite.modeling.backbone.backbone import Backbone
from det2lite.modeling.backbone.build import BACKBONE_REGISTRY
from det2lite.modeling.backbone.regnet import build_regnet_backbone
from det2lite.modeling.backbone.resnet import build_resnet_backbone
from det2lite.utils.errors import BadValue
from det2lite.utils.fvcore_nn import weight_init

__all__ = [
    "FPN",
    "LastLevelMaxPool",
    "LastLevelP6P7",
    "build_regnet_fpn_backbone",
    "build_resnet_fpn_backbone",
    "build_retinanet_resnet_fpn_backbone",
]


class FPN(Backbone):
    """Adds a top-down path to a backbone and returns the features `p2, p3, ...`, named by log2 of their stride.

    in_features: features of `bottom_up`, from high to low resolution, strides doubling. norm: see `get_norm`.
    top_block: makes coarser levels; it has `num_levels`, `in_feature` and returns a list of maps.
    fuse_type: "sum" or "avg". square_pad: side in pixels that inputs are padded to, where positive.
    """

    def __init__(
        self,
        bottom_up: Backbone,
        in_features: list[str],
        out_channels: int,
        norm: str = "",
        top_block: nn.Module | None = None,
        fuse_type: str = "sum",
        square_pad: int = 0,
    ):
        super().__init__()
        if not in_features:
            raise BadValue("MODEL.FPN.IN_FEATURES is empty; name features of the backbone, such as res2 ... res5")
        if fuse_type not in ("sum", "avg"):
            raise BadValue(f"MODEL.FPN.FUSE_TYPE {fuse_type!r} is not 'sum' or 'avg'")
        shapes = bottom_up.output_shape()
        strides = [shapes[name].stride for name in in_features]
        _assert_strides_are_log2_contiguous(strides)
        self.in_features = tuple(in_features)
        levels = [int(math.log2(stride)) for stride in strides]
        for name, level in zip(in_features, levels, strict=True):
            lateral = _pyramid_conv(shapes[name].channels, out_channels, 1, norm)
            output = _pyramid_conv(out_channels, out_channels, 3, norm)
            for kind, conv in (("lateral", lateral), ("output", output)):
                weight_init.c2_xavier_fill(conv)
                self.add_module(f"fpn_{kind}{level}", conv)
        self.top_block = top_block
        self.bottom_up = bottom_up
        last = levels[-1] + (top_block.num_levels if top_block is not None else 0)
        self._out_features = [f"p{level}" for level in range(levels[0], last + 1)]
        self._out_feature_strides = {f"p{level}": 2**level for level in range(levels[0], last + 1)}
        self._out_feature_channels = dict.fromkeys(self._out_features, out_channels)
        self._size_divisibility = strides[-1]
        self._square_pad = square_pad
        self._fuse_type = fuse_type

    @property
    def size_divisibility(self) -> int:
        return self._size_divisibility

    @property
    def padding_constraints(self) -> dict[str, int]:
        return {"square_size": self._square_pad}

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """x: `(N, C, H, W)`. Returns `p<level>: (N, out_channels, H / 2**level, W / 2**level)`."""
        features = self.bottom_up(x)
        # Children come as they were added, from high to low resolution. TorchScript unrolls loops over them, and
        # must be told by an attribute which are no convolutions, as it compiles the call of each.
        merged: list[torch.Tensor] = []
        for name, module in self.named_children():
            if (not torch.jit.is_scripting() or hasattr(module, "kernel_size")) and name.startswith("fpn_lateral"):
                merged.append(module(features[self.in_features[len(merged)]]))
        for i in range(len(merged) - 2, -1, -1):
            merged[i] = merged[i] + F.interpolate(merged[i + 1], scale_factor=2.0, mode="nearest")
            if self._fuse_type == "avg":
                merged[i] = merged[i] / 2
        maps: list[torch.Tensor] = []
        for name, module in self.named_children():
            if (not torch.jit.is_scripting() or hasattr(module, "kernel_size")) and name.startswith("fpn_output"):
                maps.append(module(merged[len(maps)]))
        if self.top_block is not None:
            source = self.top_block.in_feature
            top = features[source] if source in features else maps[self._out_features.index(source)]
            maps.extend(self.top_block(top))
        return {name: feature for name, feature in zip(self._out_features, maps)}  # noqa: B905, C416 - TorchScript

    @property
    @torch.jit.unused
    def lateral_convs(self) -> list[nn.Module]:
        """The 1x1 convolutions, in the order of the top-down path: from low to high resolution."""
        return [module for name, module in self.named_children() if name.startswith("fpn_lateral")][::-1]

    @property
    @torch.jit.unused
    def output_convs(self) -> list[nn.Module]:
        """The 3x3 convolutions behind them, in the same order."""
        return [module for name, module in self.named_children() if name.startswith("fpn_output")][::-1]


def _assert_strides_are_log2_contiguous(strides: list[int]) -> None:
    if any(finer * 2 != coarser for finer, coarser in zip(strides[:-1], strides[1:], strict=True)):
        raise BadValue(f"a feature pyramid needs features whose strides double, not {strides}")


def _pyramid_conv(in_channels: int, out_channels: int, kernel_size: int, norm: str) -> Conv2d:
    return Conv2d(
        in_channels,
        out_channels,
        kernel_size=kernel_size,
        padding=kernel_size // 2,
        bias=norm == "",
        norm=get_norm(norm, out_channels),
    )


class LastLevelMaxPool(nn.Module):
    """P6 of Faster R-CNN: P5 at every other position."""

    def __init__(self):
        super().__init__()
        self.num_levels = 1
        self.in_feature = "p5"

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        return [F.max_pool2d(x, kernel_size=1, stride=2)]


class LastLevelP6P7(nn.Module):
    """P6 and P7 of RetinaNet (arXiv 1708.02002): two convolutions of stride 2 on `in_feature`."""

    def __init__(self, in_channels: int, out_channels: int, in_feature: str = "res5"):
        super().__init__()
        self.num_levels = 2
        self.in_feature = in_feature
        self.p6 = nn.Conv2d(in_channels, out_channels, 3, 2, 1)
        self.p7 = nn.Conv2d(out_channels, out_channels, 3, 2, 1)
        for conv in (self.p6, self.p7):
            weight_init.c2_xavier_fill(conv)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        p6 = self.p6(x)
        return [p6, self.p7(F.relu(p6))]


def _wrap(cfg: CfgNode, bottom_up: Backbone, top_block: nn.Module) -> FPN:
    fpn = cfg.MODEL.FPN
    return FPN(
        bottom_up=bottom_up,
        in_features=fpn.IN_FEATURES,
        out_channels=fpn.OUT_CHANNELS,
        norm=fpn.NORM,
        top_block=top_block,
        fuse_type=fpn.FUSE_TYPE,
    )


@BACKBONE_REGISTRY.register()
def build_resnet_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> FPN:
    """ResNet, FPN and the pooled P6."""
    return _wrap(cfg, build_resnet_backbone(cfg, input_shape), LastLevelMaxPool())


@BACKBONE_REGISTRY.register()
def build_regnet_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> FPN:
    """RegNet, FPN and the pooled P6."""
    return _wrap(cfg, build_regnet_backbone(cfg, input_shape), LastLevelMaxPool())


@BACKBONE_REGISTRY.register()
def build_retinanet_resnet_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> FPN:
    """ResNet, FPN and the convolved P6 and P7."""
    bottom_up = build_resnet_backbone(cfg, input_shape)
    in_channels = bottom_up.output_shape()["res5"].channels
    return _wrap(cfg, bottom_up, LastLevelP6P7(in_channels, cfg.MODEL.FPN.OUT_CHANNELS))
