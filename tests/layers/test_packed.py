import copy
import io
import pickle

import pytest
import torch
from torch import nn
from torch.autograd import forward_ad
from torch.nn import functional as F
from torch.nn.utils import parametrize
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from det2lite.layers import Conv2d, FrozenBatchNorm2d, get_norm, linear, packed, wrappers
from det2lite.layers.linear import FastLinear
from det2lite.solver.sgd import SGD

pytestmark = pytest.mark.skipif(not packed.has_operators(), reason="torch without oneDNN's operators")


@pytest.fixture
def calls(monkeypatch):
    """A list that grows by one where a layer computes with packed weights."""
    found = []

    def spy(function):
        return lambda *args, **kwargs: found.append(1) or function(*args, **kwargs)

    monkeypatch.setattr(wrappers, "convolve", spy(wrappers.convolve))
    monkeypatch.setattr(linear, "multiply", spy(linear.multiply))
    monkeypatch.setattr(linear, "PAYS_FROM", 1)
    return found


def image(*shape):
    return torch.randn(*shape).contiguous(memory_format=torch.channels_last)


def frozen(channels):
    norm = FrozenBatchNorm2d(channels)
    for buffer in norm.buffers():
        buffer.copy_(torch.rand(channels) + 0.1)
    return norm


def unpacked(layer, x):
    """What the layer computes where gradients are wanted."""
    with torch.enable_grad():
        return layer(x).detach()


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("norm", ["", "frozen", "BN", "GN"])
@pytest.mark.parametrize(
    "settings",
    [
        {"kernel_size": 1, "bias": False},
        {"kernel_size": 3, "padding": 1, "activation": nn.ReLU()},
        {"kernel_size": 3, "padding": 2, "dilation": 2, "groups": 4, "activation": F.relu_},
        {"kernel_size": (1, 7), "padding": (0, 3), "stride": 2, "activation": F.gelu},
    ],
)
@torch.no_grad()
def test_convolutions_are_those_of_torch(calls, autocast, norm, settings):
    torch.manual_seed(0)
    conv = Conv2d(32, 32, **settings, norm=frozen(32) if norm == "frozen" else get_norm(norm, 32)).eval()
    for shape in ((2, 32, 12, 16), (1, 32, 20, 9), (3, 32, 7, 7)):  # of the first, the weights are packed
        x = image(*shape)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            got, want = conv(x), unpacked(conv, x)
        assert got.is_contiguous(memory_format=torch.channels_last)
        assert got.dtype == want.dtype
        torch.testing.assert_close(got, want, **({"rtol": 0.02, "atol": 0.02} if autocast else {}))
    assert len(calls) == 3


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("bias", [True, False])
@torch.no_grad()
def test_linear_layers_are_those_of_torch(calls, autocast, bias):
    torch.manual_seed(0)
    layer = FastLinear(48, 20, bias=bias)
    for rows in (64, 5, 1):
        x = torch.randn(rows, 48)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            torch.testing.assert_close(layer(x), F.linear(x, layer.weight, layer.bias))
    assert len(calls) == 3


@pytest.mark.parametrize("autocast", [False, True])
@torch.no_grad()
def test_values_that_are_not_finite_stay_that(calls, autocast):
    model = nn.Sequential(Conv2d(16, 16, 3, activation=nn.ReLU()), nn.Flatten(), FastLinear(256, 4))
    for value in (torch.nan, torch.inf):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            assert not model(torch.full_like(image(1, 16, 6, 6), value)).isfinite().any()
    assert len(calls) == 4


def new_parameter(conv):
    conv.weight = nn.Parameter(conv.weight + 1)


def new_data(conv):
    for _ in range(2):  # the second comes to lie where the first was
        conv.weight.data = conv.weight.data * 1.1


def new_state(conv):
    conv.load_state_dict({name: value + 1 for name, value in conv.state_dict().items()})


def not_counted(conv):
    conv.weight.detach().numpy()[:] += 1


def a_single_element(conv):
    conv.weight.data[0, 0, 0, 1] += 1
    conv.eval()


def a_step(conv):
    conv.weight.grad = torch.ones_like(conv.weight)
    SGD([conv.weight], lr=0.1).step()


def another_stride(conv):
    conv.stride, conv.padding, conv.dilation = 2, 1, 1


CHANGES = [
    *(new_parameter, new_data, new_state, not_counted, a_single_element, a_step, another_stride),
    lambda conv: conv.weight.add_(1),
    lambda conv: conv.bias.fill_(3),
]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_weights_are_packed_again_after_a_change(calls, change, mode, memory_format):
    conv, x = Conv2d(32, 32, 3).to(memory_format=memory_format), image(1, 32, 6, 6)
    with mode():
        before = conv(x)
        assert torch.equal(conv(x), before)
    for _ in range(3):
        with torch.no_grad():
            change(conv)
        with mode():
            after = conv(x)
        want = F.conv2d(x, conv.weight, conv.bias, conv.stride, conv.padding)
        torch.testing.assert_close(after, want, rtol=1e-4, atol=1e-4)
    assert after.shape != before.shape or not torch.allclose(after, before)
    assert len(calls) == 5


@pytest.mark.parametrize("norm", [None, "frozen"])
def test_what_is_recomputed_in_training_has_the_weights_of_its_step(calls, norm):
    torch.manual_seed(0)
    model = nn.Sequential(Conv2d(16, 16, 3, norm=norm and frozen(16)), nn.Flatten(), FastLinear(256, 4))
    other, x = copy.deepcopy(model), image(2, 16, 6, 6).requires_grad_()
    losses = {}
    for part, reentrant in ((model, True), (other, False)):
        optimizer = SGD(part.parameters(), lr=0.1)
        for _ in range(4):
            loss = checkpoint(part, x, use_reentrant=reentrant).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.setdefault(reentrant, []).append(loss.item())
    assert calls  # the reentrant kind computes first without gradients
    assert losses[True] == pytest.approx(losses[False], rel=1e-4)


def kept(layer):
    return packed._KEPT.get(layer)


@torch.no_grad()
def test_packed_once_and_freed(calls):
    conv, x = Conv2d(16, 16, 3, norm=frozen(16)), image(1, 16, 6, 6)
    conv(x)
    made = kept(conv).made
    conv(x)
    assert kept(conv).made is made
    with torch.autocast("cpu", dtype=torch.bfloat16):
        conv(x)
    assert kept(conv).made is not made
    conv.norm.eps = 1.0
    torch.testing.assert_close(conv(x), conv.norm(F.conv2d(x, conv.weight, conv.bias)))
    for free in (conv.train, conv.double, conv.float, lambda: unpacked(conv, x)):
        conv.float()(x)
        free()
        assert kept(conv) is None


class Scaled(nn.Module):
    def forward(self, weight):
        return 2 * weight


@torch.no_grad()
def test_torchs_own_operator_elsewhere(calls):
    conv, x = Conv2d(16, 16, 3, padding=1), image(1, 16, 6, 6)
    want = F.conv2d(x, conv.weight, conv.bias, padding=1)

    def check(layer, x, factor=1):
        torch.testing.assert_close(layer(x).float(), factor * want + (1 - factor) * conv.bias.view(-1, 1, 1))

    with torch.enable_grad():
        check(conv, x)
    check(conv, x.contiguous())  # channels first
    check(torch.jit.trace(conv, x, check_trace=False), x)
    with FlopCounterMode(display=False) as counter:
        check(conv, x)
    assert counter.get_total_flops() == 2 * 36 * 16 * 16 * 9
    assert conv(x[:0]).shape == (0, 16, 6, 6)
    assert Conv2d(16, 4, 3, padding=1, padding_mode="reflect")(x).shape == (1, 4, 6, 6)
    assert Conv2d(16, 4, 3, padding="same")(x).shape == (1, 4, 6, 6)
    check(lambda x: torch.vmap(conv)(x[None])[0], x)
    with forward_ad.dual_level():
        dual = conv(forward_ad.make_dual(x, torch.ones_like(x)))
        assert forward_ad.unpack_dual(dual).tangent is not None
    with torch.backends.mkldnn.flags(enabled=False):
        check(conv, x)
    with torch.autocast("cpu", dtype=torch.float16):
        assert conv(x).dtype == torch.float16
    check(copy.deepcopy(conv).double(), x.double())
    scaled = copy.deepcopy(conv)
    parametrize.register_parametrization(scaled, "weight", Scaled())
    check(scaled, x, factor=2)
    assert not calls


@torch.no_grad()
def test_copies_and_files_go_without_packed_weights(calls):
    model, x = nn.Sequential(Conv2d(16, 8, 3), nn.Flatten(), FastLinear(128, 4)), image(1, 16, 6, 6)
    want = model(x)
    assert len(calls) == 2
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    for other in (
        copy.deepcopy(model),
        pickle.loads(pickle.dumps(model)),
        torch.load(buffer, weights_only=False),
        torch.jit.script(model),
    ):
        torch.testing.assert_close(other(x), want)
    assert set(model.state_dict()) == {"0.weight", "0.bias", "2.weight", "2.bias"}
