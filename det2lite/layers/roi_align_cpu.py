"""RoIAlign on the CPU as matrix products.

Bilinear sampling and the mean over a cell's points both act on each axis alone, so what a box pools is
`rows @ features @ columns^T` with one small weight matrix per axis. Two products per box, with the channels
innermost, run at the speed of the BLAS, forwards and backwards, where torchvision's operator visits point by
point and its backward pass uses a single core.
"""

from collections.abc import Iterator

import torch
from torch.autograd.function import once_differentiable

__all__ = ["roi_align_cpu"]


def _axis_weights(
    start: torch.Tensor, side: torch.Tensor, length: int, cells: int, sampling_ratio: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """How much each feature along one axis adds to each cell of the grid.

    start, side: (R,) of the boxes, in features. Returns weights (R, cells, length), and the first feature
    and one past the last (R,) that have one; both 0 for a box that sees nothing.
    """
    count = len(start)
    points = torch.full_like(side, sampling_ratio) if sampling_ratio > 0 else (side / cells).ceil()
    points = points.clamp(min=0, max=4 * (length // cells + 1))  # bounded, however large the box
    most = int(points.max()) if count else 0
    step = torch.arange(most, dtype=start.dtype)
    cell = (side / cells)[:, None, None]  # (R, 1, 1)
    # added up in the operator's order, so that points on the rim of the map fall on the same side
    position = start[:, None, None] + torch.arange(cells, dtype=start.dtype)[:, None] * cell
    position = position + (step + 0.5) * cell / points.clamp(min=1)[:, None, None]  # (R, cells, most)
    used = (step < points[:, None])[:, None] & (position >= -1) & (position <= length)  # (R, cells, most)
    position = torch.where(used, position, 0).clamp(0, length - 1)  # no NaN may become an index
    low = position.floor().long()
    high = (low + 1).clamp(max=length - 1)
    upper = position - low
    each = used / points.clamp(min=1)[:, None, None]
    weights = start.new_zeros(count, cells, length)
    weights.scatter_add_(2, low, (1 - upper) * each)
    weights.scatter_add_(2, high, upper * each)
    seen = used.flatten(1)
    first = torch.where(seen, low.flatten(1), length).amin(1) if most else torch.zeros(count, dtype=torch.long)
    end = torch.where(seen, high.flatten(1) + 1, 0).amax(1) if most else torch.zeros(count, dtype=torch.long)
    return weights, torch.minimum(first, end), end


def _boxes(features: torch.Tensor, rois: torch.Tensor, settings: tuple) -> Iterator[tuple]:
    """Yields for each box that sees features: its index, the (h, w*C) view of `features` (N, H, W, C) that it
    sees, and the weights (PH, h) and (PW, w).
    """
    output_size, spatial_scale, sampling_ratio, aligned = settings
    corners = rois[:, 1:] * spatial_scale - (0.5 if aligned else 0.0)
    start, side = corners[:, :2], corners[:, 2:] - corners[:, :2]
    if not aligned:
        side = side.clamp(min=1)
    height, width, channels = features.shape[1:]
    grid_height, grid_width = output_size
    rows, y0, y1 = _axis_weights(start[:, 1], side[:, 1], height, grid_height, sampling_ratio)
    columns, x0, x1 = _axis_weights(start[:, 0], side[:, 0], width, grid_width, sampling_ratio)
    windows = torch.stack([rois[:, 0].long(), y0, y1, x0, x1], dim=1).tolist()
    line, origin = width * channels, features.storage_offset()
    for i, (n, top, bottom, left, right) in enumerate(windows):
        h, w = bottom - top, right - left
        if h > 0 and w > 0:  # views by one call each: there are thousands of boxes
            corner = origin + (n * height + top) * line + left * channels
            window = features.as_strided((h, w * channels), (line, 1), corner)
            of_rows = rows.as_strided((grid_height, h), (height, 1), i * grid_height * height + top)
            of_columns = columns.as_strided((grid_width, w), (width, 1), i * grid_width * width + left)
            yield i, window, of_rows, of_columns


class _RoIAlign(torch.autograd.Function):
    @staticmethod
    @torch.amp.custom_fwd(device_type="cpu", cast_inputs=torch.float32)
    def forward(ctx, input, rois, settings):
        ctx.save_for_backward(rois)
        ctx.settings, ctx.shape = settings, input.shape
        features = input.permute(0, 2, 3, 1).contiguous()  # (N, H, W, C)
        channels = features.shape[3]
        (grid_height, grid_width), count = settings[0], len(rois)
        pooled = features.new_zeros(count, grid_height, grid_width, channels)
        for i, window, rows, columns in _boxes(features, rois, settings):
            lines = torch.mm(rows, window).view(grid_height, -1, channels)  # (PH, w, C)
            torch.bmm(columns.expand(grid_height, -1, -1), lines, out=pooled[i])
        return pooled.permute(0, 3, 1, 2).contiguous()

    @staticmethod
    @once_differentiable
    @torch.amp.custom_bwd(device_type="cpu")
    def backward(ctx, gradient):
        (rois,) = ctx.saved_tensors
        count, channels, height, width = ctx.shape
        gradient = gradient.permute(0, 2, 3, 1).contiguous()  # (R, PH, PW, C)
        total = gradient.new_zeros(count, height, width, channels)
        for i, window, rows, columns in _boxes(total, rois, ctx.settings):
            lines = torch.matmul(columns.t(), gradient[i])  # (PH, w, C)
            window.addmm_(rows.t(), lines.flatten(1))  # a view: adds to `total`
        return total.permute(0, 3, 1, 2), None, None


def roi_align_cpu(
    input: torch.Tensor,
    rois: torch.Tensor,
    output_size: tuple[int, int],
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
) -> torch.Tensor:
    """`torchvision.ops.roi_align` with the same numbers up to rounding; rois get no gradient.

    input: (N, C, H, W) float32 or float64 on the CPU. rois: (R, 5): index of the image, XYXY.
    """
    settings = (output_size, spatial_scale, sampling_ratio, aligned)
    return _RoIAlign.apply(input, rois.detach().to(input.dtype).nan_to_num(), settings)
