import logging

import pytest
import torch
from torch import nn

from det2lite.config import get_cfg
from det2lite.solver import build_lr_scheduler, build_optimizer, get_default_optimizer_params
from det2lite.solver.build import reduce_param_groups
from det2lite.utils.errors import BadValue, UserError


def small_model():
    return nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3), nn.GroupNorm(1, 3), nn.Conv2d(3, 1, 1, bias=False))


def settings_by_name(model, groups):
    names = {id(p): name for name, p in model.named_parameters()}
    return {names[id(p)]: {k: v for k, v in g.items() if k != "params"} for g in groups for p in g["params"]}


def solver_cfg(**values):
    cfg = get_cfg()
    for key, value in values.items():
        cfg.SOLVER[key] = value
    return cfg


def learning_rates(cfg, count):
    optimizer = build_optimizer(cfg, nn.Linear(1, 1))
    scheduler = build_lr_scheduler(cfg, optimizer)
    rates = [optimizer.param_groups[0]["lr"]]
    for _ in range(count - 1):
        optimizer.step()
        scheduler.step()
        rates.append(optimizer.param_groups[0]["lr"])
    return rates


def test_defaults_are_one_group_for_norms_and_one_for_the_rest():
    model = small_model()
    optimizer = build_optimizer(solver_cfg(BASE_LR=0.5, MOMENTUM=0.8, NESTEROV=True), model)
    assert isinstance(optimizer, torch.optim.SGD)
    assert [len(group["params"]) for group in optimizer.param_groups] == [3, 4]
    rest, norms = optimizer.param_groups
    assert (rest["lr"], rest["weight_decay"], rest["momentum"], rest["nesterov"]) == (0.5, 1e-4, 0.8, True)
    assert (norms["lr"], norms["weight_decay"]) == (0.5, 0.0)


def test_norm_and_bias_rules():
    model = small_model()
    groups = get_default_optimizer_params(
        model, base_lr=1.0, weight_decay=0.1, weight_decay_norm=0.2, bias_lr_factor=2.0, weight_decay_bias=0.3
    )
    got = settings_by_name(model, groups)
    assert got["0.weight"] == got["3.weight"] == {"lr": 1.0, "weight_decay": 0.1}
    assert got["1.weight"] == got["2.weight"] == {"lr": 1.0, "weight_decay": 0.2}
    assert got["0.bias"] == got["1.bias"] == got["2.bias"] == {"lr": 2.0, "weight_decay": 0.3}
    assert len(groups) == 3


def test_overrides_and_lr_factor():
    model = small_model()
    overrides = {"weight": {"lr": 7.0, "momentum": 0.5}}
    groups = get_default_optimizer_params(
        model, base_lr=1.0, overrides=overrides, lr_factor_func=lambda name: 0.1 if name.startswith("0.") else 3.0
    )
    got = settings_by_name(model, groups)
    assert got["0.weight"] == {"lr": 7.0, "momentum": 0.5}
    assert got["0.bias"] == {"lr": 0.1} and got["1.bias"] == {"lr": 3.0}
    assert overrides == {"weight": {"lr": 7.0, "momentum": 0.5}}


def test_parameter_of_the_model_itself_has_no_leading_dot():
    names = []
    model = nn.Linear(1, 1)
    get_default_optimizer_params(model, base_lr=1.0, lr_factor_func=lambda name: names.append(name) or 1.0)
    assert names == ["weight", "bias"]


def test_rules_that_contradict_or_lack_base_lr():
    model = small_model()
    with pytest.raises(ValueError):
        get_default_optimizer_params(model, bias_lr_factor=2.0)
    with pytest.raises(ValueError):
        get_default_optimizer_params(model, lr_factor_func=lambda name: 1.0)
    with pytest.raises(ValueError):
        get_default_optimizer_params(model, weight_decay_bias=0.0, overrides={"bias": {"weight_decay": 1.0}})


def test_frozen_and_shared_parameters():
    model = small_model()
    model[0].weight.requires_grad_(False)
    model.add_module("again", model[3])
    got = [p for group in get_default_optimizer_params(model) for p in group["params"]]
    assert len(got) == 6 and len({id(p) for p in got}) == 6
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    assert get_default_optimizer_params(model) == []
    with pytest.raises(BadValue, match="frozen"):
        build_optimizer(get_cfg(), model)


def test_reduce_merges_equal_groups_and_later_settings_win():
    groups = [
        {"params": ["a", "b"], "lr": 1.0, "weight_decay": 3.0},
        {"params": ["b", "c"], "lr": 2.0},
        {"params": ["d"], "weight_decay": 3.0, "lr": 1.0},
    ]
    assert reduce_param_groups(groups) == [
        {"params": ["a", "d"], "lr": 1.0, "weight_decay": 3.0},
        {"params": ["b"], "lr": 2.0, "weight_decay": 3.0},
        {"params": ["c"], "lr": 2.0},
    ]
    assert reduce_param_groups([]) == []


def test_learning_rates_of_the_reference_trajectory():
    cfg = solver_cfg(BASE_LR=0.0002, WARMUP_ITERS=4, STEPS=(5,), MAX_ITER=8)
    expected = [2e-7, 5.015e-5, 1.001e-4, 1.5005e-4, 2e-4, 2e-5, 2e-5, 2e-5]
    assert learning_rates(cfg, 8) == pytest.approx(expected, rel=1e-12)


def test_cosine_ends_at_base_lr_end():
    cfg = solver_cfg(LR_SCHEDULER_NAME="WarmupCosineLR", BASE_LR=2.0, BASE_LR_END=0.5, WARMUP_ITERS=0, MAX_ITER=4)
    # 0.5 + 1.5 * (1 + cos(pi i / 4)) / 2
    assert learning_rates(cfg, 5) == pytest.approx([2.0, 1.7803301, 1.25, 0.7196699, 0.5])
    with pytest.raises(BadValue, match="BASE_LR_END"):
        learning_rates(solver_cfg(LR_SCHEDULER_NAME="WarmupCosineLR", BASE_LR=2.0, BASE_LR_END=3.0), 1)


def test_fixed_gamma_has_a_rate_after_the_last_iteration():
    cfg = solver_cfg(
        LR_SCHEDULER_NAME="WarmupStepWithFixedGammaLR", BASE_LR=1.0, NUM_DECAYS=2, GAMMA=0.5, WARMUP_ITERS=0, MAX_ITER=6
    )
    assert learning_rates(cfg, 7) == pytest.approx([1, 1, 0.5, 0.5, 0.25, 0.25, 0.25])


def test_steps_behind_the_end_are_ignored(caplog):
    with caplog.at_level(logging.WARNING):
        cfg = solver_cfg(BASE_LR=1.0, STEPS=(2, 4, 9), MAX_ITER=4, WARMUP_ITERS=0)
        assert learning_rates(cfg, 5) == pytest.approx([1, 1, 0.1, 0.1, 0.1])
    assert "no effect" in caplog.text


def test_one_iteration_and_warmup_longer_than_training():
    assert learning_rates(solver_cfg(BASE_LR=1.0, STEPS=(), MAX_ITER=1, WARMUP_ITERS=2), 2) == [0.001, 1.0]


@pytest.mark.parametrize(
    "values",
    [
        {"LR_SCHEDULER_NAME": "WarmupMultistepLR"},
        {"STEPS": (5, 3)},
        {"STEPS": (0, 3)},
        {"MAX_ITER": 0},
        {"WARMUP_METHOD": "sinus"},
    ],
)
def test_bad_schedule_is_named(values):
    with pytest.raises(UserError) as error:
        learning_rates(solver_cfg(**values), 1)
    assert next(iter(values)) in str(error.value) and "\n" not in str(error.value)


def test_unknown_schedule_names_the_close_one():
    with pytest.raises((KeyError, ValueError), match="did you mean 'WarmupMultiStepLR'") as caught:
        learning_rates(solver_cfg(LR_SCHEDULER_NAME="WarmupMultistepLR"), 1)
    assert isinstance(caught.value, KeyError) and isinstance(caught.value, ValueError)
