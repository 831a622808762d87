"""Assignment by the largest overlap, Faster R-CNN, arXiv 1506.01497."""

from typing import List, Tuple  # noqa: UP035 - TorchScript reads the annotations of Matcher

import torch

from det2lite.utils.errors import BadCall, BadValue


class Matcher:
    """Matches each prediction to the ground truth it fits best, and labels it by how well it fits.

    thresholds: ascending qualities that part the range; labels: one more than thresholds, each -1 (ignore),
    0 (background) or 1 (object), for the parts from low to high. allow_low_quality_matches: every ground truth also
    claims the predictions that fit it best, whatever their quality.
    """

    def __init__(
        self,
        thresholds: List[float],  # noqa: UP006
        labels: List[int],  # noqa: UP006
        allow_low_quality_matches: bool = False,
    ):
        if not torch.jit.is_scripting():
            _check_parts(thresholds, labels)
        self.thresholds = [float("-inf")] + list(thresholds) + [float("inf")]  # noqa: RUF005 - TorchScript
        self.labels = list(labels)
        self.allow_low_quality_matches = allow_low_quality_matches

    def __call__(self, match_quality_matrix: torch.Tensor) -> Tuple[torch.Tensor, torch.Tensor]:  # noqa: UP006
        """match_quality_matrix: `(M, N)`, ground truths by predictions, not negative.

        Returns for each prediction the index of its ground truth `(N,)` int64 (0 where M is 0), and its label
        `(N,)` int8.
        """
        if match_quality_matrix.dim() != 2:
            raise BadCall(f"the quality matrix is (M, N), got {match_quality_matrix.shape}")
        if match_quality_matrix.numel() == 0:
            num_predictions = match_quality_matrix.shape[1]
            matches = torch.zeros(num_predictions, dtype=torch.int64, device=match_quality_matrix.device)
            return matches, torch.full_like(matches, self.labels[0], dtype=torch.int8)
        if not match_quality_matrix.is_cuda and not torch.all(match_quality_matrix >= 0):
            raise BadCall("the quality matrix holds negative or undefined values")
        quality, matches = match_quality_matrix.max(dim=0)
        match_labels = torch.full_like(matches, self.labels[0], dtype=torch.int8)
        for i in range(1, len(self.labels)):
            match_labels.masked_fill_(quality >= self.thresholds[i], self.labels[i])
        if self.allow_low_quality_matches:
            self.set_low_quality_matches_(match_labels, match_quality_matrix)
        return matches, match_labels

    def set_low_quality_matches_(self, match_labels: torch.Tensor, match_quality_matrix: torch.Tensor) -> None:
        """Labels 1, in place, the predictions that fit some ground truth better than all others do (ties too).

        The index of their own best match stays, even where another ground truth claims them.
        """
        best_of_gt = match_quality_matrix.amax(dim=1, keepdim=True)  # (M, 1)
        match_labels.masked_fill_((match_quality_matrix == best_of_gt).any(dim=0), 1)


def _check_parts(thresholds: list[float], labels: list[int]) -> None:
    if len(labels) != len(thresholds) + 1:
        raise BadValue(f"{len(thresholds)} IoU thresholds need {len(thresholds) + 1} labels, got {list(labels)}")
    if any(low > high for low, high in zip([0, *thresholds], thresholds, strict=False)) or 0 in thresholds:
        raise BadValue(f"IoU thresholds must be positive and ascend, got {list(thresholds)}")
    if not set(labels) <= {-1, 0, 1}:
        raise BadValue(f"IoU labels are -1 (ignore), 0 (background) or 1 (object), got {list(labels)}")
