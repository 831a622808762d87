"""Transforms (deterministic) and augmentations (policies that choose transforms)."""

from fvcore.transforms.transform import (
    BlendTransform,
    CropTransform,
    GridSampleTransform,
    HFlipTransform,
    NoOpTransform,
    PadTransform,
    ScaleTransform,
    Transform,
    TransformList,
    VFlipTransform,
)

from det2lite.data.transforms import augmentation, augmentation_impl, transform
from det2lite.data.transforms.augmentation import *  # noqa: F403
from det2lite.data.transforms.augmentation_impl import *  # noqa: F403
from det2lite.data.transforms.transform import *  # noqa: F403

__all__ = [
    "BlendTransform",
    "CropTransform",
    "GridSampleTransform",
    "HFlipTransform",
    "NoOpTransform",
    "PadTransform",
    "ScaleTransform",
    "Transform",
    "TransformList",
    "VFlipTransform",
    *augmentation.__all__,
    *augmentation_impl.__all__,
    *transform.__all__,
]
