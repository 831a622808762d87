"""Anchors: boxes of given sizes and aspect ratios at every position of every feature map."""

import collections.abc
import math
from collections.abc import Iterator, Sequence
from typing import List, Tuple  # noqa: UP035 - TorchScript reads the annotations

import torch
from torch import nn

from det2lite.config import CfgNode, configurable
from det2lite.layers import ShapeSpec
from det2lite.structures import Boxes, RotatedBoxes
from det2lite.utils.errors import BadCall, BadValue
from det2lite.utils.registry import Registry

ANCHOR_GENERATOR_REGISTRY = Registry("ANCHOR_GENERATOR")
ANCHOR_GENERATOR_REGISTRY.__doc__ = "Modules called with `(cfg, input_shape)`, giving one box tensor a feature map."


def build_anchor_generator(cfg: CfgNode, input_shape: list[ShapeSpec]) -> nn.Module:
    """The anchor generator of `cfg.MODEL.ANCHOR_GENERATOR.NAME`."""
    return ANCHOR_GENERATOR_REGISTRY.get(cfg.MODEL.ANCHOR_GENERATOR.NAME)(cfg, input_shape)


class BufferList(nn.Module):
    """A list of tensors that follow the module from device to device and are not in the state dict."""

    def __init__(self, buffers: Sequence[torch.Tensor]):
        super().__init__()
        for i, buffer in enumerate(buffers):
            self.register_buffer(str(i), buffer, persistent=False)

    def __len__(self) -> int:
        return len(self._buffers)

    def __iter__(self) -> Iterator[torch.Tensor]:
        return iter(self._buffers.values())


def _per_feature(values: Sequence, count: int, name: str) -> list:
    """One list a feature map: a flat list, or a list of one list, serves them all."""
    if not isinstance(values, collections.abc.Sequence) or not values:
        raise BadValue(f"{name} of the anchor generator must be a list that is not empty, got {values!r}")
    if not isinstance(values[0], collections.abc.Sequence):
        return [list(values)] * count
    if len(values) == 1:
        return [list(values[0])] * count
    if len(values) != count:
        raise BadValue(f"{name} of the anchor generator has {len(values)} lists for {count} feature maps")
    return [list(v) for v in values]


def _create_grid_offsets(
    size: List[int],  # noqa: UP006
    stride: int,
    offset: float,
    target_device_tensor: torch.Tensor,
) -> Tuple[torch.Tensor, torch.Tensor]:  # noqa: UP006
    """x and y `(H*W,)` in pixels of the positions of a feature map of `size` (height, width), row by row."""
    device = target_device_tensor.device
    x = (torch.arange(size[1], dtype=torch.float32, device=device) + offset) * stride
    y = (torch.arange(size[0], dtype=torch.float32, device=device) + offset) * stride
    y, x = torch.meshgrid(y, x, indexing="ij")
    return x.reshape(-1), y.reshape(-1)


def _check_count(features: List[torch.Tensor], strides: List[int]) -> None:  # noqa: UP006
    if len(features) != len(strides):
        raise BadCall(f"{len(features)} feature maps for anchors of {len(strides)}")


class _GridAnchors(nn.Module):
    """What both kinds of anchors share: cell anchors, shifted over the grid of each feature map."""

    box_dim: torch.jit.Final[int]

    def __init__(self, strides: list[int], offset: float):
        super().__init__()
        if not 0.0 <= offset < 1.0:
            raise BadValue(f"MODEL.ANCHOR_GENERATOR.OFFSET {offset} is not in [0, 1)")
        self.strides = strides
        self.num_features = len(strides)
        self.offset = offset

    @property
    @torch.jit.unused
    def num_anchors(self) -> list[int]:
        """Anchors at each position, one number a feature map."""
        return [len(anchors) for anchors in self.cell_anchors]

    @property
    @torch.jit.unused
    def num_cell_anchors(self) -> list[int]:
        """`num_anchors` under its older name."""
        return self.num_anchors

    def _grid_anchors(self, grid_sizes: List[List[int]]) -> List[torch.Tensor]:  # noqa: UP006
        """All anchors of feature maps of `(height, width)`, each `(height * width * A, box_dim)`, row by row."""
        anchors: List[torch.Tensor] = []  # noqa: UP006
        for i, cell in enumerate([buffer for _, buffer in self.cell_anchors.named_buffers()]):
            height, width = grid_sizes[i][0], grid_sizes[i][1]
            x, y = _create_grid_offsets([height, width], self.strides[i], self.offset, cell)
            shifts = self._shifts(x, y)  # (H*W, box_dim)
            anchors.append((shifts[:, None] + cell[None]).reshape(-1, cell.shape[1]))  # (H*W*A, box_dim)
        return anchors

    def _shifts(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError


@ANCHOR_GENERATOR_REGISTRY.register()
class DefaultAnchorGenerator(_GridAnchors):
    """Axis-aligned anchors, Faster R-CNN, arXiv 1506.01497.

    sizes: square root of the areas in pixels; aspect_ratios: height / width; either one list for each feature map, or
    one for all. strides: of the feature maps. offset: of the first centre from the corner, in strides.
    """

    box_dim: torch.jit.Final[int] = 4

    @configurable
    def __init__(self, *, sizes: list, aspect_ratios: list, strides: list[int], offset: float = 0.5):
        super().__init__(strides, offset)
        sizes = _per_feature(sizes, len(strides), "sizes")
        aspect_ratios = _per_feature(aspect_ratios, len(strides), "aspect_ratios")
        cells = [self.generate_cell_anchors(*one).float() for one in zip(sizes, aspect_ratios, strict=True)]
        self.cell_anchors = BufferList(cells)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: list[ShapeSpec]) -> dict:
        anchors = cfg.MODEL.ANCHOR_GENERATOR
        return {
            "sizes": anchors.SIZES,
            "aspect_ratios": anchors.ASPECT_RATIOS,
            "strides": [shape.stride for shape in input_shape],
            "offset": anchors.OFFSET,
        }

    @staticmethod
    def generate_cell_anchors(
        sizes: Sequence[float] = (32, 64, 128, 256, 512), aspect_ratios: Sequence[float] = (0.5, 1, 2)
    ) -> torch.Tensor:
        """Anchors `(sizes * ratios, 4)` XYXY around the origin, ratios changing fastest."""
        size = torch.tensor(sizes, dtype=torch.float64)[:, None]
        ratio = torch.tensor(aspect_ratios, dtype=torch.float64)[None]
        width = torch.sqrt(size**2 / ratio)  # (S, A)
        height = ratio * width
        return (torch.stack([-width, -height, width, height], dim=-1) / 2).reshape(-1, 4)

    def _shifts(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return torch.stack([x, y, x, y], dim=1)

    def forward(self, features: List[torch.Tensor]) -> List[Boxes]:  # noqa: UP006
        """features: maps `(N, C, H, W)`. Returns their anchors, the same for every image of the batch."""
        _check_count(features, self.strides)
        sizes = [[feature.shape[-2], feature.shape[-1]] for feature in features]
        return [Boxes(anchors) for anchors in self._grid_anchors(sizes)]


@ANCHOR_GENERATOR_REGISTRY.register()
class RotatedAnchorGenerator(_GridAnchors):
    """Rotated anchors (x, y, width, height, degrees counter-clockwise), RRPN, arXiv 1703.01086."""

    box_dim: torch.jit.Final[int] = 5

    @configurable
    def __init__(
        self, *, sizes: list, aspect_ratios: list, strides: list[int], angles: list, offset: float = 0.5
    ):
        super().__init__(strides, offset)
        count = len(strides)
        parts = [_per_feature(v, count, n) for v, n in ((sizes, "sizes"), (aspect_ratios, "aspect_ratios"))]
        parts.append(_per_feature(angles, count, "angles"))
        self.cell_anchors = BufferList([self.generate_cell_anchors(*one).float() for one in zip(*parts, strict=True)])

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: list[ShapeSpec]) -> dict:
        explicit = DefaultAnchorGenerator.from_config(cfg, input_shape)
        return {**explicit, "angles": cfg.MODEL.ANCHOR_GENERATOR.ANGLES}

    @staticmethod
    def generate_cell_anchors(
        sizes: Sequence[float] = (32, 64, 128, 256, 512),
        aspect_ratios: Sequence[float] = (0.5, 1, 2),
        angles: Sequence[float] = (-90, -60, -30, 0, 30, 60, 90),
    ) -> torch.Tensor:
        """Anchors `(sizes * ratios * angles, 5)` around the origin, angles changing fastest."""
        rows = []
        for size in sizes:
            for ratio in aspect_ratios:
                width = math.sqrt(size**2 / ratio)
                rows += [[0, 0, width, ratio * width, angle] for angle in angles]
        return torch.tensor(rows, dtype=torch.float64)

    def _shifts(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        zero = torch.zeros_like(x)
        return torch.stack([x, y, zero, zero, zero], dim=1)

    def forward(self, features: List[torch.Tensor]) -> List[RotatedBoxes]:  # noqa: UP006
        """features: maps `(N, C, H, W)`. Returns their anchors, the same for every image of the batch."""
        _check_count(features, self.strides)
        sizes = [[feature.shape[-2], feature.shape[-1]] for feature in features]
        return [RotatedBoxes(anchors) for anchors in self._grid_anchors(sizes)]
