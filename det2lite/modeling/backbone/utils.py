"""What vision transformers share: windows, positions, patches, and attention with relative positions.

Maps of tokens are `(B, H, W, C)`.
"""

import torch
import torch.nn.functional as F
from torch import nn

from det2lite.utils.errors import BadCall

__all__ = [
    "Mlp",
    "PatchEmbed",
    "add_decomposed_rel_pos",
    "attention_with_rel_pos",
    "decomposed_rel_pos",
    "get_abs_pos",
    "get_rel_pos",
    "init_transformer",
    "window_partition",
    "window_unpartition",
]


def window_partition(x: torch.Tensor, window_size: int) -> tuple[torch.Tensor, tuple[int, int]]:
    """Windows (B * windows, window_size, window_size, C) of a map, padded by zeros; and its padded height and width."""
    batch, height, width, channels = x.shape
    rows, columns = -(-height // window_size), -(-width // window_size)
    padded = rows * window_size, columns * window_size
    if padded != (height, width):
        x = F.pad(x, (0, 0, 0, padded[1] - width, 0, padded[0] - height))
    x = x.view(batch, rows, window_size, columns, window_size, channels).transpose(2, 3)
    return x.reshape(-1, window_size, window_size, channels), padded


def window_unpartition(
    windows: torch.Tensor, window_size: int, pad_hw: tuple[int, int], hw: tuple[int, int]
) -> torch.Tensor:
    """The map (B, H, W, C) of windows that `window_partition` made. pad_hw: padded size. hw: size before padding."""
    rows, columns = pad_hw[0] // window_size, pad_hw[1] // window_size
    x = windows.view(-1, rows, columns, window_size, window_size, windows.shape[-1]).transpose(2, 3)
    x = x.reshape(-1, *pad_hw, windows.shape[-1])
    return x if tuple(pad_hw) == tuple(hw) else x[:, : hw[0], : hw[1]].contiguous()


def get_rel_pos(q_size: int, k_size: int, rel_pos: torch.Tensor) -> torch.Tensor:
    """Embedding of the offset from each key to each query along one axis, (q_size, k_size, C).

    rel_pos: (L, C), of offsets from the most negative to the most positive; it is stretched where the axis is longer or
    shorter. Where queries and keys are pooled differently, offsets are counted in steps of the finer of the two.
    """
    length = 2 * max(q_size, k_size) - 1
    if rel_pos.shape[0] != length:
        stretched = F.interpolate(rel_pos.float().T[None], size=length, mode="linear")  # (1, C, length)
        rel_pos = stretched[0].T.to(rel_pos.dtype)
    q_step, k_step = max(k_size / q_size, 1.0), max(q_size / k_size, 1.0)
    queries = torch.arange(q_size, device=rel_pos.device)[:, None] * q_step
    keys = torch.arange(k_size, device=rel_pos.device)[None] * k_step
    return rel_pos[(queries - keys + (k_size - 1) * k_step).long()]


def decomposed_rel_pos(
    q: torch.Tensor,
    rel_pos_h: torch.Tensor,
    rel_pos_w: torch.Tensor,
    q_size: tuple[int, int],
    k_size: tuple[int, int],
) -> tuple[torch.Tensor, torch.Tensor]:
    """What relative positions add to a query's logits by the row and by the column of a key. MViTv2, arXiv 2112.01526.

    q: (B, q_h * q_w, C). rel_pos_h, rel_pos_w: see `get_rel_pos`. Returns (B, q_h * q_w, k_h), (B, q_h * q_w, k_w).
    """
    grid = q.view(q.shape[0], *q_size, q.shape[-1])
    by_row = torch.einsum("bhwc,hkc->bhwk", grid, get_rel_pos(q_size[0], k_size[0], rel_pos_h))
    by_column = torch.einsum("bhwc,wkc->bhwk", grid, get_rel_pos(q_size[1], k_size[1], rel_pos_w))
    return by_row.flatten(1, 2), by_column.flatten(1, 2)


def add_decomposed_rel_pos(
    attn: torch.Tensor,
    q: torch.Tensor,
    rel_pos_h: torch.Tensor,
    rel_pos_w: torch.Tensor,
    q_size: tuple[int, int],
    k_size: tuple[int, int],
) -> torch.Tensor:
    """Attention logits (B, q_h * q_w, k_h * k_w) with those of `decomposed_rel_pos` added."""
    by_row, by_column = decomposed_rel_pos(q, rel_pos_h, rel_pos_w, q_size, k_size)
    return attn + (by_row[..., :, None] + by_column[..., None, :]).flatten(2)


def attention_with_rel_pos(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    rel_pos: tuple[torch.Tensor, torch.Tensor] | None,
    q_size: tuple[int, int],
    k_size: tuple[int, int],
) -> torch.Tensor:
    """Softmax attention over all tokens of a map. q: (B, heads, q_h * q_w, C); k, v: (B, heads, k_h * k_w, C).

    rel_pos: embeddings along height and width, see `get_rel_pos`. Returns (B, heads, q_h * q_w, C).
    """
    bias = None
    if rel_pos is not None:
        by_row, by_column = decomposed_rel_pos(q.flatten(0, 1), *rel_pos, q_size, k_size)
        bias = (by_row[..., :, None] + by_column[..., None, :]).view(*q.shape[:3], k.shape[2])
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)


def get_abs_pos(abs_pos: torch.Tensor, has_cls_token: bool, hw: tuple[int, int]) -> torch.Tensor:
    """Position embeddings (1, H, W, C) of a map, resized from those of the square map of pre-training.

    abs_pos: (1, L, C). has_cls_token: whether the first of them is that of a class token, which a map lacks.
    """
    if has_cls_token:
        abs_pos = abs_pos[:, 1:]
    side = round(abs_pos.shape[1] ** 0.5)
    if side * side != abs_pos.shape[1]:
        raise BadCall(f"{abs_pos.shape[1]} position embeddings do not fill a square; is there a class token?")
    grid = abs_pos.view(1, side, side, -1)
    if (side, side) == tuple(hw):
        return grid
    resized = F.interpolate(grid.permute(0, 3, 1, 2), size=tuple(hw), mode="bicubic", align_corners=False)
    return resized.permute(0, 2, 3, 1)


class PatchEmbed(nn.Module):
    """One token of each patch of the image: (B, in_chans, H, W) to (B, H / stride, W / stride, embed_dim)."""

    def __init__(
        self,
        kernel_size: tuple[int, int] = (16, 16),
        stride: tuple[int, int] = (16, 16),
        padding: tuple[int, int] = (0, 0),
        in_chans: int = 3,
        embed_dim: int = 768,
    ):
        super().__init__()
        self.proj = nn.Conv2d(in_chans, embed_dim, kernel_size=kernel_size, stride=stride, padding=padding)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.proj(x).permute(0, 2, 3, 1)


class Mlp(nn.Module):
    """Two linear layers with an activation between them."""

    def __init__(self, dim: int, hidden_dim: int, act_layer: type[nn.Module] = nn.GELU, drop: float = 0.0):
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden_dim)
        self.act = act_layer()
        self.fc2 = nn.Linear(hidden_dim, dim)
        self.drop = nn.Dropout(drop)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.drop(self.fc2(self.drop(self.act(self.fc1(x)))))


def init_transformer(module: nn.Module) -> None:
    """For `Module.apply`: linear layers from a narrow truncated normal, their biases 0."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
