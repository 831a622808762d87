"""Losses of classes."""

import torch
from torch.nn import functional as F

from det2lite.utils.fvcore_nn import sigmoid_focal_loss

__all__ = ["federated_classes", "federated_sigmoid_loss", "focal_loss_of_labels", "sigmoid_focal_loss"]


def federated_classes(
    gt_classes: torch.Tensor, num_sampled: int, num_classes: int, weight: torch.Tensor
) -> torch.Tensor:
    """Classes that a federated loss asks about in one step. LVIS is not annotated exhaustively; arXiv 2103.07461.

    gt_classes: (R,) labels in [0, num_classes], the last being the background. weight: (num_classes,) >= 0,
    chance of a class to be drawn as a negative. Returns the distinct labels of `gt_classes`, filled up to
    `num_sampled` by drawn ones (fewer where the weights allow no more).
    """
    present = torch.unique(gt_classes)
    chance = weight.float().new_zeros(num_classes + 1)  # the background is never drawn
    chance[:num_classes] = weight.float()
    chance[present] = 0
    missing = min(num_sampled - len(present), int((chance > 0).sum()))
    if missing <= 0:
        return present
    return torch.cat([present, torch.multinomial(chance, missing, replacement=False)])


def federated_sigmoid_loss(
    logits: torch.Tensor, gt_classes: torch.Tensor, classes: torch.Tensor | None = None
) -> torch.Tensor:
    """Sigmoid cross entropy, summed over classes and averaged over boxes.

    logits: (R, K). gt_classes: (R,), K being background. classes: only these count; the background among
    them is passed over. None counts all. Nothing gives 0.
    """
    if logits.numel() == 0:
        return logits.sum() * 0.0
    num_classes = logits.shape[1]
    target = F.one_hot(gt_classes, num_classes + 1)[:, :num_classes].to(logits.dtype)  # (R, K)
    loss = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    if classes is not None:
        asked = logits.new_zeros(num_classes + 1)
        asked[classes] = 1
        loss = loss * asked[:num_classes]
    return loss.sum() / len(logits)


def focal_loss_of_labels(logits: torch.Tensor, labels: torch.Tensor, alpha: float, gamma: float) -> torch.Tensor:
    """Summed `sigmoid_focal_loss` of labels, without writing them out as zeros and ones. RetinaNet, arXiv 1708.02002.

    logits: (..., K). labels: (...), in [0, K), K for the background, -1 where nothing is learnt. alpha: weight of
    the objects, 1 - alpha that of the background; negative for no weights.
    """
    num_classes = logits.shape[-1]
    object_weight, other_weight = (alpha, 1 - alpha) if alpha >= 0 else (1.0, 1.0)
    as_background = other_weight * logits.sigmoid() ** gamma * F.softplus(logits)  # (..., K)
    total = (as_background * (labels >= 0)[..., None]).sum()
    # all was counted as background; put right what is an object
    is_object = (labels >= 0) & (labels < num_classes)
    index = labels.clamp(0, num_classes - 1)[..., None]
    own = logits.gather(-1, index)[..., 0]  # (...)
    as_object = object_weight * (1 - own.sigmoid()) ** gamma * F.softplus(-own)
    change = as_object - as_background.gather(-1, index)[..., 0]
    return total + torch.where(is_object, change, 0).sum()
