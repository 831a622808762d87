"""Features of rotated boxes."""

import math
from typing import List, Optional, Tuple  # noqa: UP035 - TorchScript reads the annotations

import torch
from torch import nn
from torch.nn.modules.utils import _pair

__all__ = ["ROIAlignRotated", "roi_align_rotated"]


def roi_align_rotated(
    input: torch.Tensor,
    rois: torch.Tensor,
    output_size: List[int],  # noqa: UP006 - a pair or one number, which `_pair` is in TorchScript
    spatial_scale: float,
    sampling_ratio: int,
    chunk_values: int = 1 << 25,
) -> torch.Tensor:
    """Features of rotated boxes, averaged in the cells of a grid that turns with them. RRPN, arXiv 1703.01086.

    input: (N, C, H, W). rois: (R, 6): index of the image, centre, width, height, degrees counter-clockwise.
    sampling_ratio: points per cell and axis; 0 takes as many as the box has features. chunk_values: features gathered
    at once; bounds the working memory. Returns (R, C, *output_size).
    """
    rows, columns = _pair(output_size)
    channels, height, width = input.shape[1:]
    geometry = rois.float()
    center = geometry[:, 1:3] * spatial_scale - 0.5  # the centre of the first feature is 0.5
    side = geometry[:, 3:5] * spatial_scale
    if sampling_ratio > 0:
        points = torch.full_like(side, sampling_ratio, dtype=torch.int64)
    else:
        cell = side / torch.tensor([columns, rows], dtype=side.dtype, device=side.device)
        points = cell.ceil().clamp(min=1).long()  # (R, 2) XY
    features = input.permute(0, 2, 3, 1).flatten(0, 2)  # (N*H*W, C)
    pooled = input.new_zeros([rois.shape[0], rows, columns, channels])
    pooled = pooled + features[:0].sum()  # in the graph without rois too
    done = [torch.zeros([0], dtype=torch.int64, device=input.device)]
    means = [pooled[:0]]
    # boxes that need the same number of points are done together
    kinds, kind = torch.unique(points, dim=0, return_inverse=True)
    points_of_kind: List[List[int]] = kinds.tolist()  # noqa: UP006
    for i, (points_x, points_y) in enumerate(points_of_kind):
        members = (kind == i).nonzero().squeeze(1)
        values = 4 * channels * rows * points_y * columns * points_x
        for chunk in members.split(max(1, chunk_values // values)):
            image, boxes = rois[chunk, 0].long(), (center[chunk], side[chunk], geometry[chunk, 5])
            grid = (rows, columns), (points_y, points_x)
            if values <= chunk_values:
                position = _sampling_points(boxes, *grid, torch.arange(rows * points_y, device=input.device))
                sampled = _bilinear(features, height, width, image, position.flatten(1, 2))
                sampled = sampled.view(chunk.shape[0], rows, points_y, columns, points_x, channels)
                mean = sampled.mean(dim=(2, 4))
            else:
                mean = _mean_of_large(features, height, width, image, boxes, *grid, chunk_values // 32)
            done.append(chunk)
            means.append(mean)
    return pooled.index_copy(0, torch.cat(done), torch.cat(means)).permute(0, 3, 1, 2).contiguous()


def _mean_of_large(
    features: torch.Tensor,
    height: int,
    width: int,
    image: torch.Tensor,
    boxes: Tuple[torch.Tensor, torch.Tensor, torch.Tensor],  # noqa: UP006
    output_size: Tuple[int, int],  # noqa: UP006
    points: Tuple[int, int],  # noqa: UP006
    chunk_points: int,
) -> torch.Tensor:
    """(1, PH, PW, C) features of one box so large that most of its points lie outside of the map: those are not read.

    features, height, width, image: as `_bilinear` takes them; boxes, output_size, points: as `_sampling_points`.
    chunk_points: points looked at in one step.
    """
    (rows, columns), (points_y, points_x) = output_size, points
    total = torch.zeros([1, rows * columns, features.shape[1]], device=features.device)
    total = total.to(torch.promote_types(features.dtype, torch.float32))  # sums of many in half precision overflow
    lines = torch.arange(rows * points_y, device=features.device)
    for some in lines.split(max(1, chunk_points // (columns * points_x))):
        position = _sampling_points(boxes, output_size, points, some)[0]  # (L, PW * points_x, 2)
        line, column = _inside(position, height, width).nonzero().unbind(1)
        sampled = _bilinear(features, height, width, image, position[line, column][None])  # (1, S, C)
        cell = some[line] // points_y * columns + column // points_x
        total = total.index_add(1, cell, sampled.to(total.dtype))
    mean = total / (points_y * points_x)
    return mean.view(1, rows, columns, features.shape[1]).to(features.dtype)


def _sampling_points(
    boxes: Tuple[torch.Tensor, torch.Tensor, torch.Tensor],  # noqa: UP006
    output_size: Tuple[int, int],  # noqa: UP006
    points: Tuple[int, int],  # noqa: UP006
    lines: torch.Tensor,
) -> torch.Tensor:
    """(r, L, PW * points_x, 2) XY positions in feature cells, on some `lines (L,)` of the PH * points_y of a box.

    boxes: centres and sides `(r, 2)` in feature cells, degrees `(r,)`. points: (y, x) per cell of the grid.
    """
    center, side, degrees = boxes
    radians = (degrees * (math.pi / 180))[:, None, None]
    cos, sin = torch.cos(radians), torch.sin(radians)
    rows, columns = output_size[0] * points[0], output_size[1] * points[1]
    y = (lines + 0.5) / rows - 0.5
    x = (torch.arange(columns, device=side.device) + 0.5) / columns - 0.5
    y = (side[:, 1:] * y)[:, :, None]  # (r, L, 1)
    x = (side[:, :1] * x)[:, None, :]  # (r, 1, columns)
    return torch.stack([x * cos + y * sin + center[:, :1, None], y * cos - x * sin + center[:, 1:, None]], dim=-1)


def _inside(position: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Which positions `(..., 2)` XY are at most one cell outside of a map."""
    x, y = position.unbind(-1)
    return (x >= -1) & (x <= width) & (y >= -1) & (y <= height)


def _bilinear(
    features: torch.Tensor, height: int, width: int, image: torch.Tensor, position: torch.Tensor
) -> torch.Tensor:
    """(r, S, C) features (N*H*W, C) of maps of the size (height, width) between the cells.

    image: (r,) index. position: (r, S, 2) XY. Up to one cell outside, the border is continued; beyond is 0.
    """
    inside = _inside(position, height, width)
    x, y = position.masked_fill(~inside[..., None], 0.0).unbind(-1)  # (r, S); no NaN may become an index
    x, y = x.clamp(0, width - 1), y.clamp(0, height - 1)
    x0, y0 = x.floor(), y.floor()
    right, down = x - x0, y - y0
    x0, y0 = x0.long(), y0.long()
    x1, y1 = (x0 + 1).clamp(max=width - 1), (y0 + 1).clamp(max=height - 1)
    first = (image * (height * width))[:, None]
    total: Optional[torch.Tensor] = None  # noqa: UP045
    for column, row, weight in (
        (x0, y0, (1 - right) * (1 - down)),
        (x1, y0, right * (1 - down)),
        (x0, y1, (1 - right) * down),
        (x1, y1, right * down),
    ):
        corner = features.index_select(0, (first + row * width + column).flatten())
        corner = corner.view(x.shape[0], x.shape[1], features.shape[1])
        part = corner * (weight * inside)[..., None].to(features.dtype)
        total = part if total is None else total + part
    assert total is not None  # four corners
    return total


class ROIAlignRotated(nn.Module):
    """`roi_align_rotated` with its settings.

    output_size: (height, width) of the grid. spatial_scale: feature cells per unit of the boxes.
    sampling_ratio: points per cell and axis; 0 takes as many as the box has features.
    """

    def __init__(self, output_size, spatial_scale, sampling_ratio):
        super().__init__()
        self.output_size = output_size
        self.spatial_scale = spatial_scale
        self.sampling_ratio = sampling_ratio

    def forward(self, input, rois):
        """input: (N, C, H, W). rois: (R, 6): index of the image, centre, width, height, degrees."""
        assert rois.dim() == 2 and rois.size(1) == 6, rois.shape
        return roi_align_rotated(input, rois, _pair(self.output_size), self.spatial_scale, self.sampling_ratio)

    def __repr__(self):
        return (
            f"{type(self).__name__}(output_size={self.output_size}, spatial_scale={self.spatial_scale}, "
            f"sampling_ratio={self.sampling_ratio})"
        )
