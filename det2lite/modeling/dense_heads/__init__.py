"""Heads that predict at every position of every feature map."""

from det2lite.modeling.dense_heads.fcos import FCOSHead
from det2lite.modeling.dense_heads.retinanet import RetinaNetHead

__all__ = ["FCOSHead", "RetinaNetHead"]
