"""Assignment by the largest overlap, Faster R-CNN, arXiv 1506.01497."""

import math

import torch


class Matcher:
    """Matches each prediction to the ground truth it fits best, and labels it by how well it fits.

    thresholds: ascending qualities that part the range; labels: one more than thresholds, each -1 (ignore),
    0 (background) or 1 (object), for the parts from low to high. allow_low_quality_matches: every ground truth also
    claims the predictions that fit it best, whatever their quality.
    """

    def __init__(self, thresholds: list[float], labels: list[int], allow_low_quality_matches: bool = False):
        edges = list(thresholds)
        if len(labels) != len(edges) + 1:
            raise ValueError(f"{len(edges)} thresholds need {len(edges) + 1} labels, got {len(labels)}")
        if any(low > high for low, high in zip(edges[:-1], edges[1:], strict=True)) or (edges and edges[0] <= 0):
            raise ValueError(f"thresholds must be positive and ascend, got {edges}")
        if not set(labels) <= {-1, 0, 1}:
            raise ValueError(f"labels are -1, 0 or 1, got {labels}")
        self.thresholds = [-math.inf, *edges, math.inf]
        self.labels = list(labels)
        self.allow_low_quality_matches = allow_low_quality_matches

    def __call__(self, match_quality_matrix: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """match_quality_matrix: `(M, N)`, ground truths by predictions, not negative.

        Returns for each prediction the index of its ground truth `(N,)` int64 (0 where M is 0), and its label
        `(N,)` int8.
        """
        if match_quality_matrix.dim() != 2:
            raise ValueError(f"the quality matrix is (M, N), got {tuple(match_quality_matrix.shape)}")
        num_gt, num_predictions = match_quality_matrix.shape
        if num_gt == 0:
            matches = match_quality_matrix.new_zeros(num_predictions, dtype=torch.int64)
            return matches, torch.full_like(matches, self.labels[0], dtype=torch.int8)
        if not match_quality_matrix.is_cuda and not torch.all(match_quality_matrix >= 0):
            raise ValueError("the quality matrix holds negative or undefined values")
        quality, matches = match_quality_matrix.max(dim=0)
        match_labels = torch.full_like(matches, self.labels[0], dtype=torch.int8)
        for threshold, label in zip(self.thresholds[1:-1], self.labels[1:], strict=True):
            match_labels[quality >= threshold] = label
        if self.allow_low_quality_matches:
            self.set_low_quality_matches_(match_labels, match_quality_matrix)
        return matches, match_labels

    def set_low_quality_matches_(self, match_labels: torch.Tensor, match_quality_matrix: torch.Tensor) -> None:
        """Labels 1, in place, the predictions that fit some ground truth better than all others do (ties too).

        The index of their own best match stays, even where another ground truth claims them.
        """
        best_of_gt = match_quality_matrix.amax(dim=1, keepdim=True)  # (M, 1)
        match_labels.masked_fill_((match_quality_matrix == best_of_gt).any(dim=0), 1)
