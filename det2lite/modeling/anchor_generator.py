"""Anchors under Detectron2's path; they live in `det2lite.modeling.priors.anchors`."""

from det2lite.modeling.priors.anchors import (
    ANCHOR_GENERATOR_REGISTRY,
    BufferList,
    DefaultAnchorGenerator,
    RotatedAnchorGenerator,
    build_anchor_generator,
)

__all__ = [
    "ANCHOR_GENERATOR_REGISTRY",
    "BufferList",
    "DefaultAnchorGenerator",
    "RotatedAnchorGenerator",
    "build_anchor_generator",
]
