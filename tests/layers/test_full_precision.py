"""Last layers compute in float32 under autocast, and are torch's own otherwise."""

import copy

import pytest
import torch
from torch import nn

from det2lite.layers.full_precision import FullPrecisionConv2d, FullPrecisionLinear

PAIRS = [
    (FullPrecisionLinear(8, 3), nn.Linear(8, 3), (5, 8)),
    (FullPrecisionConv2d(8, 3, 1), nn.Conv2d(8, 3, 1), (2, 8, 4, 6)),
    (FullPrecisionConv2d(8, 3, 3, padding=1, stride=2), nn.Conv2d(8, 3, 3, padding=1, stride=2), (2, 8, 4, 6)),
]


@pytest.fixture(params=PAIRS, ids=["linear", "1x1", "3x3"])
def pair(request):
    ours, theirs, shape = copy.deepcopy(request.param)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs, torch.randn(shape)


def test_same_without_autocast(pair):
    ours, theirs, x = pair
    assert torch.equal(ours(x), theirs(x)) and repr(ours) == repr(theirs)
    assert torch.equal(ours.bfloat16()(x.bfloat16()), theirs.bfloat16()(x.bfloat16()))
    assert torch.equal(torch.jit.script(ours)(x.bfloat16()), ours(x.bfloat16()))


def test_shapes_alone(pair):
    ours, _, x = pair
    assert ours.to("meta")(x.to("meta")).shape == pair[1](x).shape


def test_autocast_does_not_round_it(pair):
    ours, theirs, x = pair
    x = x.bfloat16()  # what the layer before it gives
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, rounded = ours(x), theirs(x)
        assert torch.is_autocast_enabled("cpu")
    assert rounded.dtype == torch.bfloat16 and found.dtype == torch.float32
    assert torch.equal(found, theirs(x.float()))


def test_maps_of_inference_are_left_to_autocast(pair):
    ours, theirs, x = pair
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        found, rounded = ours(x), theirs(x)
    assert torch.equal(found, theirs(x.float()) if isinstance(ours, nn.Linear) else rounded)


def test_gradients_under_autocast(pair):
    ours, theirs, x = pair
    weights = torch.randn(theirs(x).shape)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = (ours(x.requires_grad_()) * weights).sum()
    loss.backward()
    of_input, x.grad = x.grad, None
    (theirs(x) * weights).sum().backward()
    assert torch.equal(of_input, x.grad) and torch.equal(ours.weight.grad, theirs.weight.grad)
