"""Layers and functions that models are made of."""

from det2lite.layers.aspp import ASPP
from det2lite.layers.batch_norm import CycleBatchNormList, FrozenBatchNorm2d, NaiveSyncBatchNorm, get_norm
from det2lite.layers.blocks import CNNBlockBase, DepthwiseSeparableConv2d
from det2lite.layers.deform_conv import DeformConv, ModulatedDeformConv
from det2lite.layers.losses import ciou_loss, diou_loss
from det2lite.layers.mask_ops import paste_masks_in_image
from det2lite.layers.nms import batched_nms, batched_nms_rotated, nms, nms_rotated
from det2lite.layers.roi_align import ROIAlign, roi_align
from det2lite.layers.roi_align_rotated import ROIAlignRotated
from det2lite.layers.shape_spec import FeatureShapes, ShapeSpec
from det2lite.layers.wrappers import (
    BatchNorm2d,
    Conv2d,
    ConvTranspose2d,
    Linear,
    cat,
    check_if_dynamo_compiling,
    cross_entropy,
    empty_input_loss_func_wrapper,
    fast_for_convolutions,
    interpolate,
    move_device_like,
    nonzero_of_count,
    nonzero_tuple,
    shapes_to_tensor,
)

__all__ = [
    "ASPP",
    "DeformConv",
    "ModulatedDeformConv",
    "ROIAlignRotated",
    "BatchNorm2d",
    "CNNBlockBase",
    "Conv2d",
    "ConvTranspose2d",
    "CycleBatchNormList",
    "DepthwiseSeparableConv2d",
    "FeatureShapes",
    "FrozenBatchNorm2d",
    "Linear",
    "NaiveSyncBatchNorm",
    "ROIAlign",
    "ShapeSpec",
    "batched_nms",
    "batched_nms_rotated",
    "cat",
    "check_if_dynamo_compiling",
    "ciou_loss",
    "cross_entropy",
    "diou_loss",
    "empty_input_loss_func_wrapper",
    "fast_for_convolutions",
    "get_norm",
    "interpolate",
    "move_device_like",
    "nms",
    "nms_rotated",
    "nonzero_of_count",
    "nonzero_tuple",
    "paste_masks_in_image",
    "roi_align",
    "shapes_to_tensor",
]
