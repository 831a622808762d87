"""Axis-aligned boxes, the formats they are written in, and the overlaps between them."""

import math
from enum import IntEnum, unique
from typing import List, Tuple  # noqa: UP035 - TorchScript reads the annotations of Boxes

import numpy as np
import torch

__all__ = [
    "BoxMode",
    "Boxes",
    "matched_pairwise_iou",
    "pairwise_intersection",
    "pairwise_ioa",
    "pairwise_iou",
    "pairwise_point_box_distance",
]


@unique
class BoxMode(IntEnum):
    """How the numbers of a box are to be read. ABS is in pixels, REL in shares of the image's width and height."""

    XYXY_ABS = 0
    """(x0, y0, x1, y1): two opposite corners."""
    XYWH_ABS = 1
    """(x0, y0, w, h): top-left corner, width, height."""
    XYXY_REL = 2
    """As XYXY_ABS, in [0, 1]. Conversion is not supported."""
    XYWH_REL = 3
    """As XYWH_ABS, in [0, 1]. Conversion is not supported."""
    XYWHA_ABS = 4
    """(xc, yc, w, h, a): centre, width, height, and counter-clockwise angle in degrees."""

    @staticmethod
    def convert(box, from_mode: "BoxMode", to_mode: "BoxMode"):
        """Boxes rewritten from one mode to another, as the same type that came in.

        box: one box as list or tuple of 4 or 5 numbers, or boxes as array or tensor (..., 4 or 5). The
        input is never changed. A rotated box becomes the smallest axis-aligned box around it.
        """
        if from_mode == to_mode:
            return box
        from_mode, to_mode = BoxMode(from_mode), BoxMode(to_mode)
        relative = (BoxMode.XYXY_REL, BoxMode.XYWH_REL)
        assert from_mode not in relative and to_mode not in relative, "relative boxes cannot be converted"
        if isinstance(box, (list, tuple)):
            assert len(box) in (4, 5), f"a box as list or tuple has 4 or 5 numbers, this one has {len(box)}: {box}"
            return type(box)(_convert_columns(list(box), from_mode, to_mode, math))
        width = 5 if from_mode == BoxMode.XYWHA_ABS else 4
        assert box.shape[-1] == width, f"{from_mode.name} boxes have {width} numbers, these have {box.shape[-1]}"
        if isinstance(box, np.ndarray):
            columns = _convert_columns(np.moveaxis(box, -1, 0), from_mode, to_mode, np)
            return np.stack(columns, axis=-1).astype(box.dtype)
        columns = _convert_columns(box.unbind(-1), from_mode, to_mode, torch)
        return torch.stack([column.to(box.dtype) for column in columns], dim=-1)


def _convert_columns(columns, from_mode: BoxMode, to_mode: BoxMode, lib) -> list:
    """Coordinates of a box, each a number, array or tensor, converted through `lib`: math, numpy or torch."""
    if (from_mode, to_mode) == (BoxMode.XYXY_ABS, BoxMode.XYWH_ABS):
        x0, y0, x1, y1 = columns
        return [x0, y0, x1 - x0, y1 - y0]
    if (from_mode, to_mode) == (BoxMode.XYWH_ABS, BoxMode.XYXY_ABS):
        x0, y0, width, height = columns
        return [x0, y0, x0 + width, y0 + height]
    if (from_mode, to_mode) == (BoxMode.XYWH_ABS, BoxMode.XYWHA_ABS):
        x0, y0, width, height = columns
        return [x0 + width / 2, y0 + height / 2, width, height, x0 * 0]
    if (from_mode, to_mode) == (BoxMode.XYWHA_ABS, BoxMode.XYXY_ABS):
        xc, yc, width, height, angle = columns
        if lib is torch:  # float64: boxes of annotations are converted once, so exactness is cheap
            xc, yc, width, height, angle = (column.double() for column in columns)
        radians = angle * (math.pi / 180)
        cos, sin = abs(lib.cos(radians)), abs(lib.sin(radians))
        half_width, half_height = (cos * width + sin * height) / 2, (cos * height + sin * width) / 2
        return [xc - half_width, yc - half_height, xc + half_width, yc + half_height]
    raise NotImplementedError(f"no conversion from BoxMode.{from_mode.name} to BoxMode.{to_mode.name}")


class Boxes:
    """N axis-aligned boxes: `.tensor` is (N, 4) float32, XYXY in absolute pixels.

    Supports len, iteration over (4,) tensors, and indexing by int, slice, index or bool tensor.
    """

    def __init__(self, tensor: torch.Tensor):
        """tensor: (N, 4), or anything that `torch.as_tensor` takes; without elements it becomes (0, 4)."""
        if not isinstance(tensor, torch.Tensor):
            tensor = torch.as_tensor(tensor, dtype=torch.float32, device=torch.device("cpu"))
        else:
            tensor = tensor.to(torch.float32)
        if tensor.numel() == 0:
            # reshape, not new: an empty prediction must stay part of the autograd graph
            tensor = tensor.reshape((-1, 4)).to(dtype=torch.float32)
        assert tensor.dim() == 2 and tensor.size(-1) == 4, tensor.size()
        self.tensor = tensor

    def clone(self) -> "Boxes":
        """A copy that shares no memory."""
        return Boxes(self.tensor.clone())

    def to(self, device: torch.device) -> "Boxes":
        """The boxes on another device."""
        return Boxes(self.tensor.to(device=device))

    def area(self) -> torch.Tensor:
        """(N,) areas in square pixels; negative where one side is."""
        box = self.tensor
        return (box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1])

    def clip(self, box_size: Tuple[int, int]) -> None:  # noqa: UP006
        """Moves corners into [0, width] and [0, height]. box_size: (height, width).

        Raises AssertionError on infinite or NaN coordinates of CPU boxes; on an accelerator the look at the
        values would make the host wait, so there infinities are clipped and NaN stays NaN.
        """
        if not self.tensor.is_cuda:
            assert torch.isfinite(self.tensor).all(), "Box tensor contains infinite or NaN!"
        height, width = box_size
        x = self.tensor[:, 0::2].clamp(min=0, max=width)
        y = self.tensor[:, 1::2].clamp(min=0, max=height)
        self.tensor = torch.stack((x, y), dim=2).flatten(1)  # (N, 2, 2) -> (N, 4)

    def nonempty(self, threshold: float = 0.0) -> torch.Tensor:
        """(N,) bool: both sides are longer than `threshold` pixels."""
        box = self.tensor
        return ((box[:, 2] - box[:, 0]) > threshold) & ((box[:, 3] - box[:, 1]) > threshold)

    def __getitem__(self, item) -> "Boxes":
        """A single int gives one box as Boxes (1, 4)."""
        if isinstance(item, int):
            return Boxes(self.tensor[item].view(1, -1))
        chosen = self.tensor[item]
        assert chosen.dim() == 2, f"indexing Boxes with {item} does not give a matrix"
        return Boxes(chosen)

    def __len__(self) -> int:
        return self.tensor.shape[0]

    def __repr__(self) -> str:
        return "Boxes(" + str(self.tensor) + ")"

    def inside_box(self, box_size: Tuple[int, int], boundary_threshold: int = 0) -> torch.Tensor:  # noqa: UP006
        """(N,) bool: at most `boundary_threshold` pixels outside an image of (height, width)."""
        height, width = box_size
        box = self.tensor
        return (
            (box[:, 0] >= -boundary_threshold)
            & (box[:, 1] >= -boundary_threshold)
            & (box[:, 2] < width + boundary_threshold)
            & (box[:, 3] < height + boundary_threshold)
        )

    def get_centers(self) -> torch.Tensor:
        """(N, 2) centres, XY."""
        return (self.tensor[:, :2] + self.tensor[:, 2:]) / 2

    def scale(self, scale_x: float, scale_y: float) -> None:
        """Multiplies all x and all y, in place."""
        self.tensor[:, 0::2] *= scale_x
        self.tensor[:, 1::2] *= scale_y

    @staticmethod
    def cat(boxes_list: List["Boxes"]) -> "Boxes":  # noqa: UP006
        """All boxes of a list in one; none of an empty list."""
        assert isinstance(boxes_list, (list, tuple)), "cat takes a list of Boxes"
        if len(boxes_list) == 0:
            return Boxes(torch.empty(0))
        assert all([isinstance(boxes, Boxes) for boxes in boxes_list]), "cat takes a list of Boxes"
        return Boxes(torch.cat([boxes.tensor for boxes in boxes_list], dim=0))

    @property
    def device(self) -> torch.device:
        return self.tensor.device

    @torch.jit.unused
    def __iter__(self):
        yield from self.tensor


def pairwise_intersection(boxes1: Boxes, boxes2: Boxes) -> torch.Tensor:
    """(N, M) areas that each of N boxes shares with each of M."""
    # One contiguous row per coordinate, and results in place: with 200,000 anchors all the time goes into memory.
    left1, top1, right1, bottom1 = boxes1.tensor.t().contiguous().unsqueeze(2).unbind(0)  # (N, 1)
    left2, top2, right2, bottom2 = boxes2.tensor.t().contiguous().unbind(0)  # (M,)
    width = torch.min(right1, right2).sub_(torch.max(left1, left2)).clamp_(min=0)  # (N, M)
    height = torch.min(bottom1, bottom2).sub_(torch.max(top1, top2)).clamp_(min=0)
    return width.mul_(height)


def pairwise_iou(boxes1: Boxes, boxes2: Boxes) -> torch.Tensor:
    """(N, M) intersection over union; 0 where nothing is shared, boxes without area included."""
    area1, area2 = boxes1.area(), boxes2.area()
    inter = pairwise_intersection(boxes1, boxes2)
    union = (area1[:, None] + area2).sub_(inter)
    return torch.where(inter > 0, inter / union, 0.0)


def pairwise_ioa(boxes1: Boxes, boxes2: Boxes) -> torch.Tensor:
    """(N, M) intersection over the area of the second box; 0 where nothing is shared."""
    inter = pairwise_intersection(boxes1, boxes2)
    return torch.where(inter > 0, inter / boxes2.area(), 0.0)


def pairwise_point_box_distance(points: torch.Tensor, boxes: Boxes) -> torch.Tensor:
    """(N, M, 4) distances of points (N, 2) XY to the left, top, right and bottom side of M boxes.

    All four are positive where the point is inside.
    """
    x, y = points.unsqueeze(1).unbind(2)  # (N, 1)
    x0, y0, x1, y1 = boxes.tensor.unsqueeze(0).unbind(2)  # (1, M)
    return torch.stack([x - x0, y - y0, x1 - x, y1 - y], dim=2)


def matched_boxlist_iou(boxes1: Boxes, boxes2: Boxes) -> torch.Tensor:
    """`matched_pairwise_iou` under its older name."""
    return matched_pairwise_iou(boxes1, boxes2)


def matched_pairwise_iou(boxes1: Boxes, boxes2: Boxes) -> torch.Tensor:
    """(N,) intersection over union of the boxes at the same position of two lists of equal length."""
    assert len(boxes1) == len(boxes2), f"boxlists should have the same number of entries, got {boxes1}, {boxes2}"
    top_left = torch.max(boxes1.tensor[:, :2], boxes2.tensor[:, :2])
    bottom_right = torch.min(boxes1.tensor[:, 2:], boxes2.tensor[:, 2:])
    side = (bottom_right - top_left).clamp(min=0)  # (N, 2)
    inter = side[:, 0] * side[:, 1]
    union = boxes1.area() + boxes2.area() - inter
    return torch.where(inter > 0, inter / union, 0.0)
