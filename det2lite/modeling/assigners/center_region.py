"""Assignment by position: a point learns from the object whose centre it is near, FCOS, arXiv 1904.01355."""

import math

import torch

from det2lite.structures import Boxes

__all__ = ["match_points"]


def match_points(gt_boxes: torch.Tensor, cells: list[torch.Tensor], center_sampling_radius: float) -> torch.Tensor:
    """Index `(R,)` of the object that each position learns from, -1 for background.

    gt_boxes: `(M, 4)` XYXY. cells: one a level, from high to low resolution, `(R_l, 4)` XYXY: squares of the level's
    stride around the positions. A position is in the object's box and nearer to its centre, along both axes, than
    `center_sampling_radius` strides; the farthest side is 4 to 8 strides away, or less at the first level, or more
    at the last one. Of several objects it takes the smallest.
    """
    boxes = Boxes(torch.cat(cells))
    points = boxes.get_centers()  # (R, 2)
    stride = boxes.tensor[:, 2] - boxes.tensor[:, 0]  # (R,)
    if len(gt_boxes) == 0:
        return torch.full_like(stride, -1, dtype=torch.int64)
    low, high = 4 * stride, 8 * stride
    low[: len(cells[0])] = 0
    high[len(high) - len(cells[-1]) :] = math.inf
    gt = Boxes(gt_boxes)
    to_center = (points[None] - gt.get_centers()[:, None]).abs().amax(dim=2)  # (M, R)
    sides = torch.cat([points[None] - gt_boxes[:, None, :2], gt_boxes[:, None, 2:] - points[None]], dim=2)  # (M, R, 4)
    farthest = sides.amax(dim=2)
    fits = (to_center < center_sampling_radius * stride) & (sides.amin(dim=2) > 0)
    fits &= (farthest > low) & (farthest < high)
    area, index = torch.where(fits, gt.area()[:, None], math.inf).min(dim=0)
    return torch.where(area.isinf(), -1, index)
