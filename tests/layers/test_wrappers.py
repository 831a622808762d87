import pytest
import torch
from torch.nn import functional as F

from det2lite.layers import (
    Conv2d,
    FrozenBatchNorm2d,
    Linear,
    ShapeSpec,
    cat,
    cross_entropy,
    empty_input_loss_func_wrapper,
    fast_for_convolutions,
    get_norm,
    interpolate,
    nonzero_of_count,
    nonzero_tuple,
)
from det2lite.layers.wrappers import channels_first_in_float32


def frozen(channels):
    norm = FrozenBatchNorm2d(channels)
    for buffer in norm.buffers():
        buffer.copy_(torch.rand(channels) + 0.1)
    return norm


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("padding_mode", ["zeros", "reflect"])
def test_frozen_norm_is_folded_exactly(bias, padding_mode):
    torch.manual_seed(0)
    conv = Conv2d(
        4, 6, 3, padding=1, groups=2, bias=bias, padding_mode=padding_mode, norm=frozen(6), activation=F.relu
    )
    x = torch.rand(2, 4, 5, 7, requires_grad=True)
    want = F.relu(conv.norm(conv._conv_forward(x, conv.weight, conv.bias)))
    torch.testing.assert_close(conv(x), want)
    gradients = torch.autograd.grad(conv(x).square().sum(), [x, *conv.parameters()])
    wanted = torch.autograd.grad(want.square().sum(), [x, *conv.parameters()])
    torch.testing.assert_close(gradients, wanted, rtol=1e-4, atol=1e-4)


def test_a_frozen_norm_is_kept_apart_on_demand():
    torch.manual_seed(0)
    conv = Conv2d(4, 6, 3, padding=1, bias=False, norm=frozen(6), activation=F.relu)
    x = torch.rand(2, 4, 5, 7)
    folded = conv(x)
    conv.folds_norm = False
    with torch.no_grad():
        assert torch.equal(conv(x), F.relu(conv.norm(F.conv2d(x, conv.weight, padding=1))))
    assert torch.equal(conv(x), folded)  # where gradients are wanted it is folded all the same
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):  # and so it is in other precisions
        rounded = conv(x)
        conv.folds_norm = True
        assert torch.equal(conv(x), rounded)


def test_norm_and_activation():
    conv = Conv2d(3, 8, 1, norm=get_norm("BN", 8), activation=torch.nn.ReLU())
    x = torch.rand(2, 3, 4, 4)
    plain = F.conv2d(x, conv.weight, conv.bias)
    mean, variance = plain.mean((0, 2, 3), keepdim=True), plain.var((0, 2, 3), keepdim=True, unbiased=False)
    torch.testing.assert_close(conv(x), F.relu((plain - mean) / (variance + 1e-5).sqrt()))
    assert set(conv.state_dict()) >= {"weight", "bias", "norm.weight", "norm.running_mean"}
    assert conv(x).shape == (2, 8, 4, 4)


def test_conv_of_an_empty_batch():
    assert Conv2d(3, 8, 3, padding=1, norm=frozen(8))(torch.zeros(0, 3, 5, 5)).shape == (0, 8, 5, 5)
    with pytest.raises(AssertionError, match="empty"):
        Conv2d(3, 8, 3, norm=get_norm("SyncBN", 8))(torch.zeros(0, 3, 5, 5))


def test_conv_scripts():
    conv = Conv2d(3, 8, 3, norm=frozen(8), activation=torch.nn.ReLU())
    x = torch.rand(1, 3, 5, 5)
    torch.testing.assert_close(torch.jit.script(conv)(x), conv(x))


def test_cat():
    x = torch.rand(2, 3)
    assert cat([x]) is x and cat([x, x], dim=1).shape == (2, 6)
    with pytest.raises(AssertionError):
        cat(x)


def test_cross_entropy_of_nothing_is_zero_and_in_the_graph():
    logits = torch.zeros(0, 5, requires_grad=True)
    loss = cross_entropy(logits, torch.zeros(0, dtype=torch.long))
    loss.backward()
    assert loss == 0 and logits.grad.shape == (0, 5)
    assert cross_entropy(logits, torch.zeros(0, dtype=torch.long), reduction="none").shape == (0,)
    logits, target = torch.randn(4, 5), torch.tensor([0, 1, 4, 2])
    assert cross_entropy(logits, target) == F.cross_entropy(logits, target)
    assert cross_entropy(logits, target, reduction="sum") == F.cross_entropy(logits, target, reduction="sum")
    wrapped = empty_input_loss_func_wrapper(F.mse_loss)
    assert wrapped(torch.zeros(0), torch.zeros(0)) == 0


def test_nonzero_tuple():
    x = torch.tensor([[0, 1], [1, 0]])
    for function in (nonzero_tuple, torch.jit.script(nonzero_tuple)):
        rows, columns = function(x)
        assert rows.tolist() == [0, 1] and columns.tolist() == [1, 0]
        assert len(function(torch.zeros(0, 3))) == 2


def test_handed_on():
    assert Linear is torch.nn.Linear and interpolate is F.interpolate
    assert ShapeSpec(channels=3) == ShapeSpec(3, None, None, None)


def test_folded_weights_follow_every_change():
    norm = FrozenBatchNorm2d(2)
    conv = Conv2d(1, 2, 1, bias=False, norm=norm)
    x = torch.ones(1, 1, 1, 1)

    def expected():
        scale, shift = norm.scale_and_shift()
        return (conv.weight.flatten() * scale + shift).float().view(1, 2, 1, 1)

    def check():
        torch.testing.assert_close(conv(x), expected())  # with gradient, computed anew
        with torch.no_grad():
            torch.testing.assert_close(conv(x), expected())
            torch.testing.assert_close(conv(x), expected())  # kept

    check()
    with torch.no_grad():
        conv.weight.add_(1)
    check()
    norm.running_var.fill_(4.0)
    check()
    conv.load_state_dict({name: value + 1 for name, value in conv.state_dict().items()})
    check()
    conv.double()
    x = x.double()
    with torch.no_grad():
        assert conv(x).dtype == torch.float64
    conv.float()
    with torch.inference_mode():
        conv(x.float())
    conv.weight.requires_grad_(False)
    leaf = torch.ones(1, 1, 1, 1, requires_grad=True)
    conv(leaf).sum().backward()
    slope = (conv.weight.flatten() * norm.scale_and_shift()[0]).sum()
    torch.testing.assert_close(leaf.grad.sum().double(), slope)


def test_nonzero_of_count():
    mask = torch.tensor([True, False, True, True])
    assert nonzero_of_count(mask, 3).tolist() == [0, 2, 3]
    assert nonzero_of_count(mask[1:2], 0).shape == (0,)


def test_layout_for_convolutions():
    x = torch.arange(24.0).reshape(1, 2, 3, 4)
    fast = fast_for_convolutions(x)
    assert torch.equal(fast, x) and fast.is_contiguous(memory_format=torch.channels_last)
    assert fast_for_convolutions(torch.zeros(0, 2, 3, 4)).shape == (0, 2, 3, 4)
    scripted = torch.jit.script(fast_for_convolutions)
    assert scripted(x).is_contiguous(memory_format=torch.channels_last)


def test_layout_of_float32():
    x = torch.rand(1, 2, 3, 4).contiguous(memory_format=torch.channels_last)
    first = channels_first_in_float32(x)
    assert torch.equal(first, x) and first.is_contiguous()
    assert channels_first_in_float32(x.bfloat16()).is_contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert channels_first_in_float32(x) is x


@pytest.mark.parametrize("autocast", [True, False])
def test_channels_are_last_on_a_gpu_in_mixed_precision(monkeypatch, autocast):
    class OnGpu:
        device = torch.device("cuda")

        def contiguous(self, memory_format):
            return memory_format

    x = OnGpu()
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda device: autocast)
    assert fast_for_convolutions(x) is (torch.channels_last if autocast else x)
