import pytest
import torch
import torch.nn.functional as F

from det2lite.layers.sparse_gradient import head_with_sparse_gradient, hooked

SHAPES = [(2, 4, 7, 9), (2, 4, 4, 5), (2, 4, 1, 1)]


def make(dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)

    def noise(*shape):
        return torch.randn(shape, generator=generator, dtype=dtype).requires_grad_()

    maps = [noise(*shape) for shape in SHAPES]
    conv = noise(6, 4, 3, 3), noise(6)
    predictors = [(noise(k, 6, 1, 1), noise(k)) for k in (3, 12)]
    return maps, conv, predictors


def plain(maps, conv, predictors):
    hidden = [F.conv2d(x, *conv, padding=1).relu() for x in maps]
    return [[F.conv2d(x, *predictor) for x in hidden] for predictor in predictors]


def loss_at(outputs, share):
    """Looks at `share` of the positions, the corners of each map among them."""
    generator = torch.Generator().manual_seed(1)
    total = 0
    for maps in outputs:
        for x in maps:
            seen = torch.rand(x.shape, generator=generator) < share
            seen[0, 0, 0, 0] = seen[-1, -1, -1, -1] = True
            total = total + (x.float().sigmoid() * seen).sum()
    return total


def leaves_of(maps, conv, predictors):
    return [*maps, *conv, *(t for predictor in predictors for t in predictor)]


@pytest.mark.parametrize("share", [0, 0.05, 1.0])
def test_values_and_gradients_are_those_of_the_layers(share):
    parts = make()
    gradients, values = [], []
    for head in (plain, head_with_sparse_gradient):
        outputs = head(*parts)
        values.append([x for maps in outputs for x in maps])
        gradients.append(torch.autograd.grad(loss_at(outputs, share), leaves_of(*parts)))
    torch.testing.assert_close(values[1], values[0], rtol=0, atol=0)
    torch.testing.assert_close(gradients[1], gradients[0])
    assert all(g.abs().sum() > 0 for g in gradients[1])


def test_channels_last_maps_and_those_that_need_no_gradient():
    maps, conv, predictors = make()
    frozen = [x.detach().contiguous(memory_format=torch.channels_last) for x in maps]
    weights = [*conv, *(t for predictor in predictors for t in predictor)]
    expected = torch.autograd.grad(loss_at(plain(maps, conv, predictors), 0.05), weights)
    found = torch.autograd.grad(loss_at(head_with_sparse_gradient(frozen, conv, predictors), 0.05), weights)
    torch.testing.assert_close(found, expected)


def test_the_dense_work_is_spared():
    from torch.utils.flop_counter import FlopCounterMode

    x, weight = torch.randn(1, 8, 40, 40, requires_grad=True), torch.randn(8, 8, 3, 3, requires_grad=True)
    outputs = head_with_sparse_gradient([x], (weight, torch.zeros(8)), [(torch.randn(1, 8, 1, 1), torch.zeros(1))])
    with FlopCounterMode(display=False) as counter:
        outputs[0][0][0, 0, 5, 6].backward()
    assert counter.get_total_flops() < 10 * 2 * 9 * 8 * 8  # one position, where the map has 1600
    assert x.grad.nonzero().amin(0).tolist()[2:] == [4, 5] and x.grad.nonzero().amax(0).tolist()[2:] == [6, 7]


def test_mixed_precision():
    maps, conv, predictors = make(torch.float32)
    parts = leaves_of(maps, conv, predictors)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = head_with_sparse_gradient(maps, conv, predictors)
        hidden = [F.conv2d(x, *conv, padding=1).relu() for x in maps]  # in bfloat16, unlike the predictors
    expected = [[F.conv2d(x.float(), *predictor) for x in hidden] for predictor in predictors]
    torch.testing.assert_close(outputs, tuple(expected))
    found = torch.autograd.grad(loss_at(outputs, 0.05), parts)
    for ours, theirs in zip(found, torch.autograd.grad(loss_at(expected, 0.05), parts), strict=True):
        assert ours.dtype == torch.float32
        torch.testing.assert_close(ours, theirs, rtol=0.05, atol=0.05 * theirs.abs().max().item())


def test_hooks_are_seen():
    layer = torch.nn.Conv2d(1, 1, 1)
    assert not hooked(layer)
    handle = layer.register_forward_hook(lambda *_: None)
    assert hooked(layer)
    handle.remove()
    assert not hooked(layer)
