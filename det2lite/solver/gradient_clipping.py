"""Gradient clipping as part of an optimizer's step, so that every training loop gets it."""

import inspect
from collections import defaultdict
from collections.abc import Callable, Iterable
from enum import Enum

import torch
from torch.optim import Optimizer

from det2lite.config import CfgNode
from det2lite.utils.errors import BadValue


class GradientClipType(Enum):
    """VALUE bounds each element; NORM bounds the norm of each parameter's gradient on its own."""

    VALUE = "value"
    NORM = "norm"


def clip_norm_per_parameter(parameters: Iterable[torch.Tensor], max_norm: float, norm_type: float = 2.0) -> None:
    """Scale each parameter's gradient to a norm of at most max_norm, in place and without waiting for the device."""
    grads_alike = defaultdict(list)
    for parameter in parameters:
        if parameter.grad is not None:
            grads_alike[parameter.grad.device, parameter.grad.dtype].append(parameter.grad)
    for grads in grads_alike.values():
        norms = torch.stack(torch._foreach_norm(grads, norm_type))  # (P,)
        # the 1e-6 of torch.nn.utils.clip_grad_norm_, whose numbers these are
        scales = (max_norm / (norms + 1e-6)).clamp_(max=1.0)
        torch._foreach_mul_(grads, list(scales.unbind()))


def _build_clipper(cfg: CfgNode) -> Callable[[list[torch.Tensor]], None]:
    """cfg: SOLVER.CLIP_GRADIENTS."""
    clip_value, norm_type = cfg.CLIP_VALUE, cfg.NORM_TYPE
    try:
        clip_type = GradientClipType(cfg.CLIP_TYPE)
    except ValueError:
        known = " or ".join(repr(t.value) for t in GradientClipType)
        raise BadValue(f"SOLVER.CLIP_GRADIENTS.CLIP_TYPE {cfg.CLIP_TYPE!r}: it is {known}") from None
    if clip_type is GradientClipType.VALUE:
        return lambda parameters: torch.nn.utils.clip_grad_value_(parameters, clip_value)
    return lambda parameters: clip_norm_per_parameter(parameters, clip_value, norm_type)


def _with_clipping(base: type[Optimizer], clip: Callable[[list[torch.Tensor]], None]) -> type[Optimizer]:
    class Clipped(base):
        # a fused optimizer would take gradients that the loss scaler has not unscaled yet
        _step_supports_amp_scaling = False

        def step(self, closure: Callable | None = None):
            def clip_all() -> None:
                clip([p for group in self.param_groups for p in group["params"]])

            if closure is None:
                clip_all()
                return super().step()

            def closure_then_clip():
                loss = closure()
                clip_all()
                return loss

            return super().step(closure_then_clip)

    Clipped.__name__ = Clipped.__qualname__ = f"{base.__name__}WithGradientClip"
    return Clipped


def maybe_add_gradient_clipping(cfg: CfgNode, optimizer: type[Optimizer] | Optimizer) -> type[Optimizer] | Optimizer:
    """The optimizer class or instance, clipping gradients in `step()` when SOLVER.CLIP_GRADIENTS.ENABLED.

    An instance is changed in place and returned; a class is returned as a subclass.
    """
    if not cfg.SOLVER.CLIP_GRADIENTS.ENABLED:
        return optimizer
    base = optimizer if inspect.isclass(optimizer) else type(optimizer)
    if not issubclass(base, Optimizer):
        raise TypeError(f"gradient clipping needs a torch optimizer, got {base.__name__}")
    clipped = _with_clipping(base, _build_clipper(cfg.SOLVER.CLIP_GRADIENTS))
    if inspect.isclass(optimizer):
        return clipped
    optimizer.__class__ = clipped
    # torch sets this on instances of fused optimizers
    optimizer._step_supports_amp_scaling = False
    return optimizer
