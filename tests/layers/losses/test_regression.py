import fvcore.nn
import pytest
import torch

from det2lite.layers.losses import l1_loss, smooth_l1_loss

DISTANCES = torch.tensor([-2.0, -0.5, 0.0, 0.1, 1.0])


def test_by_hand():
    loss = smooth_l1_loss(DISTANCES, torch.zeros(5), beta=1.0)
    torch.testing.assert_close(loss, torch.tensor([1.5, 0.125, 0.0, 0.005, 0.5]))
    torch.testing.assert_close(l1_loss(DISTANCES, torch.ones(5)), torch.tensor([3, 1.5, 1, 0.9, 0]))


def test_beta_of_zero_is_l1_with_finite_gradients():
    x = DISTANCES.clone().requires_grad_()
    loss = smooth_l1_loss(x, torch.zeros(5), beta=0.0, reduction="sum")
    loss.backward()
    assert loss.item() == pytest.approx(3.6) and x.grad.tolist() == [-1, -1, 0, 1, 1]


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("beta", [0.0, 1e-6, 0.1111, 2.0])
def test_equals_fvcore(beta, reduction):
    torch.manual_seed(0)
    x, target = torch.randn(40, 4), torch.randn(40, 4)
    torch.testing.assert_close(
        smooth_l1_loss(x, target, beta, reduction), fvcore.nn.smooth_l1_loss(x, target, beta, reduction)
    )


@pytest.mark.parametrize("beta", [0.0, 1.0])
def test_nothing(beta):
    x = torch.zeros(0, 4, requires_grad=True)
    loss = smooth_l1_loss(x, torch.zeros(0, 4), beta, reduction="mean")
    loss.backward()
    assert loss == 0 and x.grad.shape == (0, 4)
