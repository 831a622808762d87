"""ResNet (arXiv 1512.03385) and ResNeXt (1611.05431), which is a ResNet with groups."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from det2lite.config import CfgNode
from det2lite.layers import CNNBlockBase, Conv2d, DeformConv, ModulatedDeformConv, ShapeSpec, get_norm
from det2lite.layers.wrappers import channels_first_in_float32
from det2lite.modeling.backbone.backbone import Backbone
from det2lite.modeling.backbone.build import BACKBONE_REGISTRY
from det2lite.utils.errors import BadCall, BadValue
from det2lite.utils.fvcore_nn import weight_init

__all__ = [
    "BasicBlock",
    "BasicStem",
    "BottleneckBlock",
    "DeformBottleneckBlock",
    "ResNet",
    "ResNetBlockBase",
    "build_resnet_backbone",
    "make_stage",
]

BLOCKS_PER_STAGE = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
BASIC_DEPTHS = (18, 34)  # made of BasicBlock; the others of BottleneckBlock

ResNetBlockBase = CNNBlockBase


def conv_norm(in_channels: int, out_channels: int, kernel_size: int, norm: str, **kwargs: Any) -> Conv2d:
    """A convolution without bias, its padding keeping the size at stride 1, followed by a normalisation."""
    padding = kwargs.pop("padding", kernel_size // 2 * kwargs.get("dilation", 1))
    return Conv2d(
        in_channels,
        out_channels,
        kernel_size=kernel_size,
        padding=padding,
        bias=False,
        norm=get_norm(norm, out_channels),
        **kwargs,
    )


def init_convs(*convs: nn.Module | None) -> None:
    """He initialisation, once a block is complete: a seed then gives the same weights as in Detectron2."""
    for conv in convs:
        if conv is not None:
            weight_init.c2_msra_fill(conv)


class BasicBlock(CNNBlockBase):
    """Two 3x3 convolutions and a shortcut, of ResNet-18 and -34."""

    def __init__(self, in_channels: int, out_channels: int, *, stride: int = 1, norm: str = "BN"):
        super().__init__(in_channels, out_channels, stride)
        changes = in_channels != out_channels or stride != 1
        self.shortcut = conv_norm(in_channels, out_channels, 1, norm, stride=stride) if changes else None
        self.conv1 = conv_norm(in_channels, out_channels, 3, norm, stride=stride)
        self.conv2 = conv_norm(out_channels, out_channels, 3, norm)
        init_convs(self.conv1, self.conv2, self.shortcut)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = F.relu_(self.conv1(x))
        out = self.conv2(out)
        return F.relu_(out + (x if self.shortcut is None else self.shortcut(x)))


class BottleneckBlock(CNNBlockBase):
    """1x1, 3x3 and 1x1 convolutions and a shortcut, of ResNet-50 and deeper."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        bottleneck_channels: int,
        stride: int = 1,
        num_groups: int = 1,
        norm: str = "BN",
        stride_in_1x1: bool = False,
        dilation: int = 1,
    ):
        super().__init__(in_channels, out_channels, stride)
        changes = in_channels != out_channels or stride != 1
        self.shortcut = conv_norm(in_channels, out_channels, 1, norm, stride=stride) if changes else None
        stride_1x1, stride_3x3 = (stride, 1) if stride_in_1x1 else (1, stride)
        self.conv1 = conv_norm(in_channels, bottleneck_channels, 1, norm, stride=stride_1x1)
        self.conv2 = self.spatial_conv(
            bottleneck_channels, norm, stride=stride_3x3, groups=num_groups, dilation=dilation
        )
        self.conv3 = conv_norm(bottleneck_channels, out_channels, 1, norm)
        init_convs(self.conv1, self.conv2, self.conv3, self.shortcut)

    def spatial_conv(self, channels: int, norm: str, **kwargs: Any) -> nn.Module:
        """The 3x3 convolution, which variants of the block replace."""
        return conv_norm(channels, channels, 3, norm, **kwargs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = F.relu_(self.conv1(x))
        out = F.relu_(self.conv2(out))
        out = self.conv3(out)
        return F.relu_(out + (x if self.shortcut is None else self.shortcut(x)))


class DeformBottleneckBlock(BottleneckBlock):
    """`BottleneckBlock` whose 3x3 convolution is deformable, arXiv 1703.06211.

    deform_modulated: its samples are weighted too, arXiv 1811.11168. deform_num_groups: parts of the channels with
    offsets of their own.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        bottleneck_channels: int,
        stride: int = 1,
        num_groups: int = 1,
        norm: str = "BN",
        stride_in_1x1: bool = False,
        dilation: int = 1,
        deform_modulated: bool = False,
        deform_num_groups: int = 1,
    ):
        self.deform_modulated = deform_modulated
        self.deform_num_groups = deform_num_groups
        super().__init__(
            in_channels,
            out_channels,
            bottleneck_channels=bottleneck_channels,
            stride=stride,
            num_groups=num_groups,
            norm=norm,
            stride_in_1x1=stride_in_1x1,
            dilation=dilation,
        )

    def spatial_conv(self, channels: int, norm: str, *, stride: int, groups: int, dilation: int) -> nn.Module:
        """The deformable convolution; the convolution that tells it where to look comes first, as `conv2_offset`."""
        num_numbers = 3 if self.deform_modulated else 2  # y, x and the weight of each of the 9 samples
        shape = {"kernel_size": 3, "stride": stride, "padding": dilation, "dilation": dilation}
        self.conv2_offset = Conv2d(channels, num_numbers * 9 * self.deform_num_groups, **shape)
        nn.init.zeros_(self.conv2_offset.weight)
        nn.init.zeros_(self.conv2_offset.bias)
        conv_class = ModulatedDeformConv if self.deform_modulated else DeformConv
        return conv_class(
            channels,
            channels,
            bias=False,
            groups=groups,
            deformable_groups=self.deform_num_groups,
            norm=get_norm(norm, channels),
            **shape,
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = F.relu_(self.conv1(x))
        offset = self.conv2_offset(out)  # (N, 18 or 27 * groups, H, W)
        if self.deform_modulated:
            num_offsets = offset.shape[1] // 3 * 2
            out = self.conv2(out, offset[:, :num_offsets], offset[:, num_offsets:].sigmoid())
        else:
            out = self.conv2(out, offset)
        out = self.conv3(F.relu_(out))
        return F.relu_(out + (x if self.shortcut is None else self.shortcut(x)))


class BasicStem(CNNBlockBase):
    """A 7x7 convolution of stride 2 and a max pooling of stride 2."""

    def __init__(self, in_channels: int = 3, out_channels: int = 64, norm: str = "BN"):
        super().__init__(in_channels, out_channels, 4)
        self.in_channels = in_channels
        self.conv1 = conv_norm(in_channels, out_channels, 7, norm, stride=2)
        init_convs(self.conv1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.max_pool2d(F.relu_(self.conv1(x)), kernel_size=3, stride=2, padding=1)


class ResNet(Backbone):
    """A stem and stages of blocks, named `stem, res2, res3, ...`.

    stages: for each stage a list of `CNNBlockBase`. num_classes: adds a classifier, the feature `linear`.
    out_features: names to return; stages behind the last of them are not kept. freeze_at: see `freeze`.
    """

    def __init__(
        self,
        stem: CNNBlockBase,
        stages: list[list[CNNBlockBase]],
        num_classes: int | None = None,
        out_features: Sequence[str] | None = None,
        freeze_at: int = 0,
    ):
        super().__init__()
        self.stem = stem
        self.num_classes = num_classes
        self._out_feature_strides = {"stem": stem.stride}
        self._out_feature_channels = {"stem": stem.out_channels}
        names = [f"res{i + 2}" for i in range(len(stages))]
        if out_features is not None and not set(out_features) & {"linear"}:
            used = [i for i, name in enumerate(names) if name in out_features]
            stages = stages[: used[-1] + 1 if used else 0]
        self.stage_names = names[: len(stages)]
        stride, channels = stem.stride, stem.out_channels
        for name, blocks in zip(self.stage_names, stages, strict=True):
            if not blocks:
                raise BadCall(f"stage {name} has no blocks")
            self.add_module(name, nn.Sequential(*blocks))
            for block in blocks:
                stride *= block.stride
            channels = blocks[-1].out_channels
            self._out_feature_strides[name], self._out_feature_channels[name] = stride, channels
        if num_classes is not None:
            self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
            self.linear = nn.Linear(channels, num_classes)
            nn.init.normal_(self.linear.weight, std=0.01)
        last = "linear" if num_classes is not None else (self.stage_names or ("stem",))[-1]
        self._out_features = list(out_features) if out_features is not None else [last]
        known = {"stem", *self.stage_names} | ({"linear"} if num_classes is not None else set())
        unknown = set(self._out_features) - known
        if unknown or not self._out_features:
            raise BadValue(f"ResNet has no feature {sorted(unknown)}; known: {', '.join(sorted(known))}")
        # Deformable convolutions read channels first; that order and norms apart then cost nothing on the CPU, and sums
        # are rounded as in Detectron2, which 150 layers carry into the masks of boxes narrower than a pixel.
        self._is_deformable = any(isinstance(x, DeformConv | ModulatedDeformConv) for x in self.modules())
        for module in self.modules() if self._is_deformable else ():
            if isinstance(module, Conv2d):
                module.folds_norm = False
        self.freeze(freeze_at)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """x: `(N, C, H, W)`. Returns the feature maps named by `out_features`."""
        if x.dim() != 4:
            raise BadCall(f"ResNet takes (N, C, H, W), got {x.shape}")
        if self._is_deformable:
            x = channels_first_in_float32(x)
        outputs = {}
        x = self.stem(x)
        if "stem" in self._out_features:
            outputs["stem"] = x
        for name, stage in self.named_children():  # TorchScript unrolls this; it cannot look children up by name
            if name in self.stage_names:
                x = stage(x)
                if name in self._out_features:
                    outputs[name] = x
        if self.num_classes is not None:
            x = self.linear(self.avgpool(x).flatten(1))
            if "linear" in self._out_features:
                outputs["linear"] = x
        return outputs

    @property
    @torch.jit.unused
    def stages(self) -> list[nn.Module]:
        """The stages, from high to low resolution."""
        return [getattr(self, name) for name in self.stage_names]

    def freeze(self, freeze_at: int = 0) -> "ResNet":
        """Stops the training of the stem (1), of res2 too (2), and so on; 0 freezes nothing."""
        if freeze_at >= 1:
            self.stem.freeze()
        for stage in self.stages[: max(freeze_at - 1, 0)]:
            for block in stage:
                block.freeze()
        return self

    @staticmethod
    def make_stage(
        block_class: type[CNNBlockBase], num_blocks: int, *, in_channels: int, out_channels: int, **kwargs: Any
    ) -> list[CNNBlockBase]:
        """`num_blocks` blocks; an argument named `<key>_per_block` holds one value of `<key>` for each block."""
        suffix = "_per_block"
        per_block = {key.removesuffix(suffix): kwargs.pop(key) for key in list(kwargs) if key.endswith(suffix)}
        for key, values in per_block.items():
            if len(values) != num_blocks or key in kwargs:
                raise BadCall(f"{key}{suffix} must hold {num_blocks} values, and {key} cannot be given beside it")
        blocks = []
        for i in range(num_blocks):
            own = {key: values[i] for key, values in per_block.items()}
            blocks.append(block_class(in_channels, out_channels, **own, **kwargs))
            in_channels = out_channels
        return blocks

    @staticmethod
    def make_default_stages(
        depth: int, block_class: type[CNNBlockBase] | None = None, **kwargs: Any
    ) -> list[list[CNNBlockBase]]:
        """The four stages of a standard ResNet; `kwargs` go to every block."""
        basic = depth in BASIC_DEPTHS
        block_class = block_class or (BasicBlock if basic else BottleneckBlock)
        in_channels, stages = 64, []
        for i, num_blocks in enumerate(_blocks_per_stage(depth)):
            out_channels = (64 if basic else 256) << i
            own = dict(kwargs)
            if not basic and "bottleneck_channels" not in own:
                own["bottleneck_channels"] = out_channels // 4
            strides = [1 if i == 0 else 2, *[1] * (num_blocks - 1)]
            stages.append(
                ResNet.make_stage(
                    block_class,
                    num_blocks,
                    in_channels=in_channels,
                    out_channels=out_channels,
                    stride_per_block=strides,
                    **own,
                )
            )
            in_channels = out_channels
        return stages


def make_stage(*args: Any, **kwargs: Any) -> list[CNNBlockBase]:
    """`ResNet.make_stage`."""
    return ResNet.make_stage(*args, **kwargs)


def _blocks_per_stage(depth: int) -> tuple[int, ...]:
    if depth not in BLOCKS_PER_STAGE:
        raise BadValue(f"MODEL.RESNETS.DEPTH {depth} is not one of {', '.join(map(str, BLOCKS_PER_STAGE))}")
    return BLOCKS_PER_STAGE[depth]


@BACKBONE_REGISTRY.register()
def build_resnet_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> ResNet:
    """The ResNet of `cfg.MODEL.RESNETS`, frozen up to `MODEL.BACKBONE.FREEZE_AT`."""
    resnets = cfg.MODEL.RESNETS
    stem = BasicStem(input_shape.channels, resnets.STEM_OUT_CHANNELS, resnets.NORM)
    _check_basic_depth(resnets)
    stages = [build_stage(resnets, i, num_blocks) for i, num_blocks in enumerate(_blocks_per_stage(resnets.DEPTH))]
    return ResNet(stem, stages, out_features=resnets.OUT_FEATURES, freeze_at=cfg.MODEL.BACKBONE.FREEZE_AT)


def build_stage(resnets: CfgNode, index: int, num_blocks: int) -> list[CNNBlockBase]:
    """The blocks of stage `res{index + 2}` of `cfg.MODEL.RESNETS`."""
    dilation = resnets.RES5_DILATION if index == 3 else 1
    first_stride = 1 if index == 0 or dilation == 2 else 2
    block_class, kwargs = _block_of_stage(resnets, index)
    return ResNet.make_stage(
        block_class,
        num_blocks,
        in_channels=resnets.RES2_OUT_CHANNELS << index - 1 if index else resnets.STEM_OUT_CHANNELS,
        out_channels=resnets.RES2_OUT_CHANNELS << index,
        stride_per_block=[first_stride, *[1] * (num_blocks - 1)],
        norm=resnets.NORM,
        **kwargs,
    )


def _block_of_stage(resnets: CfgNode, index: int) -> tuple[type[CNNBlockBase], dict[str, Any]]:
    if resnets.DEPTH in BASIC_DEPTHS:
        return BasicBlock, {}
    kwargs = {
        "bottleneck_channels": resnets.NUM_GROUPS * resnets.WIDTH_PER_GROUP << index,
        "num_groups": resnets.NUM_GROUPS,
        "stride_in_1x1": resnets.STRIDE_IN_1X1,
        "dilation": resnets.RES5_DILATION if index == 3 else 1,
    }
    if not resnets.DEFORM_ON_PER_STAGE[index]:
        return BottleneckBlock, kwargs
    kwargs.update(deform_modulated=resnets.DEFORM_MODULATED, deform_num_groups=resnets.DEFORM_NUM_GROUPS)
    return DeformBottleneckBlock, kwargs


def _check_basic_depth(resnets: CfgNode) -> None:
    if resnets.RES5_DILATION not in (1, 2):
        raise BadValue(f"MODEL.RESNETS.RES5_DILATION {resnets.RES5_DILATION} is not 1 or 2")
    if resnets.DEPTH not in BASIC_DEPTHS:
        return
    wanted = {"RES2_OUT_CHANNELS below 256": resnets.RES2_OUT_CHANNELS < 256, "NUM_GROUPS 1": resnets.NUM_GROUPS == 1}
    wanted["RES5_DILATION 1"] = resnets.RES5_DILATION == 1
    wanted["DEFORM_ON_PER_STAGE all False"] = not any(resnets.DEFORM_ON_PER_STAGE)
    for rule, holds in wanted.items():
        if not holds:
            raise BadValue(f"MODEL.RESNETS.DEPTH {resnets.DEPTH} needs MODEL.RESNETS.{rule} (64 channels are usual)")
