import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from det2lite.layers import CycleBatchNormList, FrozenBatchNorm2d, NaiveSyncBatchNorm, batch_norm, get_norm
from det2lite.layers.batch_norm import LayerNorm


def trained_norm(channels=4):
    norm = nn.BatchNorm2d(channels)
    for value in (norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var):
        value.copy_(torch.rand(channels) + 0.2)
    return norm.eval()


class TestFrozen:
    def test_as_created_changes_nothing(self):
        x = torch.rand(2, 3, 4, 4)
        torch.testing.assert_close(FrozenBatchNorm2d(3)(x), x)

    @pytest.mark.parametrize("requires_grad", [True, False])
    def test_equals_batch_norm_in_evaluation(self, requires_grad):
        norm = trained_norm()
        frozen = FrozenBatchNorm2d.convert_frozen_batchnorm(norm)
        x = torch.rand(2, 4, 3, 3, requires_grad=requires_grad)
        assert not list(frozen.parameters()) and type(frozen) is FrozenBatchNorm2d
        torch.testing.assert_close(frozen(x).detach(), norm(x).detach())
        assert frozen(x).requires_grad == requires_grad
        assert frozen(x.double().half().detach().requires_grad_(requires_grad)).dtype == torch.half
        assert frozen(x[:0]).shape == (0, 4, 3, 3)
        scale, shift = frozen.scale_and_shift()
        torch.testing.assert_close((x * scale[:, None, None] + shift[:, None, None]).float(), norm(x))

    def test_state_dict_is_exchangeable(self):
        norm, frozen = trained_norm(), FrozenBatchNorm2d(4)
        assert set(frozen.state_dict()) == {"weight", "bias", "running_mean", "running_var"}
        frozen.load_state_dict(norm.state_dict())
        x = torch.rand(1, 4, 2, 2)
        torch.testing.assert_close(frozen(x), norm(x))

    def test_old_versions(self):
        frozen = FrozenBatchNorm2d(2)
        frozen.load_state_dict({"weight": torch.tensor([2.0, 3]), "bias": torch.tensor([1.0, 0])})
        x = torch.ones(1, 2, 1, 1)
        torch.testing.assert_close(frozen(x).flatten(), torch.tensor([3.0, 3]))
        state = FrozenBatchNorm2d(2).state_dict()
        state["running_var"] = torch.full((2,), 4.0) + 1e-5
        state._metadata[""]["version"] = 2  # eps was part of the variance
        frozen.load_state_dict(state)
        torch.testing.assert_close(frozen.running_var, torch.full((2,), 4.0))

    def test_conversion_within_a_module(self):
        model = nn.Sequential(nn.Conv2d(3, 4, 1), trained_norm(), nn.Sequential(nn.SyncBatchNorm(4)))
        frozen = FrozenBatchNorm2d.convert_frozen_batchnorm(model)
        assert frozen is model and type(model[1]) is type(model[2][0]) is FrozenBatchNorm2d
        back = FrozenBatchNorm2d.convert_frozenbatchnorm2d_to_batchnorm2d(model)
        assert type(back[1]) is nn.BatchNorm2d and back[1].weight.requires_grad
        weights = model[1].weight.detach().clone()
        again = FrozenBatchNorm2d.convert_frozen_batchnorm(back)
        torch.testing.assert_close(again[1].weight, weights)

    def test_conversion_without_affine(self):
        frozen = FrozenBatchNorm2d.convert_frozen_batchnorm(nn.BatchNorm2d(3, affine=False))
        assert frozen.weight.tolist() == [1, 1, 1]
        assert repr(frozen) == "FrozenBatchNorm2d(num_features=3, eps=1e-05)"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("BN", nn.BatchNorm2d),
        ("SyncBN", nn.SyncBatchNorm),
        ("FrozenBN", FrozenBatchNorm2d),
        ("GN", nn.GroupNorm),
        ("nnSyncBN", nn.SyncBatchNorm),
        ("naiveSyncBN", NaiveSyncBatchNorm),
        ("naiveSyncBN_N", NaiveSyncBatchNorm),
        ("LN", LayerNorm),
    ],
)
def test_get_norm(name, kind):
    norm = get_norm(name, 64)
    assert type(norm) is kind
    assert norm(torch.rand(2, 64, 3, 3)).shape == (2, 64, 3, 3)


def test_get_norm_other():
    assert get_norm("", 64) is None and get_norm(None, 64) is None
    assert get_norm("GN", 64).num_groups == 32
    assert type(get_norm(nn.InstanceNorm2d, 4)) is nn.InstanceNorm2d
    with pytest.raises(KeyError, match="'bn'.*did you mean 'BN'"):
        get_norm("bn", 4)


def test_layer_norm_is_over_channels():
    norm, x = LayerNorm(3), torch.rand(2, 3, 4, 5)
    want = nn.functional.layer_norm(x.permute(0, 2, 3, 1), (3,), eps=1e-6).permute(0, 3, 1, 2)
    torch.testing.assert_close(norm(x), want)


def test_cycle():
    norms = CycleBatchNormList(2, nn.BatchNorm2d, num_features=3)
    first, second = torch.rand(4, 3, 5, 5), torch.rand(4, 3, 5, 5) + 5
    for x in (first, second, first, second):
        assert norms(x).shape == x.shape
    assert norms[0].running_mean.max() < 0.3 and norms[1].running_mean.min() > 0.9
    assert [name for name, _ in norms.named_parameters()] == ["weight", "bias"]
    assert norms.extra_repr() == "affine=True"
    assert not list(CycleBatchNormList(2, num_features=3, affine=False).parameters())


def run_as_ranks(monkeypatch, batches, mode):
    """One thread stands for each process; the sum over the ranks stays in one autograd graph."""
    slots, barrier = [None] * len(batches), threading.Barrier(len(batches))
    rank = threading.local()

    def all_reduce(x):
        slots[rank.index] = x
        barrier.wait(timeout=10)
        return sum(slots)

    monkeypatch.setattr(batch_norm, "differentiable_all_reduce", all_reduce)
    monkeypatch.setattr(batch_norm.dist, "is_initialized", lambda: True)
    monkeypatch.setattr(batch_norm.dist, "get_world_size", lambda: len(batches))

    def work(index):
        rank.index = index
        norm = NaiveSyncBatchNorm(3, stats_mode=mode)
        return norm(batches[index]), norm

    with ThreadPoolExecutor(len(batches)) as pool:
        return list(pool.map(work, range(len(batches))))


@pytest.mark.parametrize(("mode", "sizes"), [("", (2, 2)), ("N", (3, 1)), ("N", (2, 0))])
def test_sync_equals_one_large_batch(monkeypatch, mode, sizes):
    torch.manual_seed(0)
    whole = torch.rand(sum(sizes), 3, 4, 4, requires_grad=True)
    ranks = run_as_ranks(monkeypatch, whole.split(sizes), mode)
    y = torch.cat([output for output, _ in ranks])
    want = nn.BatchNorm2d(3)(whole)
    torch.testing.assert_close(y, want, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(
        torch.autograd.grad(y.pow(3).sum(), whole), torch.autograd.grad(want.pow(3).sum(), whole), rtol=1e-3, atol=1e-3
    )
    for _, norm in ranks:
        torch.testing.assert_close(norm.running_mean, 0.1 * whole.mean((0, 2, 3)).detach())
        biased = whole.var((0, 2, 3), unbiased=False).detach()
        torch.testing.assert_close(norm.running_var, 0.9 + 0.1 * biased, rtol=1e-4, atol=1e-5)


def test_sync_without_any_image(monkeypatch):
    (output, norm), _ = run_as_ranks(monkeypatch, [torch.zeros(0, 3, 2, 2)] * 2, "N")
    assert output.shape == (0, 3, 2, 2) and norm.running_var.tolist() == [1, 1, 1]


def test_sync_alone_is_batch_norm():
    torch.manual_seed(0)
    x = torch.rand(2, 3, 4, 4)
    torch.testing.assert_close(NaiveSyncBatchNorm(3)(x), nn.BatchNorm2d(3)(x))
    with pytest.raises(AssertionError):
        NaiveSyncBatchNorm(3, stats_mode="n")
