from typing import List  # noqa: UP035 - TorchScript

import pytest
import torch

from det2lite.layers import nonzero_tuple  # noqa: F401 - TorchScript looks it up here
from det2lite.modeling.matcher import Matcher
from det2lite.utils.errors import BadValue

QUALITY = torch.tensor(
    [
        [0.9, 0.1, 0.5, 0.0, 0.3],
        [0.2, 0.6, 0.4, 0.0, 0.3],
        [0.0, 0.2, 0.1, 0.0, 0.2],
    ]
)


def test_labels_by_hand():
    matches, labels = Matcher([0.3, 0.6], [0, -1, 1])(QUALITY)
    assert matches.tolist()[:3] == [0, 1, 0]
    assert labels.tolist() == [1, 1, -1, 0, -1]  # a threshold belongs to the part above it
    assert (matches.dtype, labels.dtype) == (torch.int64, torch.int8)


def test_each_ground_truth_claims_its_best_predictions_with_ties():
    matches, labels = Matcher([0.3, 0.7], [0, -1, 1], allow_low_quality_matches=True)(QUALITY)
    # the third ground truth is best fitted, equally, by predictions 1 and 4, which keep their own best match
    assert labels.tolist() == [1, 1, -1, 0, 1]
    assert matches[1] == 1
    assert matches[4] in (0, 1)


def test_a_ground_truth_that_nothing_overlaps_claims_all():
    _, labels = Matcher([0.5], [0, 1], allow_low_quality_matches=True)(torch.zeros(1, 3))
    assert labels.tolist() == [1, 1, 1]


def test_without_ground_truth_all_is_of_the_lowest_part():
    matches, labels = Matcher([0.3, 0.7], [0, -1, 1], allow_low_quality_matches=True)(torch.zeros(0, 4))
    assert (matches.tolist(), labels.tolist()) == ([0] * 4, [0] * 4)
    assert Matcher([0.3], [-1, 1])(torch.zeros(0, 2))[1].tolist() == [-1, -1]


@pytest.mark.parametrize("count", [0, 3])
def test_without_predictions(count):
    matches, labels = Matcher([0.5], [0, 1], allow_low_quality_matches=True)(torch.zeros(count, 0))
    assert (matches.shape, labels.shape) == ((0,), (0,))
    assert (matches.dtype, labels.dtype) == (torch.int64, torch.int8)


def test_wrong_uses():
    with pytest.raises(BadValue, match="1 IoU thresholds need 2 labels"):
        Matcher([0.5], [0, 1, 1])
    with pytest.raises(BadValue, match="ascend"):
        Matcher([0.7, 0.3], [0, -1, 1])
    with pytest.raises(BadValue, match="positive"):
        Matcher([0.0], [0, 1])
    with pytest.raises(BadValue, match="got \\[0, 2\\]"):
        Matcher([0.5], [0, 2])
    with pytest.raises(ValueError, match="negative"):
        Matcher([0.5], [0, 1])(torch.tensor([[-0.1]]))
    with pytest.raises(ValueError, match=r"\(M, N\)"):
        Matcher([0.5], [0, 1])(torch.zeros(3))


def test_arguments_are_not_changed():
    thresholds, labels = [0.3, 0.7], [0, -1, 1]
    Matcher(thresholds, labels)
    assert (thresholds, labels) == ([0.3, 0.7], [0, -1, 1])


def test_torchscript_gives_the_same():
    def build(thresholds: List[float], labels: List[int]):  # noqa: UP006
        return Matcher(thresholds, labels, allow_low_quality_matches=True)

    scripted = torch.jit.script(build)([0.3, 0.7], [0, -1, 1])
    ours = Matcher([0.3, 0.7], [0, -1, 1], allow_low_quality_matches=True)
    for quality in (QUALITY, QUALITY[:0], QUALITY[:, :0]):
        assert all(torch.equal(a, b) for a, b in zip(scripted(quality), ours(quality), strict=True))
