"""Boxes with an angle."""

import math
from typing import List, Tuple  # noqa: UP035 - the annotations of Boxes

import torch

from det2lite.structures.boxes import Boxes
from det2lite.structures.rotated_iou import pairwise_iou_rotated

__all__ = ["RotatedBoxes", "pairwise_iou", "pairwise_iou_rotated"]


class RotatedBoxes(Boxes):
    """N rotated boxes: `.tensor` is (N, 5) float32: centre x, centre y, width, height, angle.

    Lengths are in absolute pixels; the angle in degrees turns the box counter-clockwise as seen in the
    image, whose y axis points down. Width is the side along the x axis at angle 0.
    """

    def __init__(self, tensor: torch.Tensor):
        """tensor: (N, 5), or anything that `torch.as_tensor` takes; without elements it becomes (0, 5)."""
        device = tensor.device if isinstance(tensor, torch.Tensor) else torch.device("cpu")
        tensor = torch.as_tensor(tensor, dtype=torch.float32, device=device)
        if tensor.numel() == 0:
            tensor = tensor.reshape((-1, 5))  # reshape, not new: the autograd graph is kept
        assert tensor.dim() == 2 and tensor.size(-1) == 5, tensor.size()
        self.tensor = tensor

    def clone(self) -> "RotatedBoxes":
        """A copy that shares no memory."""
        return RotatedBoxes(self.tensor.clone())

    def to(self, device: torch.device, non_blocking: bool = False) -> "RotatedBoxes":
        """The boxes on another device."""
        return RotatedBoxes(self.tensor.to(device=device, non_blocking=non_blocking))

    def area(self) -> torch.Tensor:
        """(N,) areas in square pixels."""
        return self.tensor[:, 2] * self.tensor[:, 3]

    def normalize_angles(self) -> None:
        """Brings the angles into [-180, 180), in place."""
        self.tensor[:, 4] = (self.tensor[:, 4] + 180.0) % 360.0 - 180.0

    def clip(self, box_size: Tuple[int, int], clip_angle_threshold: float = 1.0) -> None:  # noqa: UP006
        """Clips the boxes that are turned by at most `clip_angle_threshold` degrees to (height, width).

        A turned box clipped by the image would be no box any more, so others are left as they are. Sides
        never grow. In place, angles are normalised.
        """
        height, width = box_size
        self.normalize_angles()
        center, side, angle = self.tensor[:, :2], self.tensor[:, 2:4], self.tensor[:, 4:]
        limit = torch.stack([torch.full_like(center[:, 0], width), torch.full_like(center[:, 1], height)], dim=1)
        low = torch.minimum((center - side / 2).clamp(min=0), limit)
        high = torch.minimum((center + side / 2).clamp(min=0), limit)
        clipped = torch.cat([(low + high) / 2, torch.minimum(side, high - low), angle], dim=1)
        self.tensor = torch.where(angle.abs() <= clip_angle_threshold, clipped, self.tensor)

    def nonempty(self, threshold: float = 0.0) -> torch.Tensor:
        """(N,) bool: both sides are longer than `threshold` pixels."""
        return (self.tensor[:, 2] > threshold) & (self.tensor[:, 3] > threshold)

    def __getitem__(self, item) -> "RotatedBoxes":
        """A single int gives one box as RotatedBoxes (1, 5)."""
        if isinstance(item, int):
            return RotatedBoxes(self.tensor[item].view(1, -1))
        chosen = self.tensor[item]
        assert chosen.dim() == 2, f"indexing RotatedBoxes with {item} does not give a matrix"
        return RotatedBoxes(chosen)

    def __len__(self) -> int:  # TorchScript knows no base classes
        return self.tensor.shape[0]

    @property
    def device(self) -> torch.device:
        return self.tensor.device

    def __repr__(self) -> str:
        return "RotatedBoxes(" + str(self.tensor) + ")"

    def inside_box(self, box_size: Tuple[int, int], boundary_threshold: int = 0) -> torch.Tensor:  # noqa: UP006
        """(N,) bool: the centre is at most `boundary_threshold` pixels outside an image of (height, width)."""
        height, width = box_size
        x, y = self.tensor[:, 0], self.tensor[:, 1]
        return (
            (x >= -boundary_threshold)
            & (x < width + boundary_threshold)
            & (y >= -boundary_threshold)
            & (y < height + boundary_threshold)
        )

    def get_centers(self) -> torch.Tensor:
        """(N, 2) centres, XY."""
        return self.tensor[:, :2]

    def scale(self, scale_x: float, scale_y: float) -> None:
        """Follows an image that is stretched along its axes, in place.

        Unequal factors make a turned box a parallelogram; kept are the lengths of its sides and the direction of its
        height.
        """
        self.tensor[:, 0] *= scale_x
        self.tensor[:, 1] *= scale_y
        radians = self.tensor[:, 4] * (math.pi / 180)
        cos, sin = torch.cos(radians), torch.sin(radians)
        self.tensor[:, 2] *= torch.sqrt((scale_x * cos) ** 2 + (scale_y * sin) ** 2)
        self.tensor[:, 3] *= torch.sqrt((scale_x * sin) ** 2 + (scale_y * cos) ** 2)
        self.tensor[:, 4] = torch.atan2(scale_x * sin, scale_y * cos) * (180 / math.pi)

    @staticmethod
    def cat(boxes_list: List["RotatedBoxes"]) -> "RotatedBoxes":  # noqa: UP006
        """All boxes of a list in one; none of an empty list."""
        assert isinstance(boxes_list, (list, tuple)), "cat takes a list of RotatedBoxes"
        if len(boxes_list) == 0:
            return RotatedBoxes(torch.empty(0))
        assert all([isinstance(boxes, RotatedBoxes) for boxes in boxes_list]), "cat takes a list of RotatedBoxes"
        return RotatedBoxes(torch.cat([boxes.tensor for boxes in boxes_list], dim=0))


def pairwise_iou(boxes1: RotatedBoxes, boxes2: RotatedBoxes) -> torch.Tensor:
    """(N, M) intersection over union of rotated boxes."""
    return pairwise_iou_rotated(boxes1.tensor, boxes2.tensor)
