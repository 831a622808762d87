"""Box coders under Detectron2's path; they live in `det2lite.modeling.box_coders`."""

from det2lite.modeling.box_coders.delta import Box2BoxTransform, Box2BoxTransformRotated
from det2lite.modeling.box_coders.linear import Box2BoxTransformLinear

__all__ = ["Box2BoxTransform", "Box2BoxTransformLinear", "Box2BoxTransformRotated"]
