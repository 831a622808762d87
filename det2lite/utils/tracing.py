"""What of `torch.fx` a model's code needs to know."""

import torch
from torch.fx import _symbolic_trace

__all__ = ["assert_fx_safe", "is_fx_tracing", "is_fx_tracing_legacy"]


def is_fx_tracing_legacy() -> bool:
    """Whether `torch.fx` is tracing, told by the module calls that it diverts meanwhile."""
    return torch.nn.Module.__call__ is not _symbolic_trace._orig_module_call


def is_fx_tracing() -> bool:
    """Whether `torch.fx` is tracing: tensors are stand-ins then, and checks of their type or values mean nothing."""
    return _symbolic_trace.is_fx_tracing()


def assert_fx_safe(condition: bool, message: str) -> torch.Tensor:
    """An assertion that is left out while `torch.fx` traces. Returns a zero `(1,)`; raises AssertionError."""
    if torch.jit.is_scripting():
        assert condition, message
    elif not is_fx_tracing():
        torch._assert(condition, message)
    return torch.zeros(1)
