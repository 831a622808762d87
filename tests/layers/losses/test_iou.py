import pytest
import torch
from torchvision import ops

from det2lite.layers import ciou_loss, diou_loss
from det2lite.layers.losses import giou_loss, iou_loss

ALL = [iou_loss, giou_loss, diou_loss, ciou_loss]
UNIT, HALF, FAR = [0.0, 0, 1, 1], [0.0, 0, 0.5, 1], [3.0, 0, 4, 1]


def random_pair():
    torch.manual_seed(0)
    target = torch.rand(100, 2) * 50
    target = torch.cat([target, target + 1 + torch.rand(100, 2) * 30], dim=1)
    box = torch.cat([target[:, :2] + torch.rand(100, 2), target[:, 2:] + torch.rand(100, 2) * 9], dim=1)
    return box[torch.randint(0, 100, (100,))].requires_grad_(), target


@pytest.mark.parametrize("loss", ALL)
def test_a_hit_costs_nothing(loss):
    torch.testing.assert_close(loss(torch.tensor(UNIT), torch.tensor(UNIT)), torch.tensor(0.0), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("loss", "other", "want"),
    [
        (iou_loss, HALF, 0.5),
        (iou_loss, FAR, 1.0),
        (giou_loss, HALF, 0.5),
        (giou_loss, FAR, 1 + 2 / 4),
        (diou_loss, HALF, 0.5 + 0.25**2 / 2),
        (diou_loss, FAR, 1 + 9 / 17),
        (ciou_loss, FAR, 1 + 9 / 17),
    ],
)
def test_by_hand(loss, other, want):
    torch.testing.assert_close(loss(torch.tensor([UNIT]), torch.tensor([other])), torch.tensor([want]))


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (giou_loss, ops.generalized_box_iou_loss),
        (diou_loss, ops.distance_box_iou_loss),
        (ciou_loss, ops.complete_box_iou_loss),
    ],
)
def test_values_and_gradients_equal_torchvision(ours, theirs):
    boxes, target = random_pair()
    torch.testing.assert_close(ours(boxes, target), theirs(boxes, target))
    gradients = [torch.autograd.grad(loss(boxes, target, reduction="sum"), boxes)[0] for loss in (ours, theirs)]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("loss", ALL)
def test_reductions_and_nothing(loss):
    boxes, target = random_pair()
    each = loss(boxes, target)
    assert each.shape == (100,)
    torch.testing.assert_close(loss(boxes, target, reduction="mean"), each.mean())
    torch.testing.assert_close(loss(boxes, target, reduction="sum"), each.sum())
    none = torch.zeros(0, 4, requires_grad=True)
    for reduction in ("mean", "sum"):
        assert loss(none, torch.zeros(0, 4), reduction=reduction) == 0
    loss(none, torch.zeros(0, 4), reduction="mean").backward()
    with pytest.raises(AssertionError, match="reduction"):
        loss(boxes, target, reduction="average")


@pytest.mark.parametrize("loss", ALL)
def test_half_precision_does_not_overflow(loss):
    box = torch.tensor([[0, 0, 1000, 1000.0]], dtype=torch.half)
    assert loss(box, box).abs().max() < 1e-3
