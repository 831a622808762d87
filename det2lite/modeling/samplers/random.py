"""Random sampling of a fixed number of predictions, with a bound on the share of objects."""

import torch

from det2lite.layers import nonzero_of_count


def subsample_labels(
    labels: torch.Tensor, num_samples: int, positive_fraction: float, bg_label: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Indices of randomly chosen objects and background, at most `num_samples` in all.

    labels: `(N,)`, -1 ignored, `bg_label` background, others objects, of which `int(num_samples *
    positive_fraction)` are taken at most; background fills up. Returns two index tensors.
    """
    is_negative = labels == bg_label
    is_positive = (labels != -1) & ~is_negative
    # both numbers at once: the host waits for the device only here
    sizes = torch.stack([is_positive.sum(), is_negative.sum()]).tolist()
    positive, negative = (
        nonzero_of_count(mask, size)
        for mask, size in zip((is_positive, is_negative), sizes, strict=True)
    )
    num_positive = min(positive.numel(), int(num_samples * positive_fraction))
    num_negative = min(negative.numel(), num_samples - num_positive)
    return _choose(positive, num_positive), _choose(negative, num_negative)


def _choose(indices: torch.Tensor, count: int) -> torch.Tensor:
    return indices[torch.randperm(indices.numel(), device=indices.device)[:count]]
