"""How a loss per element becomes one number."""

import torch

__all__ = ["reduce_loss"]


def reduce_loss(loss: torch.Tensor, reduction: str) -> torch.Tensor:
    """"none", "sum" or "mean" of a loss; the mean of nothing is 0, and still part of the graph."""
    if reduction == "mean":
        return loss.mean() if loss.numel() > 0 else 0.0 * loss.sum()
    if reduction == "sum":
        return loss.sum()
    assert reduction == "none", f"reduction is 'none', 'mean' or 'sum', not {reduction!r}"
    return loss
