import copy
import io
import pickle

import pytest
import torch
from torch import nn
from torch.autograd import forward_ad
from torch.nn import functional as F
from torch.nn.utils import parametrize
from torch.utils.flop_counter import FlopCounterMode

from det2lite.layers import Conv2d, FrozenBatchNorm2d, get_norm, linear, packed, wrappers
from det2lite.layers.linear import FastLinear
from det2lite.layers.packed import Kept

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


def change_parameter(conv):
    conv.weight = nn.Parameter(conv.weight + 1)


def change_in_place(conv):
    conv.weight.add_(1)


def change_bias(conv):
    conv.bias.fill_(3)


def change_all(conv):
    conv.load_state_dict({name: value + 1 for name, value in conv.state_dict().items()})


def change_behind_the_back(conv):
    conv.weight.data.add_(1)
    conv.eval()


@pytest.mark.parametrize("change", [change_parameter, change_in_place, change_bias, change_all, change_behind_the_back])
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_weights_are_packed_again_after_a_change(calls, change, mode):
    conv, x = Conv2d(16, 16, 3).eval(), image(1, 16, 6, 6)
    with mode():
        before = conv(x)
        assert torch.equal(conv(x), before)
    with torch.no_grad():
        change(conv)
    with mode():
        after = conv(x)
    assert not torch.allclose(after, before)
    torch.testing.assert_close(after, F.conv2d(x, conv.weight, conv.bias))
    assert len(calls) == 3


@torch.no_grad()
def test_weights_are_packed_once():
    made, kept, source = [], Kept(), torch.ones(2)

    def make():
        made.append(1)
        return len(made)

    assert [kept.get([source, None], "about", make) for _ in range(3)] == [1, 1, 1]
    assert kept.get([source, None], "another", make) == 2
    assert kept.get([source.clone(), None], "another", make) == 3
    kept.drop()
    assert kept.get([source, None], "another", make) == 4
    with torch.inference_mode():
        uncounted = torch.ones(2)
    assert [kept.get([uncounted], None, make) for _ in range(2)] == [5, 6]


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
