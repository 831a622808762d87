"""Losses of classes."""

import torch
from torch.nn import functional as F

from det2lite.utils.fvcore_nn import sigmoid_focal_loss

__all__ = ["federated_classes", "federated_sigmoid_loss", "sigmoid_focal_loss"]


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
