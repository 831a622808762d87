"""The matcher under Detectron2's path; it lives in `det2lite.modeling.assigners.max_iou`."""

from det2lite.layers import nonzero_tuple
from det2lite.modeling.assigners.max_iou import Matcher

__all__ = ["Matcher", "nonzero_tuple"]
