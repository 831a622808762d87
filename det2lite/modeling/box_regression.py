"""Box coders under Detectron2's path; they live in `det2lite.modeling.box_coders`."""

import torch

from det2lite.modeling.box_coders.delta import SCALE_CLAMP, Box2BoxTransform, Box2BoxTransformRotated
from det2lite.modeling.box_coders.linear import Box2BoxTransformLinear

__all__ = ["Box2BoxTransform", "Box2BoxTransformLinear", "Box2BoxTransformRotated"]

_DEFAULT_SCALE_CLAMP = SCALE_CLAMP


def _dense_box_regression_loss(
    anchors: list,
    box2box_transform,
    pred_anchor_deltas: list,
    gt_boxes: list,
    fg_mask: torch.Tensor,
    box_reg_loss_type: str = "smooth_l1",
    smooth_l1_beta: float = 0.0,
) -> torch.Tensor:
    """`dense_box_regression_loss` of lists, as projects call it: anchors `(R_l, B)` and deltas `(N, R_l, B)` a level,
    boxes or tensors; gt_boxes `(R, B)` an image; fg_mask `(N, R)`."""
    from det2lite.modeling.box_coders.loss import dense_box_regression_loss

    rows = torch.cat([level if isinstance(level, torch.Tensor) else level.tensor for level in anchors])
    deltas = torch.cat(pred_anchor_deltas, dim=1)
    return dense_box_regression_loss(
        deltas, rows, torch.stack(gt_boxes), fg_mask, box2box_transform, box_reg_loss_type, smooth_l1_beta
    )
