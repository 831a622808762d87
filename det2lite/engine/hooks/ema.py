"""An exponential moving average of the weights, to evaluate and to keep instead of the weights of the last step."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from det2lite.checkpoint import DetectionCheckpointer
from det2lite.engine.train_loop import HookBase
from det2lite.utils.errors import BadValue

__all__ = ["AveragingCheckpointer", "EMAHook", "averages_of"]


class EMAHook(HookBase):
    """Averages the weights: after each step `average = decay * average + (1 - decay) * weights`.

    At the n-th step, from 0, the decay is at most (1 + n) / (10 + n), so that the start is forgotten soon. Parameters
    that are trained count, and persistent buffers of floating point, such as the statistics of batch norm. Stands
    before the hooks that save and evaluate. A training that has ended well leaves the averages in the model. Mean
    teachers, arXiv 1703.01780.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        if not 0 <= decay < 1:
            raise BadValue(f"SOLVER.EMA.DECAY is {decay}; it is at least 0 and below 1, such as 0.9998")
        self._model = model.module if isinstance(model, DistributedDataParallel) else model
        self._decay = decay
        self._num_updates = 0
        self._kept: dict[str, torch.Tensor] = {}  # the averages; while those are in the model, the weights
        self._averages_in_model = False

    def before_train(self) -> None:
        if self._averages_in_model:
            self._exchange()
        if not self._kept:
            self._kept = {name: tensor.clone() for name, tensor in self._tensors().items()}

    @torch.no_grad()
    def after_step(self) -> None:
        decay = min(self._decay, (1 + self._num_updates) / (10 + self._num_updates))
        # what does not change stays bit by bit as it is
        torch._foreach_lerp_(list(self._kept.values()), list(self._tensors().values()), 1 - decay)
        self._num_updates += 1

    def after_train(self) -> None:
        if self.trainer.iter >= self.trainer.max_iter and not self._averages_in_model:
            self._exchange()

    @contextmanager
    def averages(self) -> Iterator[None]:
        """The model has the averages inside."""
        if self._averages_in_model or not self._kept:
            yield
            return
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def state_dict(self) -> dict[str, Any]:
        """Those of averages and weights that are not in the model; a checkpoint has the others as its model."""
        return {
            "num_updates": self._num_updates,
            "averages_in_model": self._averages_in_model,
            "kept": {name: tensor.clone() for name, tensor in self._kept.items()},
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The model has been loaded before; afterwards it has the weights to train on. Raises `BadValue`."""
        tensors, kept = self._tensors(), state_dict["kept"]
        shapes = [{name: tensor.shape for name, tensor in group.items()} for group in (tensors, kept)]
        if kept and shapes[0] != shapes[1]:
            raise BadValue("its averaged weights are of another model, or other layers are trained here")
        self._num_updates = state_dict["num_updates"]
        self._kept = {name: kept[name].to(tensor, copy=True) for name, tensor in tensors.items()} if kept else {}
        self._averages_in_model = state_dict["averages_in_model"]
        if self._averages_in_model:
            self._exchange()

    @torch.no_grad()
    def _exchange(self) -> None:
        weights, kept = list(self._tensors().values()), list(self._kept.values())
        before = [tensor.clone() for tensor in weights]
        torch._foreach_copy_(weights, kept)
        torch._foreach_copy_(kept, before)
        self._averages_in_model = not self._averages_in_model

    def _tensors(self) -> dict[str, torch.Tensor]:
        parameters = {name: p.detach() for name, p in self._model.named_parameters() if p.requires_grad}
        persistent = self._model.state_dict().keys()
        buffers = {
            name: buffer
            for name, buffer in self._model.named_buffers()
            if name in persistent and buffer.is_floating_point()
        }
        return {**parameters, **buffers}


class AveragingCheckpointer(DetectionCheckpointer):
    """Saves the averages of an `EMAHook` as the model; the weights of the last step are in the hook's state."""

    def __init__(self, model: nn.Module, save_dir: str = "", *, ema: EMAHook, **checkpointables: Any) -> None:
        super().__init__(model, save_dir, **checkpointables)
        self._ema = ema

    def save(self, name: str, **kwargs: Any) -> None:
        with self._ema.averages():
            super().save(name, **kwargs)


def averages_of(trainer: Any) -> AbstractContextManager:
    """Inside, the model of a trainer has the averages of its weights, where it keeps any."""
    hook = next((hook for hook in getattr(trainer, "_hooks", ()) if isinstance(hook, EMAHook)), None)
    return nullcontext() if hook is None else hook.averages()
