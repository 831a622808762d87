"""Swin Transformer: attention within windows that are shifted from block to block. arXiv 2103.14030."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint
from torchvision.ops import StochasticDepth

from det2lite.modeling.backbone.backbone import Backbone
from det2lite.modeling.backbone.utils import Mlp, init_transformer, window_partition, window_unpartition
from det2lite.utils.errors import BadValue

__all__ = ["SwinTransformer"]

OUTSIDE = -100.0  # added to logits between tokens that are no neighbours; finite, and nothing after the softmax


class WindowAttention(nn.Module):
    """Self-attention within windows, with a bias for the offset of each two tokens. window_size: height, width."""

    def __init__(
        self,
        dim: int,
        window_size: tuple[int, int],
        num_heads: int,
        qkv_bias: bool = True,
        qk_scale: float | None = None,
        attn_drop: float = 0.0,
        proj_drop: float = 0.0,
    ):
        super().__init__()
        self.num_heads = num_heads
        self.scale = qk_scale or (dim // num_heads) ** -0.5
        self.attn_drop = attn_drop
        height, width = window_size
        offsets = (2 * height - 1) * (2 * width - 1)
        self.relative_position_bias_table = nn.Parameter(torch.zeros(offsets, num_heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)
        y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        y, x = y.flatten(), x.flatten()
        dy, dx = y[:, None] - y + height - 1, x[:, None] - x + width - 1  # (window, window), not negative
        self.register_buffer("relative_position_index", dy * (2 * width - 1) + dx)
        self.qkv = nn.Linear(dim, dim * 3, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)
        self.proj_drop = nn.Dropout(proj_drop)

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """x: (B * windows, N, C). mask: (windows, N, N), added to the logits."""
        count, tokens, dim = x.shape
        qkv = self.qkv(x).view(count, tokens, 3, self.num_heads, dim // self.num_heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # (B * windows, heads, N, C / heads)
        bias = self.relative_position_bias_table[self.relative_position_index]  # (N, N, heads)
        bias = bias.permute(2, 0, 1)[None].to(q.dtype)  # (1, heads, N, N)
        if mask is not None:
            bias = (bias + mask[:, None].to(q.dtype)).repeat(count // mask.shape[0], 1, 1, 1)
        drop = self.attn_drop if self.training else 0.0
        x = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, dropout_p=drop, scale=self.scale)
        return self.proj_drop(self.proj(x.transpose(1, 2).reshape(count, tokens, dim)))


class SwinTransformerBlock(nn.Module):
    """A transformer block over (B, H, W, dim). shift_size: tokens by which windows are moved down and right."""

    def __init__(
        self,
        dim: int,
        num_heads: int,
        window_size: int = 7,
        shift_size: int = 0,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        qk_scale: float | None = None,
        drop: float = 0.0,
        attn_drop: float = 0.0,
        drop_path: float = 0.0,
        norm_layer: Callable[[int], nn.Module] = nn.LayerNorm,
    ):
        super().__init__()
        self.window_size, self.shift_size = window_size, shift_size
        self.norm1 = norm_layer(dim)
        self.attn = WindowAttention(dim, (window_size, window_size), num_heads, qkv_bias, qk_scale, attn_drop, drop)
        self.drop_path = StochasticDepth(drop_path, mode="row")
        self.norm2 = norm_layer(dim)
        self.mlp = Mlp(dim, int(dim * mlp_ratio), drop=drop)

    def forward(self, x: torch.Tensor, shift_mask: torch.Tensor) -> torch.Tensor:
        """shift_mask: of `make_shift_mask`."""
        x = x + self.drop_path(self._attend(self.norm1(x), shift_mask))
        return x + self.drop_path(self.mlp(self.norm2(x)))

    def _attend(self, x: torch.Tensor, shift_mask: torch.Tensor) -> torch.Tensor:
        _, height, width, dim = x.shape
        bottom, right = -height % self.window_size, -width % self.window_size
        x = F.pad(x, (0, 0, 0, right, 0, bottom))  # shifted windows wrap round the padded map
        if self.shift_size:
            x = x.roll((-self.shift_size, -self.shift_size), dims=(1, 2))
        windows, size = window_partition(x, self.window_size)
        windows = self.attn(windows.flatten(1, 2), shift_mask if self.shift_size else None)
        x = window_unpartition(windows.view(-1, self.window_size, self.window_size, dim), self.window_size, size, size)
        if self.shift_size:
            x = x.roll((self.shift_size, self.shift_size), dims=(1, 2))
        return x[:, :height, :width]


def make_shift_mask(
    height: int, width: int, window_size: int, shift_size: int, device: torch.device | None = None
) -> torch.Tensor:
    """(windows, N, N): 0 between tokens of a shifted window that are neighbours in the map, else `OUTSIDE`.

    A map that is shifted wraps round, so that its last windows hold tokens of opposite borders. height, width: in
    tokens, before padding to whole windows.
    """

    def parts(length: int) -> torch.Tensor:
        """0 for the tokens of windows that are whole, 1 and 2 for the two kinds in the last window."""
        padded = length + -length % window_size
        position = torch.arange(padded, device=device)
        return (position >= padded - window_size).long() + (position >= padded - shift_size)

    part = 3 * parts(height)[:, None] + parts(width)  # (H, W)
    windows = window_partition(part[None, :, :, None], window_size)[0].flatten(1)  # (windows, N)
    differs = windows[:, None] != windows[:, :, None]
    return torch.zeros(differs.shape, device=device).masked_fill(differs, OUTSIDE)


class PatchMerging(nn.Module):
    """Each 2x2 tokens become one of twice the channels: (B, H, W, C) to (B, H / 2, W / 2, 2 C), sizes rounded up."""

    def __init__(self, dim: int, norm_layer: Callable[[int], nn.Module] = nn.LayerNorm):
        super().__init__()
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)
        self.norm = norm_layer(4 * dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
        corners = [x[:, row::2, column::2] for column in (0, 1) for row in (0, 1)]  # down the columns first
        return self.reduction(self.norm(torch.cat(corners, dim=-1)))


class BasicLayer(nn.Module):
    """A stage: blocks whose windows are in place and shifted by turns, and then the merging of patches.

    drop_path: for each block. downsample: makes the merging, None at the end. use_checkpoint: see `SwinTransformer`.
    """

    def __init__(
        self,
        dim: int,
        depth: int,
        num_heads: int,
        window_size: int = 7,
        drop_path: Sequence[float] = (),
        norm_layer: Callable[[int], nn.Module] = nn.LayerNorm,
        downsample: type[nn.Module] | None = None,
        use_checkpoint: bool = False,
        **block_kwargs,
    ):
        super().__init__()
        self.window_size, self.shift_size = window_size, window_size // 2
        self.use_checkpoint = use_checkpoint
        self.blocks = nn.ModuleList(
            SwinTransformerBlock(
                dim,
                num_heads,
                window_size=window_size,
                shift_size=self.shift_size if i % 2 else 0,
                drop_path=drop_path[i],
                norm_layer=norm_layer,
                **block_kwargs,
            )
            for i in range(depth)
        )
        self.downsample = downsample(dim, norm_layer=norm_layer) if downsample is not None else None

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The stage's map, and the map for the next stage."""
        mask = make_shift_mask(*x.shape[1:3], self.window_size, self.shift_size, x.device)
        for block in self.blocks:
            if self.use_checkpoint and torch.is_grad_enabled():
                x = checkpoint(block, x, mask, use_reentrant=False)
            else:
                x = block(x, mask)
        return x, x if self.downsample is None else self.downsample(x)


class PatchEmbed(nn.Module):
    """One token of each patch: (B, C, H, W) to (B, H / patch_size, W / patch_size, embed_dim), sizes rounded up."""

    def __init__(
        self,
        patch_size: int = 4,
        in_chans: int = 3,
        embed_dim: int = 96,
        norm_layer: Callable[[int], nn.Module] | None = None,
    ):
        super().__init__()
        self.patch_size = patch_size
        self.proj = nn.Conv2d(in_chans, embed_dim, kernel_size=patch_size, stride=patch_size)
        self.norm = norm_layer(embed_dim) if norm_layer is not None else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.pad(x, (0, -x.shape[3] % self.patch_size, 0, -x.shape[2] % self.patch_size))
        return self.norm(self.proj(x).permute(0, 2, 3, 1))


def _check_stages(depths: Sequence[int], num_heads: Sequence[int], out_indices: Sequence[int]) -> None:
    if len(depths) != len(num_heads):
        raise BadValue(f"SwinTransformer: {len(depths)} depths but {len(num_heads)} num_heads; one for each stage")
    if not set(out_indices) <= set(range(len(depths))):
        raise BadValue(f"SwinTransformer has the stages 0 to {len(depths) - 1}, out_indices are {out_indices}")


class SwinTransformer(Backbone):
    """Four stages of attention within windows; stage i gives the feature `p<i>`, normalised, of stride 4 * 2**i.

    pretrain_img_size: of the checkpoint whose absolute positions (ape) are loaded. drop_path_rate: of the last block,
    rising linearly. out_indices: stages to return. frozen_stages: from 0 the patches, from 1 the absolute positions,
    from 2 on as many stages less one do not learn. use_checkpoint: compute activations again in the backward pass
    rather than keep them.
    """

    def __init__(
        self,
        pretrain_img_size: int = 224,
        patch_size: int = 4,
        in_chans: int = 3,
        embed_dim: int = 96,
        depths: Sequence[int] = (2, 2, 6, 2),
        num_heads: Sequence[int] = (3, 6, 12, 24),
        window_size: int = 7,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        qk_scale: float | None = None,
        drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0,
        drop_path_rate: float = 0.2,
        norm_layer: Callable[[int], nn.Module] = nn.LayerNorm,
        ape: bool = False,
        patch_norm: bool = True,
        out_indices: Sequence[int] = (0, 1, 2, 3),
        frozen_stages: int = -1,
        use_checkpoint: bool = False,
    ):
        super().__init__()
        _check_stages(depths, num_heads, out_indices)
        self.frozen_stages = frozen_stages
        self.out_indices = tuple(out_indices)
        self.patch_embed = PatchEmbed(patch_size, in_chans, embed_dim, norm_layer if patch_norm else None)
        self.absolute_pos_embed = None
        if ape:
            side = pretrain_img_size // patch_size
            self.absolute_pos_embed = nn.Parameter(torch.zeros(1, embed_dim, side, side))
            nn.init.trunc_normal_(self.absolute_pos_embed, std=0.02)
        self.pos_drop = nn.Dropout(drop_rate)
        drop_paths = [drop_path_rate * i / max(sum(depths) - 1, 1) for i in range(sum(depths))]
        self.num_features = [embed_dim << i for i in range(len(depths))]
        self.layers = nn.ModuleList(
            BasicLayer(
                dim=self.num_features[i],
                depth=depth,
                num_heads=num_heads[i],
                window_size=window_size,
                drop_path=drop_paths[sum(depths[:i]) : sum(depths[: i + 1])],
                norm_layer=norm_layer,
                downsample=PatchMerging if i < len(depths) - 1 else None,
                use_checkpoint=use_checkpoint,
                mlp_ratio=mlp_ratio,
                qkv_bias=qkv_bias,
                qk_scale=qk_scale,
                drop=drop_rate,
                attn_drop=attn_drop_rate,
            )
            for i, depth in enumerate(depths)
        )
        for i in self.out_indices:
            self.add_module(f"norm{i}", norm_layer(self.num_features[i]))
        self._out_features = [f"p{i}" for i in self.out_indices]
        self._out_feature_channels = {f"p{i}": self.num_features[i] for i in self.out_indices}
        self._out_feature_strides = {f"p{i}": patch_size << i for i in self.out_indices}
        self._size_divisibility = patch_size << (len(depths) - 1)
        self.apply(init_transformer)
        self._freeze_stages()

    @property
    def size_divisibility(self) -> int:
        return self._size_divisibility

    def _frozen_modules(self) -> list[nn.Module]:
        frozen = [self.patch_embed] if self.frozen_stages >= 0 else []
        return frozen + ([self.pos_drop, *self.layers[: self.frozen_stages - 1]] if self.frozen_stages >= 2 else [])

    def _freeze_stages(self) -> None:
        for module in self._frozen_modules():
            module.eval().requires_grad_(False)
        if self.frozen_stages >= 1 and self.absolute_pos_embed is not None:
            self.absolute_pos_embed.requires_grad_(False)

    def train(self, mode: bool = True) -> "SwinTransformer":
        """What is frozen stays without dropout."""
        super().train(mode)
        for module in self._frozen_modules():
            module.eval()
        return self

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """x: `(N, in_chans, H, W)`. Returns `p<i>: (N, embed_dim * 2**i, H / stride, W / stride)`, rounded up."""
        x = self.patch_embed(x)  # (N, H / patch_size, W / patch_size, embed_dim)
        if self.absolute_pos_embed is not None:
            positions = F.interpolate(self.absolute_pos_embed, size=x.shape[1:3], mode="bicubic", align_corners=False)
            x = x + positions.permute(0, 2, 3, 1)
        x = self.pos_drop(x)
        outputs = {}
        for i, layer in enumerate(self.layers):
            out, x = layer(x)
            if i in self.out_indices:
                outputs[f"p{i}"] = getattr(self, f"norm{i}")(out).permute(0, 3, 1, 2).contiguous()
        return outputs
