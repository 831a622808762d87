"""Region heads under Detectron2's path; they live in the files beside this one."""

from det2lite.modeling.roi_heads.base import (
    ROI_HEADS_REGISTRY,
    ROIHeads,
    build_roi_heads,
    select_foreground_proposals,
    select_proposals_with_visible_keypoints,
)
from det2lite.modeling.roi_heads.res5 import Res5ROIHeads
from det2lite.modeling.roi_heads.standard import StandardROIHeads

__all__ = [
    "ROI_HEADS_REGISTRY",
    "ROIHeads",
    "Res5ROIHeads",
    "StandardROIHeads",
    "build_roi_heads",
    "select_foreground_proposals",
    "select_proposals_with_visible_keypoints",
]
