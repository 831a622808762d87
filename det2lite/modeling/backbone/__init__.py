"""Backbones, and the necks over them."""

from det2lite.modeling.backbone.backbone import Backbone
from det2lite.modeling.backbone.build import BACKBONE_REGISTRY, build_backbone
from det2lite.modeling.backbone.fpn import FPN
from det2lite.modeling.backbone.mvit import MViT
from det2lite.modeling.backbone.regnet import RegNet
from det2lite.modeling.backbone.resnet import (
    BasicStem,
    BottleneckBlock,
    DeformBottleneckBlock,
    ResNet,
    ResNetBlockBase,
    build_resnet_backbone,
    make_stage,
)
from det2lite.modeling.backbone.swin import SwinTransformer
from det2lite.modeling.backbone.vit import SimpleFeaturePyramid, ViT, get_vit_lr_decay_rate

__all__ = [
    "BACKBONE_REGISTRY",
    "FPN",
    "Backbone",
    "BasicStem",
    "BottleneckBlock",
    "DeformBottleneckBlock",
    "MViT",
    "RegNet",
    "ResNet",
    "ResNetBlockBase",
    "SimpleFeaturePyramid",
    "SwinTransformer",
    "ViT",
    "build_backbone",
    "build_resnet_backbone",
    "get_vit_lr_decay_rate",
    "make_stage",
]
