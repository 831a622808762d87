"""The augmentations under the path where Detectron2 has them."""

from det2lite.data.transforms.color import RandomBrightness, RandomContrast, RandomLighting, RandomSaturation
from det2lite.data.transforms.cropping import (
    FixedSizeCrop,
    MinIoURandomCrop,
    RandomCrop,
    RandomCrop_CategoryAreaConstraint,
    RandomExtent,
)
from det2lite.data.transforms.orientation import RandomApply, RandomFlip, RandomRotation
from det2lite.data.transforms.resizing import RandomResize, Resize, ResizeScale, ResizeShortestEdge

__all__ = [
    "FixedSizeCrop",
    "RandomApply",
    "RandomBrightness",
    "RandomContrast",
    "RandomCrop",
    "RandomExtent",
    "RandomFlip",
    "RandomSaturation",
    "RandomLighting",
    "RandomRotation",
    "Resize",
    "ResizeScale",
    "ResizeShortestEdge",
    "RandomCrop_CategoryAreaConstraint",
    "RandomResize",
    "MinIoURandomCrop",
]
