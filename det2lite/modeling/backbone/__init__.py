"""Backbones, and the necks over them."""

from det2lite.modeling.backbone.backbone import Backbone
from det2lite.modeling.backbone.build import BACKBONE_REGISTRY, build_backbone
from det2lite.modeling.backbone.fpn import FPN
from det2lite.modeling.backbone.resnet import (
    BasicStem,
    BottleneckBlock,
    DeformBottleneckBlock,
    ResNet,
    ResNetBlockBase,
    build_resnet_backbone,
    make_stage,
)

__all__ = [
    "BACKBONE_REGISTRY",
    "FPN",
    "Backbone",
    "BasicStem",
    "BottleneckBlock",
    "DeformBottleneckBlock",
    "ResNet",
    "ResNetBlockBase",
    "build_backbone",
    "build_resnet_backbone",
    "make_stage",
]
