"""MViTv2: a transformer of several resolutions whose attention pools queries, keys and values. arXiv 2112.01526."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from torchvision.ops import StochasticDepth

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

__all__ = ["MViT"]


class MultiScaleAttention(nn.Module):
    """Self-attention over a map (B, H, W, dim), of which queries are pooled by stride_q, keys and values by stride_kv.

    residual_pooling: add the pooled queries to the result. window_size: side in tokens of the input, 0 for the whole
    map. input_size: height and width that relative positions are made for. Returns (B, H / stride_q, W / stride_q,
    dim_out).
    """

    def __init__(
        self,
        dim: int,
        dim_out: int,
        num_heads: int,
        qkv_bias: bool = True,
        norm_layer: Callable[[int], nn.Module] = nn.LayerNorm,
        pool_kernel: tuple[int, int] = (3, 3),
        stride_q: int = 1,
        stride_kv: int = 1,
        residual_pooling: bool = True,
        window_size: int = 0,
        use_rel_pos: bool = False,
        rel_pos_zero_init: bool = True,
        input_size: tuple[int, int] | None = None,
    ):
        super().__init__()
        self.num_heads = num_heads
        head_dim = dim_out // num_heads
        self.qkv = nn.Linear(dim, dim_out * 3, bias=qkv_bias)
        self.proj = nn.Linear(dim_out, dim_out)
        for part, stride in (("q", stride_q), ("k", stride_kv), ("v", stride_kv)):
            self.add_module(f"pool_{part}", _depthwise(head_dim, pool_kernel, stride))
            self.add_module(f"norm_{part}", norm_layer(head_dim))
        self.window_size_q, self.window_size_kv = window_size // stride_q, window_size // stride_kv
        self.residual_pooling = residual_pooling
        self.use_rel_pos = use_rel_pos
        if use_rel_pos:
            for name, size in zip(("rel_pos_h", "rel_pos_w"), input_size, strict=True):
                rel_pos = torch.zeros(2 * max(size // stride_q, size // stride_kv) - 1, head_dim)
                if not rel_pos_zero_init:
                    nn.init.trunc_normal_(rel_pos, std=0.02)
                self.register_parameter(name, nn.Parameter(rel_pos))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, height, width, _ = x.shape
        qkv = self.qkv(x).view(batch, height, width, 3, self.num_heads, -1)
        qkv = qkv.permute(3, 0, 4, 5, 1, 2).flatten(1, 2)  # (3, B * heads, C, H, W): heads are pooled alike
        q, k, v = (self._pool(part, tensor) for part, tensor in zip("qkv", qkv, strict=True))  # (B * heads, h, w, C)
        pooled, size = q, q.shape[1:3]
        if self.window_size_q:
            q, padded = window_partition(q, self.window_size_q)
            k, v = (window_partition(tensor, self.window_size_kv)[0] for tensor in (k, v))
        q_size, k_size = q.shape[1:3], k.shape[1:3]
        rel_pos = (self.rel_pos_h, self.rel_pos_w) if self.use_rel_pos else None
        q, k, v = (tensor.flatten(1, 2).unsqueeze(1) for tensor in (q, k, v))  # (B * heads * windows, 1, N, C)
        x = attention_with_rel_pos(q, k, v, rel_pos, q_size, k_size).squeeze(1).unflatten(1, q_size)
        if self.window_size_q:
            x = window_unpartition(x, self.window_size_q, padded, size)  # (B * heads, h, w, C)
        if self.residual_pooling:
            x = x + pooled
        x = x.unflatten(0, (batch, self.num_heads)).permute(0, 2, 3, 1, 4).flatten(3)  # (B, h, w, dim_out)
        return self.proj(x)

    def _pool(self, part: str, tensor: torch.Tensor) -> torch.Tensor:
        pooled = getattr(self, f"pool_{part}")(tensor).permute(0, 2, 3, 1)
        return getattr(self, f"norm_{part}")(pooled)


def _depthwise(channels: int, kernel_size: tuple[int, int], stride: int) -> nn.Conv2d:
    padding = tuple(k // 2 for k in kernel_size)
    return nn.Conv2d(channels, channels, kernel_size, stride=stride, padding=padding, groups=channels, bias=False)


class MultiScaleBlock(nn.Module):
    """A transformer block over (B, H, W, dim) that may widen to dim_out and halve the resolution (stride_q 2)."""

    def __init__(
        self,
        dim: int,
        dim_out: int,
        num_heads: int,
        mlp_ratio: float = 4.0,
        drop_path: float = 0.0,
        norm_layer: Callable[[int], nn.Module] = nn.LayerNorm,
        act_layer: type[nn.Module] = nn.GELU,
        stride_q: int = 1,
        **attention_kwargs,
    ):
        """attention_kwargs: further ones of `MultiScaleAttention`."""
        super().__init__()
        self.norm1 = norm_layer(dim)
        self.attn = MultiScaleAttention(
            dim, dim_out, num_heads, norm_layer=norm_layer, stride_q=stride_q, **attention_kwargs
        )
        self.drop_path = StochasticDepth(drop_path, mode="row")
        self.norm2 = norm_layer(dim_out)
        self.mlp = Mlp(dim_out, int(dim_out * mlp_ratio), act_layer)
        self.proj = nn.Linear(dim, dim_out) if dim != dim_out else None
        self.pool_skip = nn.MaxPool2d(stride_q + 1, stride_q, (stride_q + 1) // 2) if stride_q > 1 else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        normed = self.norm1(x)
        branch = self.attn(normed)
        shortcut = x if self.proj is None else self.proj(normed)
        if self.pool_skip is not None:
            shortcut = self.pool_skip(shortcut.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        x = shortcut + self.drop_path(branch)
        return x + self.drop_path(self.mlp(self.norm2(x)))


def _plan_blocks(
    depth: int,
    last_block_indexes: Sequence[int],
    *,
    embed_dim: int,
    num_heads: int,
    kv_stride: int,
    window_size: int,
    tokens: int,
) -> list[dict[str, Any]]:
    """For each block the arguments of `MultiScaleBlock` that differ between blocks.

    Each stage has twice the channels and heads, half the resolution and half the pooling of keys of the one before. The
    first block of a stage still sees the resolution and the windows of the stage before, and leaves the new ones.
    Windows are local but for the last block of each stage after the first. tokens: along a side of the input.
    """
    plans = []
    for i in range(depth):
        stage = sum(last < i for last in last_block_indexes)
        is_first = i - 1 in last_block_indexes
        seen = stage - is_first  # the stage whose resolution the block sees
        # at the end of the second and the third stage keys are pooled once more
        pooled_again = 2 if i in last_block_indexes[1:3] else 1
        plans.append(
            {
                "dim": embed_dim << seen,
                "dim_out": embed_dim << stage,
                "num_heads": num_heads << stage,
                "stride_q": 2 if is_first else 1,
                "stride_kv": max(kv_stride >> stage, 1) * pooled_again,
                "window_size": 0 if i in last_block_indexes[1:] else window_size >> seen,
                "input_size": (tokens >> seen, tokens >> seen),
            }
        )
    return plans


class MViT(Backbone):
    """Stages of blocks; the features are `scale2, scale3, ...`, normalised, of stride 4, 8, ...

    img_size: side in pixels that relative positions are made for; other sizes stretch them. last_block_indexes: the
    last block of each stage. adaptive_kv_stride: pooling of keys and values in the first stage, halved in each further
    one, so that all pool to one resolution. adaptive_window_size: side in tokens of the first stage's windows, halved
    alike. drop_path_rate: of the last block, rising linearly. use_act_checkpoint: compute activations again in the
    backward pass rather than keep them. pretrain_img_size, pretrain_use_cls_token: of the checkpoint whose absolute
    positions are loaded.
    """

    def __init__(
        self,
        img_size: int = 224,
        patch_kernel: tuple[int, int] = (7, 7),
        patch_stride: tuple[int, int] = (4, 4),
        patch_padding: tuple[int, int] = (3, 3),
        in_chans: int = 3,
        embed_dim: int = 96,
        depth: int = 16,
        num_heads: int = 1,
        last_block_indexes: Sequence[int] = (0, 2, 11, 15),
        qkv_pool_kernel: tuple[int, int] = (3, 3),
        adaptive_kv_stride: int = 4,
        adaptive_window_size: int = 56,
        residual_pooling: bool = True,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        drop_path_rate: float = 0.0,
        norm_layer: Callable[[int], nn.Module] = nn.LayerNorm,
        act_layer: type[nn.Module] = nn.GELU,
        use_abs_pos: bool = False,
        use_rel_pos: bool = True,
        rel_pos_zero_init: bool = True,
        use_act_checkpoint: bool = False,
        pretrain_img_size: int = 224,
        pretrain_use_cls_token: bool = True,
        out_features: Sequence[str] = ("scale2", "scale3", "scale4", "scale5"),
    ):
        super().__init__()
        self.pretrain_use_cls_token = pretrain_use_cls_token
        self.use_act_checkpoint = use_act_checkpoint
        self.patch_embed = PatchEmbed(patch_kernel, patch_stride, patch_padding, in_chans, embed_dim)
        self.pos_embed = None
        if use_abs_pos:
            positions = (pretrain_img_size // patch_stride[0]) * (pretrain_img_size // patch_stride[1])
            self.pos_embed = nn.Parameter(torch.zeros(1, positions + bool(pretrain_use_cls_token), embed_dim))
            nn.init.trunc_normal_(self.pos_embed, std=0.02)
        plans = _plan_blocks(
            depth,
            last_block_indexes,
            embed_dim=embed_dim,
            num_heads=num_heads,
            kv_stride=adaptive_kv_stride,
            window_size=adaptive_window_size,
            tokens=img_size // patch_stride[0],
        )
        self.blocks = nn.ModuleList(
            MultiScaleBlock(
                **plan,
                mlp_ratio=mlp_ratio,
                drop_path=drop_path_rate * i / max(depth - 1, 1),
                norm_layer=norm_layer,
                act_layer=act_layer,
                qkv_bias=qkv_bias,
                pool_kernel=qkv_pool_kernel,
                residual_pooling=residual_pooling,
                use_rel_pos=use_rel_pos,
                rel_pos_zero_init=rel_pos_zero_init,
            )
            for i, plan in enumerate(plans)
        )
        self._name_after = {last: f"scale{stage + 2}" for stage, last in enumerate(last_block_indexes)}
        self._add_outputs(out_features, embed_dim, patch_stride[0], norm_layer)
        self.apply(init_transformer)

    def _add_outputs(
        self, out_features: Sequence[str], channels: int, stride: int, norm_layer: Callable[[int], nn.Module]
    ) -> None:
        """channels, stride: of the first stage; both double with each further one."""
        stage_of = {name: stage for stage, name in enumerate(self._name_after.values())}
        if not set(out_features) <= stage_of.keys():
            raise BadValue(f"MViT has the features {', '.join(stage_of)}; out_features are {list(out_features)}")
        self._out_features = [name for name in stage_of if name in out_features]
        self._out_feature_channels = {name: channels << stage_of[name] for name in self._out_features}
        self._out_feature_strides = {name: stride << stage_of[name] for name in self._out_features}
        for name in self._out_features:
            self.add_module(f"{name}_norm", norm_layer(self._out_feature_channels[name]))

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """x: `(N, in_chans, H, W)`. Returns `scale<i>: (N, channels, H / stride, W / stride)`, rounded up."""
        x = self.patch_embed(x)  # (N, H / 4, W / 4, embed_dim)
        if self.pos_embed is not None:
            x = x + get_abs_pos(self.pos_embed, self.pretrain_use_cls_token, x.shape[1:3])
        outputs = {}
        for i, block in enumerate(self.blocks):
            if self.use_act_checkpoint and torch.is_grad_enabled():
                x = checkpoint(block, x, use_reentrant=False)
            else:
                x = block(x)
            name = self._name_after.get(i)
            if name in self._out_features:
                outputs[name] = getattr(self, f"{name}_norm")(x).permute(0, 3, 1, 2).contiguous()
        return outputs
