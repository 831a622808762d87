"""Losses of boxes by their overlap. Boxes are (..., 4) XYXY and matched position by position.

`boxes1` are predictions and `boxes2` targets, though only CIoU's weight of the aspect ratio tells them apart.
Boxes must have x1 >= x0 and y1 >= y0; what comes out for others has no meaning.
"""

import math

import torch

from det2lite.layers.losses.reduction import reduce_loss

__all__ = ["ciou_loss", "diou_loss", "giou_loss", "iou_loss"]


def _overlap(boxes1: torch.Tensor, boxes2: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Intersection and union areas (...,). No boolean indexing: it would make the host wait for a GPU."""
    side = torch.min(boxes1[..., 2:], boxes2[..., 2:]) - torch.max(boxes1[..., :2], boxes2[..., :2])
    inter = side.clamp(min=0).unbind(-1)
    inter = inter[0] * inter[1]
    size1, size2 = boxes1[..., 2:] - boxes1[..., :2], boxes2[..., 2:] - boxes2[..., :2]
    return inter, size1[..., 0] * size1[..., 1] + size2[..., 0] * size2[..., 1] - inter


def _enclosing_size(boxes1: torch.Tensor, boxes2: torch.Tensor) -> torch.Tensor:
    """(..., 2) width and height of the smallest box around both."""
    return torch.max(boxes1[..., 2:], boxes2[..., 2:]) - torch.min(boxes1[..., :2], boxes2[..., :2])


def _in_float32(boxes1: torch.Tensor, boxes2: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Half precision overflows at an area of 256 x 256 pixels."""
    half = (torch.float16, torch.bfloat16)
    return tuple(boxes.float() if boxes.dtype in half else boxes for boxes in (boxes1, boxes2))


def iou_loss(
    boxes1: torch.Tensor, boxes2: torch.Tensor, reduction: str = "none", eps: float = 1e-7
) -> torch.Tensor:
    """1 - IoU, in [0, 1]."""
    boxes1, boxes2 = _in_float32(boxes1, boxes2)
    inter, union = _overlap(boxes1, boxes2)
    return reduce_loss(1 - inter / (union + eps), reduction)


def giou_loss(
    boxes1: torch.Tensor, boxes2: torch.Tensor, reduction: str = "none", eps: float = 1e-7
) -> torch.Tensor:
    """1 - IoU + the share of the enclosing box that neither fills, in [0, 2]. arXiv 1902.09630."""
    boxes1, boxes2 = _in_float32(boxes1, boxes2)
    inter, union = _overlap(boxes1, boxes2)
    enclosing = _enclosing_size(boxes1, boxes2)
    hull = enclosing[..., 0] * enclosing[..., 1]
    return reduce_loss(1 - inter / (union + eps) + (hull - union) / (hull + eps), reduction)


def _diou(boxes1: torch.Tensor, boxes2: torch.Tensor, eps: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The unreduced DIoU loss, and the IoU."""
    inter, union = _overlap(boxes1, boxes2)
    iou = inter / (union + eps)
    diagonal = _enclosing_size(boxes1, boxes2).square().sum(-1) + eps
    centers = (boxes1[..., :2] + boxes1[..., 2:] - boxes2[..., :2] - boxes2[..., 2:]) / 2
    return 1 - iou + centers.square().sum(-1) / diagonal, iou


def diou_loss(
    boxes1: torch.Tensor, boxes2: torch.Tensor, reduction: str = "none", eps: float = 1e-7
) -> torch.Tensor:
    """1 - IoU + squared distance of the centres over that of the enclosing corners. arXiv 1911.08287."""
    boxes1, boxes2 = _in_float32(boxes1, boxes2)
    return reduce_loss(_diou(boxes1, boxes2, eps)[0], reduction)


def ciou_loss(
    boxes1: torch.Tensor, boxes2: torch.Tensor, reduction: str = "none", eps: float = 1e-7
) -> torch.Tensor:
    """DIoU plus a weighted difference of the aspect ratios; the weight is a constant. arXiv 1911.08287."""
    boxes1, boxes2 = _in_float32(boxes1, boxes2)
    loss, iou = _diou(boxes1, boxes2, eps)
    (width1, height1), (width2, height2) = (
        (boxes[..., 2:] - boxes[..., :2]).unbind(-1) for boxes in (boxes1, boxes2)
    )
    aspect = 4 / math.pi**2 * (torch.atan(width2 / height2) - torch.atan(width1 / height1)).square()
    with torch.no_grad():
        weight = aspect / (1 - iou + aspect + eps)
    return reduce_loss(loss + weight * aspect, reduction)
