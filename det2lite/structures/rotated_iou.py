"""Exact overlap of rotated rectangles, as tensor code for any device.

The area of the intersection is the integral of (x dy - y dx) / 2 along its outline (Green's theorem), and
that outline is: the parts of the first rectangle's sides that lie in the second, and the parts of the
second's sides that lie in the first. Each part is a segment clipped by the four sides of an upright
rectangle (Liang and Barsky, 1984). So nothing has to be sorted, and no list of corners to be kept.
"""

import math
from typing import List  # noqa: UP035 - TorchScript reads the annotations

import torch

__all__ = ["iou_of_pairs", "matched_iou_rotated", "overlap_candidates", "pairwise_iou_rotated"]



def _clip_share(start: torch.Tensor, step: torch.Tensor, half: torch.Tensor) -> torch.Tensor:
    """(P, 4) share of each segment start + t * step, 0 <= t <= 1, within -half <= x, y <= half.

    start, step: (P, 4, 2). half: (P, 1, 2).
    """
    tiny = 1e-30
    step = torch.where(step.abs() < tiny, torch.full_like(step, tiny), step)  # parallel: all or nothing
    at_low = (-half - start) / step  # (P, 4, 2)
    at_high = (half - start) / step
    enter = torch.min(at_low, at_high).amax(dim=2).clamp(min=0)
    leave = torch.max(at_low, at_high).amin(dim=2).clamp(max=1)
    return (leave - enter).clamp(min=0)


def _corners(half: torch.Tensor) -> torch.Tensor:
    """(P, 4, 2) corners of upright rectangles around the origin with half sides (P, 2), in order of their sides."""
    signs = torch.tensor([[-1, -1], [1, -1], [1, 1], [-1, 1]], dtype=half.dtype, device=half.device)
    return half[:, None, :] * signs


def _rotate(points: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Points (P, K, 2) turned by angles given as (P, 1) cosines and sines."""
    x, y = points[..., 0], points[..., 1]
    return torch.stack([cos * x + sin * y, cos * y - sin * x], dim=-1)


def matched_iou_rotated(boxes1: torch.Tensor, boxes2: torch.Tensor) -> torch.Tensor:
    """(P,) float32 IoU of the rotated boxes at the same position. boxes: (P, 5) xc, yc, w, h, degrees."""
    # float64, since the boxes of a pair may differ in the last digits of float32 alone
    dtype = torch.float32 if boxes1.device.type == "mps" else torch.float64
    box1, box2 = boxes1.to(dtype), boxes2.to(dtype)
    half1, half2 = box1[:, 2:4] / 2, box2[:, 2:4] / 2  # (P, 2)
    angle1, angle2 = box1[:, 4:] * (math.pi / 180), box2[:, 4:] * (math.pi / 180)  # (P, 1)
    cos, sin = torch.cos(angle1 - angle2), torch.sin(angle1 - angle2)
    # centre of the first seen from the second, and the other way round
    between = (box1[:, :2] - box2[:, :2])[:, None, :]  # (P, 1, 2)
    center1 = _rotate(between, torch.cos(angle2), -torch.sin(angle2))
    center2 = _rotate(-between, torch.cos(angle1), -torch.sin(angle1))
    corners1 = _rotate(_corners(half1), cos, sin) + center1
    corners2 = _rotate(_corners(half2), cos, -sin) + center2
    step1 = corners1.roll(-1, dims=1) - corners1
    step2 = corners2.roll(-1, dims=1) - corners2

    # A side on which both outlines run counts once: for the first box, as its sides are clipped by a second box
    # a little larger, while those of the second are clipped by a first box a little smaller.
    scale = torch.max(half1.amax(dim=1), half2.amax(dim=1))[:, None, None]  # (P, 1, 1)
    margin = scale * (1e-5 if dtype == torch.float32 else 1e-9)
    share1 = _clip_share(corners1, step1, half2[:, None] + margin)  # (P, 4)
    share2 = _clip_share(corners2, step2, half1[:, None] - margin)

    # x dy - y dx around the second box's centre: its own four sides each sweep half its area
    swept1 = corners1[..., 0] * step1[..., 1] - corners1[..., 1] * step1[..., 0]  # (P, 4)
    area1, area2 = box1[:, 2] * box1[:, 3], box2[:, 2] * box2[:, 3]
    inter = (share1 * swept1).sum(dim=1) / 2 + share2.sum(dim=1) * area2 / 4
    inter = torch.min(inter.clamp(min=0), torch.min(area1, area2))
    valid = (area1 > 1e-14) & (area2 > 1e-14) & (box1[:, 2] > 0) & (box2[:, 2] > 0)
    return torch.where(valid, inter / (area1 + area2 - inter), torch.zeros_like(inter)).float()


def overlap_candidates(boxes1: torch.Tensor, boxes2: torch.Tensor, chunk_cells: int = 1 << 22) -> torch.Tensor:
    """(P, 2) int64 index pairs of boxes (N, 5) and (M, 5) that may overlap: the circles around them meet.

    chunk_cells: pairs looked at in one step; bounds the working memory.
    """
    radius1 = torch.hypot(boxes1[:, 2], boxes1[:, 3]) * 0.5005  # 0.1 % more: rounding must not lose a pair
    radius2 = torch.hypot(boxes2[:, 2], boxes2[:, 3]) * 0.5005
    step = max(1, chunk_cells // max(1, boxes2.shape[0]))
    found: List[torch.Tensor] = [torch.empty((0, 2), dtype=torch.int64, device=boxes1.device)]  # noqa: UP006
    for start in range(0, boxes1.shape[0], step):
        part = slice(start, start + step)
        dx = boxes1[part, None, 0] - boxes2[None, :, 0]
        dy = boxes1[part, None, 1] - boxes2[None, :, 1]
        pairs = (torch.hypot(dx, dy) <= radius1[part, None] + radius2).nonzero()  # (P, 2)
        pairs[:, 0] += start
        found.append(pairs)
    return torch.cat(found)


def iou_of_pairs(
    boxes1: torch.Tensor, boxes2: torch.Tensor, pairs: torch.Tensor, chunk_pairs: int = 1 << 17
) -> torch.Tensor:
    """(P,) IoU of boxes1[pairs[:, 0]] and boxes2[pairs[:, 1]], `chunk_pairs` in one step of some 100 MB."""
    parts: List[torch.Tensor] = [torch.empty(0, device=boxes1.device)]  # noqa: UP006
    for chunk in pairs.split(chunk_pairs):
        parts.append(matched_iou_rotated(boxes1[chunk[:, 0]], boxes2[chunk[:, 1]]))
    return torch.cat(parts)


def pairwise_iou_rotated(boxes1: torch.Tensor, boxes2: torch.Tensor) -> torch.Tensor:
    """(N, M) float32 IoU of rotated boxes (N, 5) and (M, 5), each xc, yc, w, h, degrees counter-clockwise."""
    pairs = overlap_candidates(boxes1, boxes2)
    iou = torch.zeros((boxes1.shape[0], boxes2.shape[0]), dtype=torch.float32, device=boxes1.device)
    iou[pairs[:, 0], pairs[:, 1]] = iou_of_pairs(boxes1, boxes2, pairs)
    return iou
