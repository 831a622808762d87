"""Stochastic gradient descent by the fastest of torch's implementations that gives the same numbers."""

from collections.abc import Callable, Iterable
from typing import Any

import torch

from det2lite.utils.errors import BadValue


def _like(tensor: torch.Tensor, model: torch.Tensor) -> torch.Tensor:
    """`tensor` in the memory layout of `model`, copied only where they differ."""
    if tensor.stride() == model.stride() or (tensor.is_contiguous() and model.is_contiguous()):
        return tensor
    return torch.empty_like(model, dtype=tensor.dtype).copy_(tensor)


def _fits_fused_kernel(parameter: torch.Tensor) -> bool:
    is_dense = torch.empty_like(parameter).stride() == parameter.stride()
    return parameter.device.type == "cpu" and parameter.dtype in (torch.float32, torch.float64) and is_dense


class SGD(torch.optim.SGD):
    """SGD that runs fused on the CPU (4 times faster there, bit for bit the same) and multi-tensor elsewhere.

    The fused CPU kernel walks over memory and would silently mix up elements of a parameter, a gradient and a momentum
    of different layouts (channels_last, or a checkpoint from another layout), so layouts are made equal first.
    """

    def __init__(self, params: Iterable, lr: float = 1e-3, **settings: Any):
        params = [dict(p) if isinstance(p, dict) else p for p in params]
        tensors = [t for p in params for t in (p["params"] if isinstance(p, dict) else [p])]
        fused = all(map(_fits_fused_kernel, tensors))
        super().__init__(params, lr=lr, fused=fused, foreach=not fused, **settings)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Raises `BadValue` for the state of other parameters, which the fused kernel would read out of bounds."""
        super().load_state_dict(state_dict)
        for parameter, state in self.state.items():
            momentum = state.get("momentum_buffer")
            if momentum is not None and momentum.shape != parameter.shape:
                raise BadValue(f"a momentum of shape {[*momentum.shape]} for a parameter of {[*parameter.shape]}")
        for group in self.param_groups:  # which kernels ran where the state was saved says nothing about here
            group.update(fused=self.defaults["fused"], foreach=self.defaults["foreach"])

    def step(self, closure: Callable | None = None):
        if not self.defaults["fused"]:
            return super().step(closure)
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        with torch.no_grad():
            self._align_layouts()
        super().step()
        # the kernel does not say what it wrote: who keeps something made of the weights would take it for valid
        changed = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        torch.autograd.graph.increment_version(changed)
        return loss

    def _align_layouts(self) -> None:
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                aligned = _like(parameter.grad, parameter)
                if aligned is not parameter.grad:
                    parameter.grad = aligned
                state = self.state.get(parameter)
                if state and state.get("momentum_buffer") is not None:
                    state["momentum_buffer"] = _like(state["momentum_buffer"], parameter)
