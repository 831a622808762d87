import pytest
import torch

from det2lite.layers import linear
from det2lite.layers.linear import FastLinear

HAS_OPERATOR = torch.backends.mkl.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


@pytest.fixture
def calls(monkeypatch):
    """Shapes of the products, with no size too small."""
    found, product = [], linear.multiply
    monkeypatch.setattr(linear, "PAYS_FROM", 1)
    monkeypatch.setattr(linear, "multiply", lambda x, *rest: found.append(tuple(x.shape)) or product(x, *rest))
    return found


def pair(bias=True):
    torch.manual_seed(0)
    ours, theirs = FastLinear(12, 5, bias=bias), torch.nn.Linear(12, 5, bias=bias)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


@pytest.mark.skipif(not HAS_OPERATOR, reason="torch without oneDNN's linear layers")
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rows", [7, 1, 0])
def test_values_and_gradients_are_those_of_torch(calls, bias, rows):
    ours, theirs = pair(bias)
    x = torch.randn(rows, 12, requires_grad=True)
    found, expected = [(y := layer(x), torch.autograd.grad(y.square().sum(), [x, *layer.parameters()])) for layer in
                       (ours, theirs)]  # fmt: skip
    torch.testing.assert_close(found, expected)
    assert calls == ([(rows, 12), (rows, 5), (5, rows)] if rows else [])


@pytest.mark.skipif(not HAS_OPERATOR, reason="torch without oneDNN's linear layers")
def test_frozen_parts_cost_nothing(calls):
    ours, _ = pair()
    ours.weight.requires_grad = False
    ours(torch.randn(3, 12)).sum().backward()
    assert calls == [(3, 12)] and ours.bias.grad.tolist() == [3.0] * 5


def test_elsewhere_it_is_torchs(calls):
    ours, theirs = pair()
    x = torch.randn(3, 12)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(ours(x), theirs(x)) and ours(x).dtype == torch.bfloat16
    assert torch.equal(ours(x[None]), theirs(x[None]))
    assert torch.equal(ours.double()(x.double()), theirs.double()(x.double()))
    assert not calls
    scripted = torch.jit.script(pair()[0])
    torch.testing.assert_close(scripted(x), pair()[1](x))
    assert repr(ours) == repr(theirs)


def test_small_products_are_left_alone():
    ours, theirs = pair()
    x = torch.randn(3, 12)
    assert torch.equal(ours(x), theirs(x))
