"""Losses as pure functions of tensors."""

from det2lite.layers.losses.classification import (
    federated_classes,
    federated_sigmoid_loss,
    focal_loss_of_labels,
    sigmoid_focal_loss,
)
from det2lite.layers.losses.iou import ciou_loss, diou_loss, giou_loss, iou_loss
from det2lite.layers.losses.regression import l1_loss, smooth_l1_loss

__all__ = [
    "ciou_loss",
    "diou_loss",
    "federated_classes",
    "federated_sigmoid_loss",
    "focal_loss_of_labels",
    "giou_loss",
    "iou_loss",
    "l1_loss",
    "sigmoid_focal_loss",
    "smooth_l1_loss",
]
