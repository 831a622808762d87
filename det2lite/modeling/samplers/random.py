"""Random sampling of a fixed number of predictions, with a bound on the share of objects."""

import torch


def subsample_labels(
    labels: torch.Tensor, num_samples: int, positive_fraction: float, bg_label: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Indices of randomly chosen objects and background, at most `num_samples` in all.

    labels: `(N,)`, -1 ignored, `bg_label` background, others objects, of which `int(num_samples *
    positive_fraction)` are taken at most; background fills up. Returns two index tensors.
    """
    positive = torch.nonzero((labels != -1) & (labels != bg_label)).squeeze(1)
    negative = torch.nonzero(labels == bg_label).squeeze(1)
    num_positive = min(positive.numel(), int(num_samples * positive_fraction))
    num_negative = min(negative.numel(), num_samples - num_positive)
    return _choose(positive, num_positive), _choose(negative, num_negative)


def _choose(indices: torch.Tensor, count: int) -> torch.Tensor:
    return indices[torch.randperm(indices.numel(), device=indices.device)[:count]]
