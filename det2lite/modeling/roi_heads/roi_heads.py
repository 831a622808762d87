"""Region heads under Detectron2's path, with the names that projects import from there; they live beside this file."""

from det2lite.config import configurable
from det2lite.layers import ShapeSpec, nonzero_tuple
from det2lite.modeling.backbone.resnet import BottleneckBlock, ResNet
from det2lite.modeling.matcher import Matcher
from det2lite.modeling.poolers import ROIPooler
from det2lite.modeling.proposal_generator.proposal_utils import add_ground_truth_to_proposals
from det2lite.modeling.roi_heads.base import (
    ROI_HEADS_REGISTRY,
    ROIHeads,
    build_roi_heads,
    select_foreground_proposals,
    select_proposals_with_visible_keypoints,
)
from det2lite.modeling.roi_heads.box_head import build_box_head
from det2lite.modeling.roi_heads.fast_rcnn import FastRCNNOutputLayers
from det2lite.modeling.roi_heads.keypoint_head import build_keypoint_head
from det2lite.modeling.roi_heads.mask_head import build_mask_head
from det2lite.modeling.roi_heads.res5 import Res5ROIHeads
from det2lite.modeling.roi_heads.standard import StandardROIHeads
from det2lite.modeling.sampling import subsample_labels
from det2lite.structures import Boxes, ImageList, Instances, pairwise_iou
from det2lite.utils.events import get_event_storage

__all__ = [
    "ROI_HEADS_REGISTRY",
    "Boxes",
    "BottleneckBlock",
    "FastRCNNOutputLayers",
    "ImageList",
    "Instances",
    "Matcher",
    "ROIHeads",
    "ROIPooler",
    "Res5ROIHeads",
    "ResNet",
    "ShapeSpec",
    "StandardROIHeads",
    "add_ground_truth_to_proposals",
    "build_box_head",
    "build_keypoint_head",
    "build_mask_head",
    "build_roi_heads",
    "configurable",
    "get_event_storage",
    "nonzero_tuple",
    "pairwise_iou",
    "select_foreground_proposals",
    "select_proposals_with_visible_keypoints",
    "subsample_labels",
]
