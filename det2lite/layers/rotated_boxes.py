"""Overlap of rotated boxes, by its familiar path."""

from det2lite.structures.rotated_iou import pairwise_iou_rotated

__all__ = ["pairwise_iou_rotated"]
