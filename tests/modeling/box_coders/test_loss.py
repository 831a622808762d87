import pytest
import torch

from det2lite.modeling.box_coders.loss import box_regression_loss
from det2lite.modeling.box_regression import Box2BoxTransform, _dense_box_regression_loss
from det2lite.structures import Boxes
from det2lite.utils.errors import BadValue

CODER = Box2BoxTransform(weights=(1, 1, 1, 1))
ANCHORS = torch.tensor([[0.0, 0, 10, 10], [0, 0, 20, 20]])
GT = torch.tensor([[0.0, 0, 10, 5], [10, 0, 30, 20]])


@pytest.mark.parametrize(
    ("kind", "beta", "expected"),
    [
        # targets are (0, -1/4, 0, -log 2) and (1/2, 0, 0, 0)
        ("smooth_l1", 0.0, 0.25 + 0.693147 + 0.5),
        ("smooth_l1", 1.0, 0.5 * (0.25**2 + 0.693147**2 + 0.5**2)),
        # IoUs are 1/2 and 1/3, the second pair leaves nothing of its hull of 600 unfilled
        ("giou", 0.0, 1 / 2 + 2 / 3),
        # centres are 2.5 and 10 apart, diagonals 10 sqrt(2) and sqrt(1300)
        ("diou", 0.0, 1 / 2 + 2.5**2 / 200 + 2 / 3 + 100 / 1300),
    ],
)
def test_losses_of_zero_deltas_by_hand(kind, beta, expected):
    loss = box_regression_loss(torch.zeros(2, 4), ANCHORS, GT, CODER, kind, beta)
    assert loss.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("kind", ["smooth_l1", "giou", "diou", "ciou"])
def test_perfect_and_empty(kind):
    deltas = CODER.get_deltas(ANCHORS, GT)
    assert box_regression_loss(deltas, ANCHORS, GT, CODER, kind).item() == pytest.approx(0, abs=1e-5)
    nothing = torch.zeros(0, 4, requires_grad=True)
    loss = box_regression_loss(nothing, ANCHORS[:0], GT[:0], CODER, kind)
    assert loss.item() == 0
    loss.backward()
    assert nothing.grad.shape == (0, 4)


def test_unknown_loss():
    with pytest.raises(BadValue, match="'iou' is not one of smooth_l1, giou, diou, ciou"):
        box_regression_loss(torch.zeros(2, 4), ANCHORS, GT, CODER, "iou")


@pytest.mark.parametrize("wrap", [Boxes, torch.Tensor.clone])
def test_dense_loss_counts_the_masked_anchors_of_each_image(wrap):
    anchors = [wrap(ANCHORS[:1]), wrap(ANCHORS[1:])]
    deltas = [torch.zeros(2, 1, 4), torch.zeros(2, 1, 4)]
    mask = torch.tensor([[True, False], [False, True]])
    again = _dense_box_regression_loss(anchors, CODER, deltas, [GT, GT], mask, "smooth_l1", 0.0)
    loss = _dense_box_regression_loss(anchors, CODER, deltas, [GT, GT], mask)
    assert again == loss
    assert loss.item() == pytest.approx(0.25 + 0.693147 + 0.5, rel=1e-5)
