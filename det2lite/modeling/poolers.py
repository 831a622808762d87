"""Pooling of regions from the level of a feature pyramid that suits their size, FPN, arXiv 1612.03144."""

import math
from typing import List  # noqa: UP035 - TorchScript reads the annotations

import torch
from torch import nn
from torch.nn.modules.utils import _pair
from torchvision.ops import RoIPool, roi_pool

from det2lite.layers import ROIAlign, ROIAlignRotated, nonzero_of_count, shapes_to_tensor
from det2lite.layers.roi_align import table_pays
from det2lite.layers.roi_align_cpu import roi_align_levels_cpu
from det2lite.structures import Boxes
from det2lite.utils.errors import BadCall, BadValue

__all__ = ["ROIPooler", "assign_boxes_to_levels", "convert_boxes_to_pooler_format"]


def assign_boxes_to_levels(
    box_lists: List[Boxes],  # noqa: UP006
    min_level: int,
    max_level: int,
    canonical_box_size: int,
    canonical_level: int,
) -> torch.Tensor:
    """Index of the level, from 0 for `min_level`, that each box of all images is pooled from, `(R,)` int64.

    A box of `canonical_box_size` pixels a side belongs to `canonical_level`; twice the side, one level up. One whose
    area is negative or not a number belongs to none: -1.
    """
    sizes = torch.sqrt(torch.cat([boxes.area() for boxes in box_lists]))
    # 1e-8 keeps a box without area, and one exactly at a border, on the right side
    levels = torch.floor(canonical_level + torch.log2(sizes / canonical_box_size + 1e-8))
    levels = levels.clamp(min=min_level, max=max_level) - min_level
    return torch.where(sizes >= 0, levels, torch.full_like(levels, -1)).to(torch.int64)


def convert_boxes_to_pooler_format(box_lists: List[Boxes]) -> torch.Tensor:  # noqa: UP006
    """Boxes of all images with the index of their image in front, `(R, 1 + B)`."""
    boxes = torch.cat([per_image.tensor for per_image in box_lists])
    # on the host, as only it knows how many there will be without waiting
    counts = shapes_to_tensor([per_image.tensor.shape[0] for per_image in box_lists])
    image = torch.repeat_interleave(torch.arange(len(box_lists)), counts).to(boxes.device, non_blocking=True)
    return torch.cat([image[:, None].to(boxes.dtype), boxes], dim=1)


def _indices_of_levels(levels: torch.Tensor, num_levels: int) -> List[torch.Tensor]:  # noqa: UP006
    """Where `levels (R,)` are 0, 1, ...; the host waits for the device once, not for each level."""
    on_level = levels == torch.arange(num_levels, device=levels.device)[:, None]  # (L, R)
    if torch.jit.is_scripting() or torch.jit.is_tracing():  # a trace would keep the sizes as constants
        return [on_level[level].nonzero().squeeze(1) for level in range(num_levels)]
    sizes = on_level.sum(dim=1).tolist()
    return [nonzero_of_count(on_level[level], sizes[level]) for level in range(num_levels)]


def _pool_nothing(features: List[torch.Tensor], height: int, width: int) -> torch.Tensor:  # noqa: UP006
    """`(0, C, height, width)` that depends on every map, so that all parameters before them get a gradient of 0."""
    pooled = features[0].new_zeros([0, features[0].shape[1], height, width])
    if torch.is_grad_enabled():
        for feature in features:
            pooled = pooled + 0 * feature.sum()
    return pooled


class _InOrder(torch.autograd.Function):
    """`count` rows of several tensors, each at its index, in one. No pass over memory but the copy; rows without an
    index are 0."""

    @staticmethod
    def forward(ctx, count, indices, *parts):
        ctx.indices = indices
        complete = count == sum(map(len, indices))
        shape = [count, *parts[0].shape[1:]]
        joined = parts[0].new_empty(shape) if complete else parts[0].new_zeros(shape)
        for index, part in zip(indices, parts, strict=True):
            joined.index_copy_(0, index, part)
        return joined

    @staticmethod
    def backward(ctx, gradient):
        return None, None, *(gradient.index_select(0, index) for index in ctx.indices)


class _TypedRoIPool(RoIPool):
    """ROIPool of Fast R-CNN (arXiv 1504.08083) for boxes of any floating type."""

    def forward(self, input: torch.Tensor, rois: torch.Tensor) -> torch.Tensor:
        return roi_pool(input, rois.to(input.dtype), self.output_size, self.spatial_scale)


def _build_level_pooler(pooler_type: str, output_size: tuple[int, int], scale: float, sampling_ratio: int) -> nn.Module:
    if pooler_type in ("ROIAlign", "ROIAlignV2"):
        return ROIAlign(output_size, scale, sampling_ratio, aligned=pooler_type == "ROIAlignV2")
    if pooler_type == "ROIPool":
        return _TypedRoIPool(output_size, scale)
    if pooler_type == "ROIAlignRotated":
        return ROIAlignRotated(output_size, scale, sampling_ratio)
    raise BadValue(f"POOLER_TYPE {pooler_type!r} is not one of ROIAlign, ROIAlignV2, ROIPool, ROIAlignRotated")


def _alike(poolers: nn.ModuleList) -> bool:
    """Whether these are ROIAligns that differ in their scale only, and nobody watches them."""
    if any(type(pooler) is not ROIAlign or pooler._forward_hooks or pooler._forward_pre_hooks for pooler in poolers):
        return False
    return len({(_pair(p.output_size), p.sampling_ratio, p.aligned) for p in poolers}) == 1


class ROIPooler(nn.Module):
    """Pools each box to `output_size` from one of several feature maps.

    scales: 1 / stride of each map, from high to low resolution. sampling_ratio: samples along a bin's side, 0 for as
    many as it covers cells. pooler_type: ROIAlign, ROIAlignV2 (half-pixel exact), ROIPool or ROIAlignRotated.
    """

    def __init__(
        self,
        output_size: int | tuple[int, int],
        scales: list[float],
        sampling_ratio: int,
        pooler_type: str,
        canonical_box_size: int = 224,
        canonical_level: int = 4,
    ):
        super().__init__()
        self.output_size = (output_size, output_size) if isinstance(output_size, int) else tuple(output_size)
        if len(self.output_size) != 2:
            raise BadCall(f"output_size is a number or a pair, got {output_size!r}")
        poolers = [_build_level_pooler(pooler_type, self.output_size, scale, sampling_ratio) for scale in scales]
        self.level_poolers = nn.ModuleList(poolers)
        levels = [-math.log2(scale) for scale in scales]
        if any(not math.isclose(level, round(level)) for level in levels):
            raise BadCall(f"scales must be powers of two, got {scales}")
        self.min_level, self.max_level = round(levels[0]), round(levels[-1])
        if len(scales) != self.max_level - self.min_level + 1:
            raise BadCall(f"scales must halve from map to map, got {scales}")
        if canonical_box_size <= 0:
            raise BadCall(f"canonical_box_size is a length in pixels, got {canonical_box_size}")
        self.canonical_level = canonical_level
        self.canonical_box_size = canonical_box_size

    def forward(self, x: List[torch.Tensor], box_lists: List[Boxes]) -> torch.Tensor:  # noqa: UP006
        """x: feature maps `(N, C, H_l, W_l)`; box_lists: boxes of each image, in pixels of the model's input.

        Returns `(R, C, *output_size)`, R the number of boxes of all images. Of several maps, boxes without an area
        (corners swapped, not a number) are pooled to 0.
        """
        if len(x) != len(self.level_poolers):
            raise BadCall(f"{len(x)} feature maps for {len(self.level_poolers)} scales")
        if len(box_lists) != x[0].shape[0]:
            raise BadCall(f"boxes of {len(box_lists)} images for {x[0].shape[0]} images")
        if len(box_lists) == 0:
            return _pool_nothing(x, self.output_size[0], self.output_size[1])
        rois = convert_boxes_to_pooler_format(box_lists)
        if rois.shape[0] == 0:
            return _pool_nothing(x, self.output_size[0], self.output_size[1])
        if len(x) == 1:
            return self.level_poolers[0](x[0], rois)
        levels = assign_boxes_to_levels(
            box_lists, self.min_level, self.max_level, self.canonical_box_size, self.canonical_level
        )
        if not torch.jit.is_scripting():
            if table_pays(x[0]) and _alike(self.level_poolers):
                first, scales = self.level_poolers[0], [pooler.spatial_scale for pooler in self.level_poolers]
                grid = _pair(first.output_size)
                return roi_align_levels_cpu(x, rois, levels, grid, scales, first.sampling_ratio, first.aligned)
        indices = _indices_of_levels(levels, len(x))
        if not torch.jit.is_scripting():
            if not torch.jit.is_tracing():
                parts = [self.level_poolers[i](x[i], rois[indices[i]]) for i in range(len(x))]
                return _InOrder.apply(rois.shape[0], indices, *parts)
        output = x[0].new_zeros([rois.shape[0], x[0].shape[1], self.output_size[0], self.output_size[1]])
        for level, pooler in enumerate(self.level_poolers):
            index = indices[level]
            output.index_put_((index,), pooler(x[level], rois[index]))
        return output
