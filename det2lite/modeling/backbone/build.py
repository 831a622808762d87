"""Backbones by name."""

from det2lite.config import CfgNode
from det2lite.layers import ShapeSpec
from det2lite.modeling.backbone.backbone import Backbone
from det2lite.utils.registry import Registry

BACKBONE_REGISTRY = Registry("BACKBONE")
BACKBONE_REGISTRY.__doc__ = "Functions or classes called with `(cfg, input_shape)` that give a `Backbone`."


def build_backbone(cfg: CfgNode, input_shape: ShapeSpec | None = None) -> Backbone:
    """The backbone of `cfg.MODEL.BACKBONE.NAME`. `input_shape` defaults to an image of `PIXEL_MEAN`'s channels."""
    if input_shape is None:
        input_shape = ShapeSpec(channels=len(cfg.MODEL.PIXEL_MEAN))
    backbone = BACKBONE_REGISTRY.get(cfg.MODEL.BACKBONE.NAME)(cfg, input_shape)
    if not isinstance(backbone, Backbone):
        raise TypeError(f"{cfg.MODEL.BACKBONE.NAME} built a {type(backbone).__name__}, which is no Backbone")
    return backbone
