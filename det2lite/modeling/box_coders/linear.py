"""Boxes as distances of a point to their sides, FCOS, arXiv 1904.01355."""

import torch


class Box2BoxTransformLinear:
    """Encodes boxes (XYXY) as distances `(left, top, right, bottom)` from the centre of a source box.

    normalize_by_size: distances are measured in widths and heights of the source box.
    """

    def __init__(self, normalize_by_size: bool = True):
        self.normalize_by_size = normalize_by_size

    def get_deltas(self, src_boxes: torch.Tensor, target_boxes: torch.Tensor) -> torch.Tensor:
        """Distances `(..., 4)` that `apply_deltas` turns `src_boxes` into `target_boxes` by. Both `(..., 4)`."""
        center = 0.5 * (src_boxes[..., :2] + src_boxes[..., 2:])
        deltas = torch.cat([center - target_boxes[..., :2], target_boxes[..., 2:] - center], dim=-1)
        return deltas / _scale(src_boxes) if self.normalize_by_size else deltas

    def apply_deltas(self, deltas: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
        """Boxes `(..., k * 4)` from distances `(..., k * 4)`, negative ones read as 0, on `boxes (..., 4)`."""
        boxes = boxes.to(deltas.dtype)
        parts = torch.relu(deltas).unflatten(-1, [-1, 4])  # (..., k, 4)
        if self.normalize_by_size:
            parts = parts * _scale(boxes).unsqueeze(-2)
        center = (0.5 * (boxes[..., :2] + boxes[..., 2:])).unsqueeze(-2)
        return torch.cat([center - parts[..., :2], center + parts[..., 2:]], dim=-1).flatten(-2)


def _scale(boxes: torch.Tensor) -> torch.Tensor:
    """`(width, height, width, height)` of boxes `(..., 4)`."""
    size = boxes[..., 2:] - boxes[..., :2]
    return torch.cat([size, size], dim=-1)
