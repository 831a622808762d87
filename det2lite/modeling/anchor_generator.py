"""Anchors under Detectron2's path; they live in `det2lite.modeling.priors.anchors`."""

from det2lite.config import configurable
from det2lite.layers import ShapeSpec, move_device_like
from det2lite.modeling.priors.anchors import (
    ANCHOR_GENERATOR_REGISTRY,
    BufferList,
    DefaultAnchorGenerator,
    RotatedAnchorGenerator,
    _create_grid_offsets,
    _per_feature,
    build_anchor_generator,
)
from det2lite.structures import Boxes, RotatedBoxes

__all__ = [
    "ANCHOR_GENERATOR_REGISTRY",
    "Boxes",
    "BufferList",
    "DefaultAnchorGenerator",
    "RotatedAnchorGenerator",
    "RotatedBoxes",
    "ShapeSpec",
    "_create_grid_offsets",
    "build_anchor_generator",
    "configurable",
    "move_device_like",
]

_broadcast_params = _per_feature  # its name in Detectron2, which generators of projects import
