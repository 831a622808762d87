import math

import pytest
import torch
from torch.nn import functional as F

from det2lite.layers.losses import (
    federated_classes,
    federated_sigmoid_loss,
    focal_loss_of_labels,
    sigmoid_focal_loss,
)


def test_focal_by_hand():
    logits = torch.tensor([0.0, 0.0, math.log(3)])  # probabilities 1/2, 1/2, 3/4
    target = torch.tensor([1.0, 0.0, 1.0])
    loss = sigmoid_focal_loss(logits, target, alpha=0.25, gamma=2)
    want = [0.25 * 0.25 * math.log(2), 0.75 * 0.25 * math.log(2), 0.25 / 16 * math.log(4 / 3)]
    torch.testing.assert_close(loss, torch.tensor(want))
    assert sigmoid_focal_loss(torch.zeros(0, 3), torch.zeros(0, 3), reduction="sum") == 0


def test_federated_classes():
    torch.manual_seed(0)
    weight = torch.tensor([1.0, 0, 1, 1, 1])
    for _ in range(20):
        classes = federated_classes(torch.tensor([2, 5, 2]), 4, 5, weight).tolist()
        assert set(classes[:2]) == {2, 5} and len(set(classes)) == 4 and 1 not in classes
    assert federated_classes(torch.tensor([0, 1, 2, 3]), 2, 5, weight).tolist() == [0, 1, 2, 3]
    assert sorted(federated_classes(torch.tensor([0]), 50, 5, weight).tolist()) == [0, 2, 3, 4]
    assert len(federated_classes(torch.zeros(0, dtype=torch.long), 3, 5, weight)) == 3


def test_federated_loss():
    logits, gt = torch.randn(3, 4), torch.tensor([0, 3, 4])  # 4 is the background
    target = torch.tensor([[1.0, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0]])
    each = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    torch.testing.assert_close(federated_sigmoid_loss(logits, gt), each.sum() / 3)
    some = federated_sigmoid_loss(logits, gt, torch.tensor([0, 3, 4]))
    torch.testing.assert_close(some, each[:, [0, 3]].sum() / 3)
    none = torch.zeros(0, 4, requires_grad=True)
    federated_sigmoid_loss(none, torch.zeros(0, dtype=torch.long)).backward()
    assert none.grad.shape == (0, 4)


@pytest.mark.parametrize("alpha", [0.25, -1])
@pytest.mark.parametrize("gamma", [2.0, 1.5])
def test_focal_of_labels(alpha, gamma):
    logits = torch.randn(2, 5, 4, requires_grad=True)
    labels = torch.tensor([[0, 3, 4, -1, 2], [4, 4, -1, 1, 0]])
    total = focal_loss_of_labels(logits, labels, alpha, gamma)
    (gradient,) = torch.autograd.grad(total, logits)
    target = F.one_hot(labels.clamp(min=0), 5)[..., :4].float()[labels >= 0]
    want = sigmoid_focal_loss(logits[labels >= 0], target, alpha=alpha, gamma=gamma, reduction="sum")
    (want_gradient,) = torch.autograd.grad(want, logits)
    torch.testing.assert_close(total, want)
    torch.testing.assert_close(gradient, want_gradient)


def test_focal_of_labels_without_any():
    logits = torch.zeros(2, 0, 4, requires_grad=True)
    total = focal_loss_of_labels(logits, torch.zeros(2, 0, dtype=torch.long), 0.25, 2.0)
    total.backward()
    assert total == 0 and logits.grad.shape == (2, 0, 4)
    ignored = focal_loss_of_labels(torch.full((3, 2), 50.0), torch.full((3,), -1), 0.25, 2.0)
    assert ignored == 0
