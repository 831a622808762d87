"""RegNet: networks whose widths grow along a quantised line. arXiv 2003.13678."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn

from det2lite.config import CfgNode
from det2lite.layers import CNNBlockBase, ShapeSpec, get_norm
from det2lite.modeling.backbone.backbone import Backbone
from det2lite.modeling.backbone.build import BACKBONE_REGISTRY
from det2lite.utils.errors import BadCall, BadValue

__all__ = [
    "AnyNet",
    "RegNet",
    "ResBasicBlock",
    "ResBottleneckBlock",
    "SimpleStem",
    "VanillaBlock",
    "build_regnet_backbone",
]

ActivationClass = Callable[[], nn.Module]


def default_activation() -> nn.Module:
    return nn.ReLU(inplace=True)


def conv2d(
    in_channels: int, out_channels: int, kernel_size: int, *, stride: int = 1, groups: int = 1, bias: bool = False
) -> nn.Conv2d:
    """A convolution whose padding keeps the size at stride 1, with weights for a ReLU behind it, by its fan-out."""
    padding = (kernel_size - 1) // 2
    conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, groups=groups, bias=bias)
    nn.init.normal_(conv.weight, std=math.sqrt(2.0 / (kernel_size * kernel_size * out_channels)))
    return conv


class SE(nn.Module):
    """Weighs channels by what the whole map holds: squeeze-and-excitation, arXiv 1709.01507."""

    def __init__(self, channels: int, squeezed_channels: int, activation_class: ActivationClass):
        super().__init__()
        self.avg_pool = nn.AdaptiveAvgPool2d((1, 1))
        self.f_ex = nn.Sequential(
            conv2d(channels, squeezed_channels, 1, bias=True),
            activation_class(),
            conv2d(squeezed_channels, channels, 1, bias=True),
            nn.Sigmoid(),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.f_ex(self.avg_pool(x))


class SimpleStem(CNNBlockBase):
    """A 3x3 convolution of stride 2."""

    def __init__(self, in_channels: int, out_channels: int, norm: str, activation_class: ActivationClass):
        super().__init__(in_channels, out_channels, 2)
        self.conv = conv2d(in_channels, out_channels, 3, stride=2)
        self.bn = get_norm(norm, out_channels)
        self.af = activation_class()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.af(self.bn(self.conv(x)))


class VanillaBlock(CNNBlockBase):
    """Two 3x3 convolutions without a shortcut. group_width, bottleneck_ratio, se_ratio are not used."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int,
        norm: str,
        activation_class: ActivationClass,
        bottleneck_ratio: float = 1.0,
        group_width: int = 1,
        se_ratio: float = 0.0,
    ):
        super().__init__(in_channels, out_channels, stride)
        self.a = conv2d(in_channels, out_channels, 3, stride=stride)
        self.a_bn = get_norm(norm, out_channels)
        self.a_af = activation_class()
        self.b = conv2d(out_channels, out_channels, 3)
        self.b_bn = get_norm(norm, out_channels)
        self.b_af = activation_class()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.a_af(self.a_bn(self.a(x)))
        return self.b_af(self.b_bn(self.b(x)))


class BasicTransform(nn.Module):
    """Two 3x3 convolutions, the second without activation."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, norm: str, activation_class: ActivationClass):
        super().__init__()
        self.a = conv2d(in_channels, out_channels, 3, stride=stride)
        self.a_bn = get_norm(norm, out_channels)
        self.a_af = activation_class()
        self.b = conv2d(out_channels, out_channels, 3)
        self.b_bn = get_norm(norm, out_channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.a_af(self.a_bn(self.a(x)))
        return self.b_bn(self.b(x))


class BottleneckTransform(nn.Module):
    """1x1, grouped 3x3, squeeze-and-excitation where se_ratio is positive, and 1x1 without activation.

    bottleneck_ratio: channels of the 3x3 convolution to those of the output. se_ratio: squeezed channels to those of
    the input.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int,
        norm: str,
        activation_class: ActivationClass,
        bottleneck_ratio: float,
        group_width: int,
        se_ratio: float,
    ):
        super().__init__()
        channels = round(out_channels * bottleneck_ratio)
        self.a = conv2d(in_channels, channels, 1)
        self.a_bn = get_norm(norm, channels)
        self.a_af = activation_class()
        self.b = conv2d(channels, channels, 3, stride=stride, groups=channels // group_width)
        self.b_bn = get_norm(norm, channels)
        self.b_af = activation_class()
        self.se = SE(channels, round(in_channels * se_ratio), activation_class) if se_ratio else None
        self.c = conv2d(channels, out_channels, 1)
        self.c_bn = get_norm(norm, out_channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.a_af(self.a_bn(self.a(x)))
        x = self.b_af(self.b_bn(self.b(x)))
        if self.se is not None:
            x = self.se(x)
        return self.c_bn(self.c(x))


class _ResBlock(CNNBlockBase):
    """A transform `f` added to its input, which is projected where the shape changes."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int,
        norm: str,
        activation_class: ActivationClass,
        transform: nn.Module,
    ):
        super().__init__(in_channels, out_channels, stride)
        self.proj, self.bn = None, None
        if in_channels != out_channels or stride != 1:
            self.proj = conv2d(in_channels, out_channels, 1, stride=stride)
            self.bn = get_norm(norm, out_channels)
        self.f = transform
        self.af = activation_class()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shortcut = x if self.proj is None else self.bn(self.proj(x))
        return self.af(shortcut + self.f(x))


class ResBasicBlock(_ResBlock):
    """A residual block of two 3x3 convolutions. bottleneck_ratio, group_width, se_ratio are not used."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int,
        norm: str,
        activation_class: ActivationClass,
        bottleneck_ratio: float = 1.0,
        group_width: int = 1,
        se_ratio: float = 0.0,
    ):
        transform = BasicTransform(in_channels, out_channels, stride, norm, activation_class)
        super().__init__(in_channels, out_channels, stride, norm, activation_class, transform)


class ResBottleneckBlock(_ResBlock):
    """The X block, and with se_ratio the Y block, of RegNet."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int,
        norm: str,
        activation_class: ActivationClass,
        bottleneck_ratio: float = 1.0,
        group_width: int = 1,
        se_ratio: float = 0.0,
    ):
        transform = BottleneckTransform(
            in_channels, out_channels, stride, norm, activation_class, bottleneck_ratio, group_width, se_ratio
        )
        super().__init__(in_channels, out_channels, stride, norm, activation_class, transform)


class AnyNet(Backbone):
    """A stem and stages `s1, s2, ...` of like blocks `b1, b2, ...`; all lists have one entry for each stage.

    stem_class, block_class: made as `SimpleStem` and `ResBottleneckBlock`. group_widths: channels of a group.
    activation_class: makes an activation, ReLU where None. freeze_at: 1 freezes the stem, 2 the first stage too, ...
    out_features: among "stem" and the stages; the last stage where None.
    """

    def __init__(
        self,
        *,
        stem_class: Callable[..., CNNBlockBase],
        stem_width: int,
        block_class: Callable[..., CNNBlockBase],
        depths: Sequence[int],
        widths: Sequence[int],
        group_widths: Sequence[int],
        strides: Sequence[int],
        bottleneck_ratios: Sequence[float],
        se_ratio: float,
        activation_class: ActivationClass | None = None,
        freeze_at: int = 0,
        norm: str = "BN",
        out_features: Sequence[str] | None = None,
    ):
        super().__init__()
        activation_class = activation_class or default_activation
        self.stem = stem_class(3, stem_width, norm, activation_class)
        self._out_feature_strides = {"stem": self.stem.stride}
        self._out_feature_channels = {"stem": self.stem.out_channels}
        self.stages_and_names = []
        channels, stride = stem_width, self.stem.stride
        stages = zip(depths, widths, strides, bottleneck_ratios, group_widths, strict=True)
        for number, (depth, width, stage_stride, ratio, group_width) in enumerate(stages, 1):
            stage = nn.Sequential()
            for i in range(depth):
                block = block_class(
                    channels,
                    width,
                    stage_stride if i == 0 else 1,
                    norm,
                    activation_class,
                    bottleneck_ratio=ratio,
                    group_width=group_width,
                    se_ratio=se_ratio,
                )
                stage.add_module(f"b{i + 1}", block)
                channels, stride = block.out_channels, stride * block.stride
            name = f"s{number}"
            self.add_module(name, stage)
            self.stages_and_names.append((stage, name))
            self._out_feature_strides[name], self._out_feature_channels[name] = stride, channels
        self._out_features = [name] if out_features is None else list(out_features)
        unknown = set(self._out_features) - self._out_feature_channels.keys()
        if unknown or not self._out_features:
            known = ", ".join(self._out_feature_channels)
            raise BadValue(f"RegNet has no feature {sorted(unknown)}; known: {known}")
        self.freeze(freeze_at)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """x: `(N, 3, H, W)`. Returns the feature maps named by `out_features`."""
        if x.dim() != 4:
            raise BadCall(f"AnyNet takes (N, C, H, W), got {x.shape}")
        outputs = {}
        x = self.stem(x)
        if "stem" in self._out_features:
            outputs["stem"] = x
        for name, stage in self.named_children():  # TorchScript unrolls this; it cannot look children up by name
            if name != "stem":
                x = stage(x)
                if name in self._out_features:
                    outputs[name] = x
        return outputs

    def freeze(self, freeze_at: int = 0) -> "AnyNet":
        """Stops the training of the stem (1), of s1 too (2), and so on; 0 freezes nothing."""
        if freeze_at >= 1:
            self.stem.freeze()
        for number, (stage, _) in enumerate(self.stages_and_names, 2):
            if freeze_at >= number:
                for block in stage.children():
                    block.freeze()
        return self


def fit_groups(
    widths: Sequence[int], bottleneck_ratios: Sequence[float], group_widths: Sequence[int]
) -> tuple[list[int], list[int]]:
    """Widths and group widths of stages, changed as little as it takes for groups to divide the bottleneck's width."""
    fitted_widths, fitted_groups = [], []
    for width, ratio, group_width in zip(widths, bottleneck_ratios, group_widths, strict=True):
        inner = int(max(1, width * ratio))
        group_width = int(min(group_width, inner))
        step = math.lcm(group_width, int(ratio)) if ratio > 1 else group_width
        inner = max(step, int(round(inner / step) * step))
        fitted_widths.append(int(inner / ratio))
        fitted_groups.append(group_width)
    return fitted_widths, fitted_groups


class RegNet(AnyNet):
    """An AnyNet of which four numbers give the widths and depths of the stages.

    depth: blocks in all. w_a: growth of the width with each block. w_0: width at the start. w_m: factor between the
    widths of two stages. group_width, stride, bottleneck_ratio: of every stage.
    """

    def __init__(
        self,
        *,
        stem_class: Callable[..., CNNBlockBase],
        stem_width: int,
        block_class: Callable[..., CNNBlockBase],
        depth: int,
        w_a: float,
        w_0: float,
        w_m: float,
        group_width: int,
        stride: int = 2,
        bottleneck_ratio: float = 1.0,
        se_ratio: float = 0.0,
        activation_class: ActivationClass | None = None,
        freeze_at: int = 0,
        norm: str = "BN",
        out_features: Sequence[str] | None = None,
    ):
        widths, depths = RegNet.generate_regnet_parameters(w_a, w_0, w_m, depth)[:2]
        stages = len(widths)
        ratios = [bottleneck_ratio] * stages
        widths, group_widths = fit_groups(widths, ratios, [group_width] * stages)
        super().__init__(
            stem_class=stem_class,
            stem_width=stem_width,
            block_class=block_class,
            depths=depths,
            widths=widths,
            group_widths=group_widths,
            strides=[stride] * stages,
            bottleneck_ratios=ratios,
            se_ratio=se_ratio,
            activation_class=activation_class,
            freeze_at=freeze_at,
            norm=norm,
            out_features=out_features,
        )

    @staticmethod
    def generate_regnet_parameters(
        w_a: float, w_0: float, w_m: float, depth: int, q: int = 8
    ) -> tuple[list[int], list[int], int, int, list[int], list[float]]:
        """Widths and depths of the stages, their number twice, and for each block its width and that on the line.

        Blocks lie on a line; their widths are the nearest power of w_m times w_0, rounded to a multiple of q.
        """
        if w_a < 0 or w_0 <= 0 or w_m <= 1 or w_0 % q:
            raise BadValue(f"RegNet needs w_a >= 0, w_0 > 0 that {q} divides and w_m > 1; got {w_a}, {w_0}, {w_m}")
        line = np.arange(depth) * w_a + w_0
        powers = np.round(np.log(line / w_0) / np.log(w_m))
        block_widths = (np.round(w_0 * w_m**powers / q) * q).astype(int)
        widths, depths = np.unique(block_widths, return_counts=True)
        stages = len(widths)
        return widths.tolist(), depths.tolist(), stages, int(powers.max()) + 1, block_widths.tolist(), line.tolist()


@BACKBONE_REGISTRY.register()
def build_regnet_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> RegNet:
    """The RegNet of `cfg.MODEL.REGNET`, frozen up to `MODEL.BACKBONE.FREEZE_AT`."""
    regnet = cfg.MODEL.REGNET
    return RegNet(
        stem_class=SimpleStem,
        stem_width=regnet.STEM_WIDTH,
        block_class=ResBottleneckBlock,
        depth=regnet.DEPTH,
        w_a=regnet.W_A,
        w_0=regnet.W_0,
        w_m=regnet.W_M,
        group_width=regnet.GROUP_WIDTH,
        se_ratio=regnet.SE_RATIO,
        freeze_at=cfg.MODEL.BACKBONE.FREEZE_AT,
        norm=regnet.NORM,
        out_features=regnet.OUT_FEATURES,
    )
