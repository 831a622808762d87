"""Plain vision transformers as detection backbones: ViTDet, arXiv 2203.16527."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from torchvision.ops import StochasticDepth

from det2lite.layers import CNNBlockBase, Conv2d, get_norm
from det2lite.modeling.backbone.backbone import Backbone
from det2lite.modeling.backbone.utils import (
    Mlp,
    PatchEmbed,
    attention_with_rel_pos,
    get_abs_pos,
    init_transformer,
    window_partition,
    window_unpartition,
)
from det2lite.utils.errors import BadValue
from det2lite.utils.fvcore_nn import weight_init

__all__ = ["SimpleFeaturePyramid", "ViT", "get_vit_lr_decay_rate"]


class Attention(nn.Module):
    """Multi-head self-attention over a map of tokens (B, H, W, dim).

    input_size: height and width that relative positions are made for; others stretch them. rel_pos_zero_init: start
    without a preference for any position.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int = 8,
        qkv_bias: bool = True,
        use_rel_pos: bool = False,
        rel_pos_zero_init: bool = True,
        input_size: tuple[int, int] | None = None,
    ):
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, dim * 3, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)
        self.use_rel_pos = use_rel_pos
        if use_rel_pos:
            for name, size in zip(("rel_pos_h", "rel_pos_w"), input_size, strict=True):
                rel_pos = torch.zeros(2 * size - 1, dim // num_heads)
                if not rel_pos_zero_init:
                    nn.init.trunc_normal_(rel_pos, std=0.02)
                self.register_parameter(name, nn.Parameter(rel_pos))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, height, width, dim = x.shape
        qkv = self.qkv(x).view(batch, height * width, 3, self.num_heads, dim // self.num_heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # (B, heads, H*W, dim / heads)
        rel_pos = (self.rel_pos_h, self.rel_pos_w) if self.use_rel_pos else None
        x = attention_with_rel_pos(q, k, v, rel_pos, (height, width), (height, width))
        return self.proj(x.transpose(1, 2).reshape(batch, height, width, dim))


class ResBottleneckBlock(CNNBlockBase):
    """1x1, 3x3 and 1x1 convolutions added to their input; it starts as the identity."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        bottleneck_channels: int,
        norm: str | Callable = "LN",
        act_layer: type[nn.Module] = nn.GELU,
    ):
        super().__init__(in_channels, out_channels, 1)
        self.conv1 = Conv2d(in_channels, bottleneck_channels, 1, bias=False)
        self.norm1 = get_norm(norm, bottleneck_channels)
        self.act1 = act_layer()
        self.conv2 = Conv2d(bottleneck_channels, bottleneck_channels, 3, padding=1, bias=False)
        self.norm2 = get_norm(norm, bottleneck_channels)
        self.act2 = act_layer()
        self.conv3 = Conv2d(bottleneck_channels, out_channels, 1, bias=False)
        self.norm3 = get_norm(norm, out_channels)
        for conv in (self.conv1, self.conv2, self.conv3):
            weight_init.c2_msra_fill(conv)
        nn.init.zeros_(self.norm3.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.act1(self.norm1(self.conv1(x)))
        out = self.act2(self.norm2(self.conv2(out)))
        return x + self.norm3(self.conv3(out))


class Block(nn.Module):
    """A transformer block over (B, H, W, dim), whose attention stays within windows where window_size is positive.

    use_residual_block: convolutions follow, by which windows exchange information. drop_path: chance to skip a branch.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        drop_path: float = 0.0,
        norm_layer: Callable[[int], nn.Module] = nn.LayerNorm,
        act_layer: type[nn.Module] = nn.GELU,
        use_rel_pos: bool = False,
        rel_pos_zero_init: bool = True,
        window_size: int = 0,
        use_residual_block: bool = False,
        input_size: tuple[int, int] | None = None,
    ):
        super().__init__()
        self.window_size = window_size
        self.norm1 = norm_layer(dim)
        self.attn = Attention(
            dim,
            num_heads=num_heads,
            qkv_bias=qkv_bias,
            use_rel_pos=use_rel_pos,
            rel_pos_zero_init=rel_pos_zero_init,
            input_size=(window_size, window_size) if window_size else input_size,
        )
        self.drop_path = StochasticDepth(drop_path, mode="row")
        self.norm2 = norm_layer(dim)
        self.mlp = Mlp(dim, int(dim * mlp_ratio), act_layer)
        self.use_residual_block = use_residual_block
        if use_residual_block:
            self.residual = ResBottleneckBlock(dim, dim, dim // 2, norm="LN", act_layer=act_layer)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.drop_path(self._attend(self.norm1(x)))
        x = x + self.drop_path(self.mlp(self.norm2(x)))
        if self.use_residual_block:
            x = self.residual(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return x

    def _attend(self, x: torch.Tensor) -> torch.Tensor:
        if self.window_size == 0:
            return self.attn(x)
        size = x.shape[1:3]
        windows, padded = window_partition(x, self.window_size)
        return window_unpartition(self.attn(windows), self.window_size, padded, size)


class ViT(Backbone):
    """A transformer of one resolution; its only feature, `out_feature`, has the stride of the patches.

    img_size: side in pixels that positions are made for; other sizes stretch them. window_block_indexes: blocks that
    attend within windows of window_size tokens, the others over the whole image. residual_block_indexes: blocks with
    convolutions. drop_path_rate: of the last block, rising linearly. use_act_checkpoint: compute activations again in
    the backward pass rather than keep them. pretrain_img_size, pretrain_use_cls_token: of the checkpoint whose absolute
    positions are loaded.
    """

    def __init__(
        self,
        img_size: int = 1024,
        patch_size: int = 16,
        in_chans: int = 3,
        embed_dim: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        drop_path_rate: float = 0.0,
        norm_layer: Callable[[int], nn.Module] = nn.LayerNorm,
        act_layer: type[nn.Module] = nn.GELU,
        use_abs_pos: bool = True,
        use_rel_pos: bool = False,
        rel_pos_zero_init: bool = True,
        window_size: int = 0,
        window_block_indexes: Sequence[int] = (),
        residual_block_indexes: Sequence[int] = (),
        use_act_checkpoint: bool = False,
        pretrain_img_size: int = 224,
        pretrain_use_cls_token: bool = True,
        out_feature: str = "last_feat",
    ):
        super().__init__()
        self.pretrain_use_cls_token = pretrain_use_cls_token
        self.use_act_checkpoint = use_act_checkpoint
        patch = (patch_size, patch_size)
        self.patch_embed = PatchEmbed(kernel_size=patch, stride=patch, in_chans=in_chans, embed_dim=embed_dim)
        self.pos_embed = None
        if use_abs_pos:
            positions = (pretrain_img_size // patch_size) ** 2 + bool(pretrain_use_cls_token)
            self.pos_embed = nn.Parameter(torch.zeros(1, positions, embed_dim))
            nn.init.trunc_normal_(self.pos_embed, std=0.02)
        self.blocks = nn.ModuleList(
            Block(
                dim=embed_dim,
                num_heads=num_heads,
                mlp_ratio=mlp_ratio,
                qkv_bias=qkv_bias,
                drop_path=drop_path_rate * i / max(depth - 1, 1),
                norm_layer=norm_layer,
                act_layer=act_layer,
                use_rel_pos=use_rel_pos,
                rel_pos_zero_init=rel_pos_zero_init,
                window_size=window_size if i in window_block_indexes else 0,
                use_residual_block=i in residual_block_indexes,
                input_size=(img_size // patch_size, img_size // patch_size),
            )
            for i in range(depth)
        )
        self._out_features = [out_feature]
        self._out_feature_channels = {out_feature: embed_dim}
        self._out_feature_strides = {out_feature: patch_size}
        self.apply(init_transformer)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """x: `(N, in_chans, H, W)`. Returns `{out_feature: (N, embed_dim, H / patch_size, W / patch_size)}`."""
        x = self.patch_embed(x)  # (N, H / patch_size, W / patch_size, embed_dim)
        if self.pos_embed is not None:
            x = x + get_abs_pos(self.pos_embed, self.pretrain_use_cls_token, x.shape[1:3])
        for block in self.blocks:
            if self.use_act_checkpoint and torch.is_grad_enabled():
                x = checkpoint(block, x, use_reentrant=False)
            else:
                x = block(x)
        return {self._out_features[0]: x.permute(0, 3, 1, 2)}


class SimpleFeaturePyramid(Backbone):
    """Features `p2, p3, ...`, named by log2 of their stride, all made from one feature of `net`.

    scale_factors: of that feature's resolution, from fine to coarse: 4, 2, 1 or 0.5. top_block, norm, square_pad: as
    of `FPN`.
    """

    def __init__(
        self,
        net: Backbone,
        in_feature: str,
        out_channels: int,
        scale_factors: Sequence[float],
        top_block: nn.Module | None = None,
        norm: str | Callable = "LN",
        square_pad: int = 0,
    ):
        super().__init__()
        shape = net.output_shape()[in_feature]
        strides = [int(shape.stride / scale) for scale in scale_factors]
        if any(finer * 2 != coarser for finer, coarser in zip(strides[:-1], strides[1:], strict=True)):
            raise BadValue(f"scale_factors {list(scale_factors)} give the strides {strides}, which must double")
        self.stage_names = []
        for scale, stride in zip(scale_factors, strides, strict=True):
            layers, channels = _rescale(scale, shape.channels, norm)
            layers += [_conv_norm(channels, out_channels, 1, norm), _conv_norm(out_channels, out_channels, 3, norm)]
            self.stage_names.append(f"simfp_{int(math.log2(stride))}")
            self.add_module(self.stage_names[-1], nn.Sequential(*layers))
        self.net = net
        self.in_feature = in_feature
        self.top_block = top_block
        coarsest = strides[-1]
        if top_block is not None:
            strides += [coarsest << (i + 1) for i in range(top_block.num_levels)]
        self._out_feature_strides = {f"p{int(math.log2(stride))}": stride for stride in strides}
        self._out_features = list(self._out_feature_strides)
        self._out_feature_channels = dict.fromkeys(self._out_features, out_channels)
        self._size_divisibility = coarsest
        self._square_pad = square_pad

    @property
    def size_divisibility(self) -> int:
        return self._size_divisibility

    @property
    def padding_constraints(self) -> dict[str, int]:
        return {"size_divisibility": self._size_divisibility, "square_size": self._square_pad}

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """x: `(N, C, H, W)`. Returns `p<level>: (N, out_channels, H / 2**level, W / 2**level)`."""
        bottom_up = self.net(x)
        feature = bottom_up[self.in_feature]
        results = [getattr(self, name)(feature) for name in self.stage_names]
        if self.top_block is not None:
            source = self.top_block.in_feature
            at = self._out_features.index(source) if source not in bottom_up else None
            results += self.top_block(bottom_up[source] if at is None else results[at])
        return dict(zip(self._out_features, results, strict=True))


def _rescale(scale: float, channels: int, norm: str | Callable) -> tuple[list[nn.Module], int]:
    """Layers that change the resolution by `scale`, and the channels they leave."""
    if scale == 4.0:
        layers = [
            nn.ConvTranspose2d(channels, channels // 2, kernel_size=2, stride=2),
            get_norm(norm, channels // 2),
            nn.GELU(),
            nn.ConvTranspose2d(channels // 2, channels // 4, kernel_size=2, stride=2),
        ]
        return [layer for layer in layers if layer is not None], channels // 4
    if scale == 2.0:
        return [nn.ConvTranspose2d(channels, channels // 2, kernel_size=2, stride=2)], channels // 2
    if scale == 1.0:
        return [], channels
    if scale == 0.5:
        return [nn.MaxPool2d(kernel_size=2, stride=2)], channels
    raise BadValue(f"a simple feature pyramid has the scale factors 4, 2, 1 and 0.5, not {scale}")


def _conv_norm(in_channels: int, out_channels: int, kernel_size: int, norm: str | Callable) -> Conv2d:
    return Conv2d(
        in_channels,
        out_channels,
        kernel_size=kernel_size,
        padding=kernel_size // 2,
        bias=norm == "",
        norm=get_norm(norm, out_channels),
    )


def get_vit_lr_decay_rate(name: str, lr_decay_rate: float = 1.0, num_layers: int = 12) -> float:
    """Factor of the learning rate of a parameter: it falls by `lr_decay_rate` with each block towards the image.

    name: of the parameter in the whole model. What is no part of the backbone's blocks has the factor 1, the embeddings
    of patches and positions the smallest. BEiT, arXiv 2106.08254.
    """
    depth = num_layers + 1
    if name.startswith("backbone"):
        if ".pos_embed" in name or ".patch_embed" in name:
            depth = 0
        elif ".blocks." in name and ".residual." not in name:
            depth = int(name.partition(".blocks.")[2].partition(".")[0]) + 1
    return lr_decay_rate ** (num_layers + 1 - depth)
