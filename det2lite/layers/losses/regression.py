"""Losses of numbers that should come close to others."""

import torch

from det2lite.layers.losses.reduction import reduce_loss

__all__ = ["l1_loss", "smooth_l1_loss"]

MIN_BETA = 1e-5  # below, the quadratic part is no wider than rounding, and its slope 1 / beta overflows


def l1_loss(input: torch.Tensor, target: torch.Tensor, reduction: str = "none") -> torch.Tensor:
    """|input - target|; any shape, reduced by "none", "mean" or "sum"."""
    return reduce_loss((input - target).abs(), reduction)


def smooth_l1_loss(
    input: torch.Tensor, target: torch.Tensor, beta: float, reduction: str = "none"
) -> torch.Tensor:
    """|d| - beta / 2 for d = input - target, but d^2 / (2 beta) within |d| < beta. Fast R-CNN, arXiv 1504.08083.

    beta: 0 gives the L1 loss. reduction: "none", "mean" or "sum"; the mean of nothing is 0.
    """
    if beta < MIN_BETA:
        return l1_loss(input, target, reduction)
    distance = (input - target).abs()
    loss = torch.where(distance < beta, 0.5 * distance * distance / beta, distance - 0.5 * beta)
    return reduce_loss(loss, reduction)
