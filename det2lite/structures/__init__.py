"""Data with shapes: boxes, masks, keypoints, and the objects of an image."""

from det2lite.structures.boxes import Boxes, BoxMode, pairwise_ioa, pairwise_iou, pairwise_point_box_distance
from det2lite.structures.image_list import ImageList
from det2lite.structures.instances import Instances
from det2lite.structures.keypoints import Keypoints, heatmaps_to_keypoints
from det2lite.structures.masks import BitMasks, PolygonMasks, ROIMasks, polygons_to_bitmask
from det2lite.structures.rotated_boxes import RotatedBoxes
from det2lite.structures.rotated_boxes import pairwise_iou as pairwise_iou_rotated

__all__ = [
    "BitMasks",
    "BoxMode",
    "Boxes",
    "ImageList",
    "Instances",
    "Keypoints",
    "PolygonMasks",
    "ROIMasks",
    "RotatedBoxes",
    "heatmaps_to_keypoints",
    "pairwise_ioa",
    "pairwise_iou",
    "pairwise_iou_rotated",
    "pairwise_point_box_distance",
    "polygons_to_bitmask",
]
