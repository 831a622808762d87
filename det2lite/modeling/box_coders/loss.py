"""The loss of predicted deltas, on the deltas or on the boxes that they stand for."""

from collections.abc import Callable

import torch

from det2lite.layers.losses import ciou_loss, diou_loss, giou_loss, smooth_l1_loss
from det2lite.utils.errors import BadValue

BOX_LOSSES: dict[str, Callable[..., torch.Tensor]] = {"giou": giou_loss, "diou": diou_loss, "ciou": ciou_loss}


def box_regression_loss(
    pred_deltas: torch.Tensor,
    anchors: torch.Tensor,
    gt_boxes: torch.Tensor,
    box2box_transform,
    box_reg_loss_type: str = "smooth_l1",
    smooth_l1_beta: float = 0.0,
) -> torch.Tensor:
    """Summed loss of matched predictions. pred_deltas `(R, B)`; anchors and gt_boxes `(R, B)`, B numbers a box."""
    if box_reg_loss_type == "smooth_l1":
        target = box2box_transform.get_deltas(anchors, gt_boxes)
        return smooth_l1_loss(pred_deltas, target, beta=smooth_l1_beta, reduction="sum")
    if box_reg_loss_type not in BOX_LOSSES:
        known = ", ".join(["smooth_l1", *BOX_LOSSES])
        raise BadValue(f"BBOX_REG_LOSS_TYPE {box_reg_loss_type!r} is not one of {known}")
    boxes = box2box_transform.apply_deltas(pred_deltas, anchors)
    return BOX_LOSSES[box_reg_loss_type](boxes, gt_boxes, reduction="sum")


def dense_box_regression_loss(
    pred_deltas: torch.Tensor,
    anchors: torch.Tensor,
    gt_boxes: torch.Tensor,
    positive: torch.Tensor,
    box2box_transform,
    box_reg_loss_type: str = "smooth_l1",
    smooth_l1_beta: float = 0.0,
) -> torch.Tensor:
    """Summed loss of the predictions at `positive (N, R)`. pred_deltas, gt_boxes `(N, R, B)`; anchors `(R, B)`."""
    image, row = positive.nonzero(as_tuple=True)
    return box_regression_loss(
        pred_deltas[image, row],
        anchors[row],
        gt_boxes[image, row],
        box2box_transform,
        box_reg_loss_type,
        smooth_l1_beta,
    )
