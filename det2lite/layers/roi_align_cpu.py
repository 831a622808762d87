"""RoIAlign on the CPU as a look-up in a table.

Bilinear sampling and the mean over a cell's points are sums of features with weights, and a weight is the product of
one factor for each axis. So the features of all levels are the rows of a table, what a cell pools is the weighted sum
of some of them, an embedding bag, and the gradient is the same with features and cells exchanged. torchvision's
operator visits point by point instead, on a single core.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

__all__ = ["roi_align_cpu", "roi_align_levels_cpu"]

FAR = 1e7  # pixels; float32 still counts the points of such a box
AT_ONCE = 1 << 21  # features that the cells of some boxes read, at most; bounds the working memory to about 100 MB


class _Settings(NamedTuple):
    output_size: tuple[int, int]
    scales: tuple[float, ...]  # of each level
    sampling_ratio: int
    aligned: bool


class _Axis(NamedTuple):
    """What each cell of each box's grid reads along one axis: `count` features from `first` on, with these weights."""

    first: torch.Tensor  # (R, cells) int32
    count: torch.Tensor  # (R, cells) int32
    weights: torch.Tensor  # (R, cells, most)


class _Reads(NamedTuple):
    """The features that cells read, cell by cell."""

    features: torch.Tensor  # (E,) int32, rows of the table
    weights: torch.Tensor  # (E,)
    counts: torch.Tensor  # (cells of all boxes,) int32: how many each reads


def _points(
    start: torch.Tensor, side: torch.Tensor, length: torch.Tensor, cells: int, sampling_ratio: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Where cells are sampled along one axis: (R, cells, points) positions, which of them are on the map, and how many
    points a cell has, (R, 1, 1); these can be more, those off the map of a box far larger than it.
    """
    cell = (side / cells)[:, None, None]
    # added up in the operator's order, so that points on the rim of the map fall on the same side
    origin = start[:, None, None] + torch.arange(cells, dtype=start.dtype)[:, None] * cell
    if sampling_ratio > 0:
        points = torch.full_like(cell, sampling_ratio)
        step = torch.arange(sampling_ratio, dtype=start.dtype)
    else:
        points = cell.ceil().clamp(min=0)  # half a feature apart, or more
        step = torch.arange(int(torch.minimum(points, 2 * length + 6).max()), dtype=start.dtype)
        step = step + ((-2 - origin) / cell * points).floor().nan_to_num().clamp(min=0)  # from before the map on
    position = origin + (step + 0.5) * cell / points.clamp(min=1)
    return position, (step < points) & (position >= -1) & (position <= length) & (length > 0), points


def _read_along(
    start: torch.Tensor, side: torch.Tensor, length: torch.Tensor, cells: int, sampling_ratio: int
) -> _Axis:
    """start, side: (R,) of the boxes, in features. length: (R,) int32 of the map; 0 where nothing is to be read."""
    length = length[:, None, None]
    position, used, points = _points(start, side, length, cells, sampling_ratio)
    if position.shape[2] == 0:
        return _Axis(*start.new_zeros(2, len(start), cells, dtype=torch.int32), start.new_zeros(len(start), cells, 1))
    last = (length - 1).clamp(min=0).to(start.dtype)
    position = torch.minimum(position.where(used, 0).clamp(min=0), last)  # no NaN may become an index
    low = position.floor()
    high = torch.minimum(low + 1, last)
    first = low.where(used, torch.inf).amin(2)
    count = (high.where(used, -torch.inf).amax(2) - first + 1).clamp(min=0).int()  # of none -inf
    first = first.where(count > 0, 0)
    upper, each = position - low, used / points.clamp(min=1)
    weights = start.new_zeros(len(start), cells, int(count.max()) + 1)
    before = first[:, :, None]
    # points that are not used add 0, wherever
    weights.scatter_add_(2, (low - before).clamp(0, weights.shape[2] - 1).long(), (1 - upper) * each)
    weights.scatter_add_(2, (high - before).clamp(0, weights.shape[2] - 1).long(), upper * each)
    return _Axis(first.int(), count, weights)


def _repeated(counts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The index of each thing as many times as it `counts (n,)`, and the number of each copy among its like."""
    index = torch.repeat_interleave(torch.arange(len(counts), dtype=torch.int32), counts)
    before = counts.cumsum(0, dtype=torch.int32) - counts
    return index, torch.arange(len(index), dtype=torch.int32) - before.index_select(0, index)


def _reads(corner: torch.Tensor, width: torch.Tensor, rows: _Axis, columns: _Axis) -> _Reads:
    """corner, width: (R,) int32 row of the table where each box's map begins, and width of that map."""
    grid = (*rows.count.shape, columns.count.shape[1])  # (R, PH, PW)

    def of_cells(values: torch.Tensor) -> torch.Tensor:
        return values.expand(grid).flatten()

    heights, widths = of_cells(rows.count[:, :, None]), of_cells(columns.count[:, None])
    index_of_row = torch.arange(grid[0] * grid[1], dtype=torch.int32).view(*grid[:2], 1)
    index_of_column = torch.arange(grid[0] * grid[2], dtype=torch.int32).view(grid[0], 1, grid[2])
    width = width[:, None, None]
    first = of_cells((corner[:, None] + rows.first * width[:, 0])[:, :, None] + columns.first[:, None])

    # a cell reads lines, and a line is features side by side
    cell, number = _repeated(heights)
    start = first.index_select(0, cell) + number * of_cells(width).index_select(0, cell)
    weight = rows.weights.flatten().index_select(
        0, of_cells(index_of_row * rows.weights.shape[2]).index_select(0, cell) + number
    )
    of_columns = of_cells(index_of_column * columns.weights.shape[2]).index_select(0, cell)
    line, number = _repeated(widths.index_select(0, cell))
    features = start.index_select(0, line).add_(number)
    weights = columns.weights.flatten().index_select(0, of_columns.index_select(0, line).add_(number))
    return _Reads(features, weights.mul_(weight.index_select(0, line)), heights * widths)


def _table(features: Sequence[torch.Tensor]) -> torch.Tensor:
    """All levels (N, C, H, W) as rows (T, C), those of one image and line one after the other, in float32 or 64."""
    lines = [x.permute(0, 2, 3, 1) for x in features]
    wide = torch.promote_types(features[0].dtype, torch.float32)
    if len(lines) == 1 and lines[0].dtype == wide:
        return lines[0].reshape(-1, lines[0].shape[3])
    channels, sizes = lines[0].shape[3], [x[..., 0].numel() for x in lines]
    table = lines[0].new_empty(sum(sizes), channels, dtype=wide)
    for part, level in zip(table.split(sizes), lines, strict=True):
        part.view(level.shape).copy_(level)
    return table


def _blocks(
    rois: torch.Tensor, levels: torch.Tensor, settings: _Settings, shapes: list[torch.Size]
) -> Iterator[tuple[slice, _Reads]]:
    """Yields boxes and what their cells read: all boxes at once, unless they are many or large.

    rois: (R, 5). levels: (R,) int64, -1 for a box that pools nothing. shapes: of the levels, (N, C, H, W).
    """
    known, level = levels >= 0, levels.clamp(min=0)
    sizes = torch.tensor([shape[2:] for shape in shapes], dtype=torch.int32)  # (L, 2) YX
    rows_of_level = torch.tensor([0, *(n * h * w for n, _, h, w in shapes[:-1])]).cumsum(0)
    size = sizes[level]
    corner = (rows_of_level[level] + rois[:, 0].long() * size.prod(1)).int()
    scale = torch.tensor(settings.scales, dtype=rois.dtype)[level, None]
    corners = rois[:, [2, 1, 4, 3]] * scale - (0.5 if settings.aligned else 0.0)  # YX
    start, side = corners[:, :2], corners[:, 2:] - corners[:, :2]
    if not settings.aligned:
        side = side.clamp(min=1)
    # lines and columns that the grid reads, at most
    extent = torch.minimum(side.clamp(min=0), size) + 2 * torch.tensor(settings.output_size)
    block_of = extent.prod(1).cumsum(0, dtype=torch.float64).div(AT_ONCE).long()
    readable = size * known[:, None]  # (R, 2)
    end = 0
    for count in torch.unique_consecutive(block_of, return_counts=True)[1].tolist():
        block = slice(end, end := end + count)
        rows, columns = (
            _read_along(start[block, axis], side[block, axis], readable[block, axis], cells, settings.sampling_ratio)
            for axis, cells in enumerate(settings.output_size)
        )
        yield block, _reads(corner[block], size[block, 1], rows, columns)


def _weighted_sums(
    rows: torch.Tensor, indices: torch.Tensor, weights: torch.Tensor, counts: torch.Tensor
) -> torch.Tensor:
    """(B, C) sums of `rows (T, C)`: each of the next `counts (B,)` of `indices (E,)`, times its weight."""
    offsets = (counts.cumsum(0) - counts).to(indices.dtype)
    return F.embedding_bag(indices, rows, offsets, mode="sum", per_sample_weights=weights)


def _sums_by_feature(of_cells: torch.Tensor, reads: _Reads, sizes: list[int]) -> list[torch.Tensor]:
    """For each level (sizes, C): what comes back to each feature from the cells (cells of all boxes, C) that read it.

    A tensor of its own for each level, so that autograd can add to it what else comes.
    """
    cells, _ = _repeated(reads.counts)
    order = reads.features.argsort()
    cells, weights = cells[order], reads.weights[order]
    counts = reads.features.bincount(minlength=sum(sizes)).split(sizes)
    lengths = [int(count.sum()) for count in counts]
    parts = zip(cells.split(lengths), weights.split(lengths), counts, strict=True)
    return [_weighted_sums(of_cells, *part) for part in parts]


class _RoIAlign(torch.autograd.Function):
    @staticmethod
    def forward(ctx, rois, levels, settings, *features):
        ctx.save_for_backward(rois, levels)
        ctx.settings, ctx.shapes, ctx.dtype = settings, [x.shape for x in features], features[0].dtype
        pooled = features[0].new_empty(len(rois), features[0].shape[1], *settings.output_size)
        table = _table(features)
        for block, reads in _blocks(rois, levels, settings, ctx.shapes):
            sums = _weighted_sums(table, *reads).view(-1, *settings.output_size, table.shape[1])
            pooled[block] = sums.permute(0, 3, 1, 2)
        return pooled

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        rois, levels = ctx.saved_tensors
        sizes = [n * h * w for n, _, h, w in ctx.shapes]
        totals: list[torch.Tensor] = []
        for block, reads in _blocks(rois, levels, ctx.settings, ctx.shapes):
            parts = _sums_by_feature(_table([gradient[block]]), reads, sizes)
            totals = [total.add_(part) for total, part in zip(totals, parts, strict=True)] if totals else parts
        gradients = []
        for part, (n, channels, height, width) in zip(totals, ctx.shapes, strict=bool(totals)):
            gradients.append(part.to(ctx.dtype).view(n, height, width, channels).permute(0, 3, 1, 2))
        return None, None, None, *(gradients or [gradient.new_zeros(shape) for shape in ctx.shapes])


def roi_align_levels_cpu(
    features: Sequence[torch.Tensor],
    rois: torch.Tensor,
    levels: torch.Tensor,
    output_size: tuple[int, int],
    scales: Sequence[float],
    sampling_ratio: int,
    aligned: bool,
) -> torch.Tensor:
    """RoIAlign of boxes from several maps, each box from its level: (R, C, *output_size); rois get no gradient.

    features: (N, C, H_l, W_l) of a floating type on the CPU; half precision is summed in float32. rois: (R, 5): index
    of the image, XYXY. levels: (R,) int64; -1 pools to 0. scales: of each level, features per unit of the boxes.
    """
    settings = _Settings(tuple(output_size), tuple(scales), sampling_ratio, aligned)
    wide = torch.promote_types(features[0].dtype, torch.float32)
    rois = rois.detach().to(wide).nan_to_num(posinf=FAR, neginf=-FAR).clamp(-FAR, FAR)
    return _RoIAlign.apply(rois, levels, settings, *features)


def roi_align_cpu(
    input: torch.Tensor,
    rois: torch.Tensor,
    output_size: tuple[int, int],
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
) -> torch.Tensor:
    """`torchvision.ops.roi_align` with the same numbers up to rounding; rois get no gradient.

    input: (N, C, H, W) of a floating type on the CPU. rois: (R, 5): index of the image, XYXY.
    """
    levels = torch.zeros(len(rois), dtype=torch.int64)
    return roi_align_levels_cpu([input], rois, levels, output_size, [spatial_scale], sampling_ratio, aligned)
