import math

import pytest
import torch
from fvcore.common.param_scheduler import (
    CosineParamScheduler,
    LinearParamScheduler,
    MultiStepParamScheduler,
    StepWithFixedGammaParamScheduler,
)

from det2lite.solver import LRMultiplier, WarmupCosineLR, WarmupMultiStepLR, WarmupParamScheduler
from det2lite.solver.lr_scheduler import _get_warmup_factor_at_iter
from det2lite.utils.errors import BadValue


def sgd(lr=5.0):
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)


def rates(optimizer, scheduler, count):
    """The learning rate of each of `count` iterations."""
    out = []
    for _ in range(count):
        out.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return out


WARM_UP = [0.005, 1.004, 2.003, 3.002, 4.001]  # 5 * (0.001 + 0.999 * i / 5)


def test_multi_step_with_warmup():
    optimizer = sgd()
    steps = MultiStepParamScheduler([1, 0.1, 0.01], milestones=[8, 10], num_updates=12)
    got = rates(optimizer, LRMultiplier(optimizer, WarmupParamScheduler(steps, 0.001, 5 / 12), 12), 12)
    assert got == pytest.approx(WARM_UP + [5.0] * 3 + [0.5] * 2 + [0.05] * 2)


def test_cosine_is_joined_where_the_warmup_ends():
    optimizer = sgd()
    warm = WarmupParamScheduler(CosineParamScheduler(1, 0), 0.001, 5 / 30)
    got = rates(optimizer, LRMultiplier(optimizer, warm, 30), 30)
    cosine = [2.5 * (1 + math.cos(math.pi * i / 30)) for i in range(30)]
    assert got[5:] == pytest.approx(cosine[5:])
    assert got[:5] == pytest.approx([0.005 + (cosine[5] - 0.005) * i / 5 for i in range(5)])


def test_rescale_interval_runs_the_whole_schedule_after_the_warmup():
    optimizer = sgd()
    warm = WarmupParamScheduler(LinearParamScheduler(1.0, 0.0), 0.001, 0.5, rescale_interval=True)
    got = rates(optimizer, LRMultiplier(optimizer, warm, 10), 10)
    assert got == pytest.approx([*WARM_UP, 5.0, 4.0, 3.0, 2.0, 1.0], abs=1e-4)


def test_fixed_gamma_steps_equal_parts():
    optimizer = sgd()
    steps = StepWithFixedGammaParamScheduler(1.0, 4, 0.1, 30)
    warm = WarmupParamScheduler(steps, 0.001, 5 / 30, rescale_interval=True)
    got = rates(optimizer, LRMultiplier(optimizer, warm, 30), 29)
    assert got == pytest.approx(WARM_UP + [5.0] * 5 + [0.5] * 5 + [0.05] * 5 + [0.005] * 5 + [0.0005] * 4)


def test_constant_warmup_and_no_warmup():
    flat = MultiStepParamScheduler([1, 1], milestones=[1, 4])
    optimizer = sgd()
    warm = WarmupParamScheduler(flat, 0.1, 0.5, "constant")
    assert rates(optimizer, LRMultiplier(optimizer, warm, 4), 4) == pytest.approx([0.5, 0.5, 5, 5])
    optimizer = sgd()
    assert rates(optimizer, LRMultiplier(optimizer, WarmupParamScheduler(flat, 0.1, 0.0), 4), 4) == [5, 5, 5, 5]


def test_warmup_over_the_whole_training():
    optimizer = sgd()
    warm = WarmupParamScheduler(CosineParamScheduler(1, 1), 0.0, 1.0, rescale_interval=True)
    assert rates(optimizer, LRMultiplier(optimizer, warm, 5), 5) == pytest.approx([0, 1, 2, 3, 4])


def test_unknown_warmup_method():
    with pytest.raises(BadValue, match="'sinus'"):
        WarmupParamScheduler(CosineParamScheduler(1, 0), 0.1, 0.1, "sinus")
    with pytest.raises(BadValue, match="'sinus'"), pytest.warns(UserWarning):
        WarmupCosineLR(sgd(), 10, warmup_method="sinus")


def test_multiplier_scales_every_group_and_keeps_only_its_position():
    optimizer = torch.optim.SGD(
        [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": lr} for lr in (1.0, 2.0)], lr=9.0
    )
    scheduler = LRMultiplier(optimizer, LinearParamScheduler(1.0, 0.0), 4)
    optimizer.step()
    scheduler.step()
    assert [group["lr"] for group in optimizer.param_groups] == [0.75, 1.5]
    assert scheduler.state_dict() == {"base_lrs": [1.0, 2.0], "last_epoch": 1}
    with pytest.raises(ValueError):
        LRMultiplier(optimizer, lambda progress: 1.0, 4)


def test_multiplier_resumes():
    optimizer = sgd(1.0)
    scheduler = LRMultiplier(optimizer, LinearParamScheduler(1.0, 0.0), 4)
    expected = rates(optimizer, scheduler, 4)[3]
    optimizer = sgd(1.0)
    scheduler = LRMultiplier(optimizer, LinearParamScheduler(1.0, 0.0), 4)
    scheduler.load_state_dict({"base_lrs": [1.0], "last_epoch": 2})
    optimizer.step()
    scheduler.step()
    assert optimizer.param_groups[0]["lr"] == expected == 0.25


def test_old_multi_step():
    optimizer = sgd()
    with pytest.warns(UserWarning, match="LRMultiplier"):
        scheduler = WarmupMultiStepLR(optimizer, [8, 10], gamma=0.1, warmup_factor=0.001, warmup_iters=5)
    assert rates(optimizer, scheduler, 12) == pytest.approx(WARM_UP + [5.0] * 3 + [0.5] * 2 + [0.05] * 2)
    with pytest.raises(ValueError), pytest.warns(UserWarning):
        WarmupMultiStepLR(sgd(), [10, 8])


def test_old_cosine_multiplies_the_warmup():
    optimizer = sgd(1.0)
    with pytest.warns(UserWarning):
        scheduler = WarmupCosineLR(optimizer, 4, warmup_factor=0.5, warmup_iters=2, warmup_method="constant")
    cosine = [0.5 * (1 + math.cos(math.pi * i / 4)) for i in range(4)]
    assert rates(optimizer, scheduler, 4) == pytest.approx([0.5 * cosine[0], 0.5 * cosine[1], cosine[2], cosine[3]])


def test_warmup_factor_of_projects():
    factors = [_get_warmup_factor_at_iter("linear", i, 4, 0.2) for i in (0, 1, 4, 9)]
    assert factors == pytest.approx([0.2, 0.4, 1, 1])
    assert [_get_warmup_factor_at_iter("constant", i, 4, 0.2) for i in (3, 4)] == [0.2, 1]
    with pytest.raises(ValueError, match="cosine"):
        _get_warmup_factor_at_iter("cosine", 0, 4, 0.2)
