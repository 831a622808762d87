"""Optimizer and learning-rate schedule from the keys of SOLVER."""

import logging
from collections.abc import Callable
from typing import Any

from fvcore.common.param_scheduler import (
    CosineParamScheduler,
    MultiStepParamScheduler,
    ParamScheduler,
    StepWithFixedGammaParamScheduler,
)
from torch import nn
from torch.optim import Optimizer

from det2lite.config import CfgNode
from det2lite.solver.gradient_clipping import GradientClipType, maybe_add_gradient_clipping
from det2lite.solver.lr_scheduler import LRMultiplier, LRScheduler, WarmupParamScheduler
from det2lite.solver.sgd import SGD
from det2lite.utils.errors import BadValue, UnknownName, close_names

__all__ = [
    "GradientClipType",
    "build_lr_scheduler",
    "build_optimizer",
    "get_default_optimizer_params",
    "maybe_add_gradient_clipping",
    "reduce_param_groups",
]

logger = logging.getLogger(__name__)

NORM_TYPES = (
    nn.modules.batchnorm._BatchNorm,
    nn.modules.instancenorm._InstanceNorm,
    nn.GroupNorm,
    nn.LayerNorm,
    nn.LocalResponseNorm,
)


def build_optimizer(cfg: CfgNode, model: nn.Module) -> Optimizer:
    """SGD with the learning rates, decays and gradient clipping of SOLVER, over the parameters that need gradients."""
    solver = cfg.SOLVER
    groups = get_default_optimizer_params(
        model,
        base_lr=solver.BASE_LR,
        weight_decay_norm=solver.WEIGHT_DECAY_NORM,
        bias_lr_factor=solver.BIAS_LR_FACTOR,
        weight_decay_bias=solver.WEIGHT_DECAY_BIAS,
    )
    if not groups:
        raise BadValue("the model has no parameter to train: all are frozen; lower MODEL.BACKBONE.FREEZE_AT")
    optimizer = SGD(
        groups,
        lr=solver.BASE_LR,
        momentum=solver.MOMENTUM,
        nesterov=solver.NESTEROV,
        weight_decay=solver.WEIGHT_DECAY,
    )
    return maybe_add_gradient_clipping(cfg, optimizer)


def get_default_optimizer_params(
    model: nn.Module,
    base_lr: float | None = None,
    weight_decay: float | None = None,
    weight_decay_norm: float | None = None,
    bias_lr_factor: float | None = 1.0,
    weight_decay_bias: float | None = None,
    lr_factor_func: Callable[[str], float] | None = None,
    overrides: dict[str, dict[str, float]] | None = None,
) -> list[dict[str, Any]]:
    """Parameter groups for an optimizer: each parameter that needs a gradient once, equal settings in one group.

    weight_decay_norm: weight decay of the parameters of normalisation layers.
    bias_lr_factor, weight_decay_bias: for parameters named "bias", those of normalisation layers included.
    lr_factor_func: full parameter name -> factor on base_lr.
    overrides: last part of a parameter's name -> settings that win over all others.
    """
    overrides = _with_bias_rules(overrides, base_lr, bias_lr_factor, weight_decay_bias)
    if lr_factor_func is not None and base_lr is None:
        raise BadValue("lr_factor_func needs base_lr")
    defaults = {k: v for k, v in (("lr", base_lr), ("weight_decay", weight_decay)) if v is not None}
    groups, seen = [], set()
    for module_name, module in model.named_modules():
        is_norm = isinstance(module, NORM_TYPES)
        for name, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad or parameter in seen:
                continue
            seen.add(parameter)
            settings = dict(defaults)
            if is_norm and weight_decay_norm is not None:
                settings["weight_decay"] = weight_decay_norm
            if lr_factor_func is not None:
                settings["lr"] *= lr_factor_func(f"{module_name}.{name}" if module_name else name)
            settings.update(overrides.get(name, {}))
            groups.append({"params": [parameter], **settings})
    return reduce_param_groups(groups)


def _with_bias_rules(
    overrides: dict[str, dict[str, float]] | None,
    base_lr: float | None,
    bias_lr_factor: float | None,
    weight_decay_bias: float | None,
) -> dict[str, dict[str, float]]:
    overrides = dict(overrides or {})
    rules = {}
    if bias_lr_factor is not None and bias_lr_factor != 1.0:
        if base_lr is None:
            raise BadValue("bias_lr_factor needs base_lr")
        rules["lr"] = base_lr * bias_lr_factor
    if weight_decay_bias is not None:
        rules["weight_decay"] = weight_decay_bias
    if rules:
        if "bias" in overrides:
            raise BadValue("overrides has 'bias', and so have bias_lr_factor or weight_decay_bias: give only one")
        overrides["bias"] = rules
    return overrides


def _expand_param_groups(params: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One group a parameter; where several groups name it, the settings of later ones win."""
    settings_of = {}
    for group in params:
        settings = {key: value for key, value in group.items() if key != "params"}
        for parameter in group["params"]:
            settings_of.setdefault(parameter, {}).update(settings)
    return [{"params": [parameter], **settings} for parameter, settings in settings_of.items()]


def reduce_param_groups(params: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The fewest groups with the same meaning: multi-tensor optimizers run one set of kernels a group."""
    merged = {}
    for group in _expand_param_groups(params):
        settings = {key: value for key, value in group.items() if key != "params"}
        members = merged.setdefault(frozenset(settings.items()), {"params": [], **settings})["params"]
        members.extend(group["params"])
    return list(merged.values())


class _FixedGammaSteps(StepWithFixedGammaParamScheduler):
    """The rate is also asked for after the last iteration (progress 1), which fvcore's steps do not know."""

    def __call__(self, where: float) -> float:
        return super().__call__(min(where, 1.0 - 2 * self.WHERE_EPSILON))


def _multi_step(cfg: CfgNode) -> ParamScheduler:
    max_iter = cfg.SOLVER.MAX_ITER
    steps = [step for step in cfg.SOLVER.STEPS if step < max_iter]
    if len(steps) < len(cfg.SOLVER.STEPS):
        logger.warning("SOLVER.STEPS %s: those from SOLVER.MAX_ITER %d on have no effect", cfg.SOLVER.STEPS, max_iter)
    if steps != sorted(set(steps)) or any(step <= 0 for step in steps):
        raise BadValue(f"SOLVER.STEPS {cfg.SOLVER.STEPS}: they are increasing iterations above 0")
    values = [cfg.SOLVER.GAMMA**k for k in range(len(steps) + 1)]
    return MultiStepParamScheduler(values=values, milestones=steps, num_updates=max_iter)


def _cosine(cfg: CfgNode) -> ParamScheduler:
    base_lr, last_lr = cfg.SOLVER.BASE_LR, cfg.SOLVER.BASE_LR_END
    if not 0.0 <= last_lr <= base_lr:
        raise BadValue(f"SOLVER.BASE_LR_END {last_lr}: it lies between 0 and SOLVER.BASE_LR {base_lr}")
    return CosineParamScheduler(1.0, last_lr / base_lr if base_lr else 0.0)


def _fixed_gamma(cfg: CfgNode) -> ParamScheduler:
    return _FixedGammaSteps(
        base_value=1.0, gamma=cfg.SOLVER.GAMMA, num_decays=cfg.SOLVER.NUM_DECAYS, num_updates=cfg.SOLVER.MAX_ITER
    )


SCHEDULES = {"WarmupMultiStepLR": _multi_step, "WarmupCosineLR": _cosine, "WarmupStepWithFixedGammaLR": _fixed_gamma}


class UnknownSchedule(UnknownName, ValueError):
    """A learning-rate schedule that there is not."""


def build_lr_scheduler(cfg: CfgNode, optimizer: Optimizer) -> LRScheduler:
    """The schedule SOLVER.LR_SCHEDULER_NAME over SOLVER.MAX_ITER iterations, warmed up, one step an iteration."""
    solver = cfg.SOLVER
    if solver.LR_SCHEDULER_NAME not in SCHEDULES:
        raise UnknownSchedule(
            f"no learning-rate schedule {solver.LR_SCHEDULER_NAME!r} for SOLVER.LR_SCHEDULER_NAME; there are "
            f"{', '.join(SCHEDULES)}{close_names(solver.LR_SCHEDULER_NAME, SCHEDULES)}"
        )
    if solver.MAX_ITER <= 0:
        raise BadValue(f"SOLVER.MAX_ITER {solver.MAX_ITER}: training needs at least one iteration")
    schedule = WarmupParamScheduler(
        SCHEDULES[solver.LR_SCHEDULER_NAME](cfg),
        solver.WARMUP_FACTOR,
        min(solver.WARMUP_ITERS / solver.MAX_ITER, 1.0),
        solver.WARMUP_METHOD,
        solver.RESCALE_INTERVAL,
    )
    return LRMultiplier(optimizer, multiplier=schedule, max_iter=solver.MAX_ITER)
