"""What a run is beside its weights and optimizer: its random numbers, and where it stands in its data."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

from det2lite.checkpoint.random_state import get_random_state, set_random_state

__all__ = [
    "LoopState",
    "data_state",
    "keep_random_state",
    "load_training_state",
    "move_data_loader",
    "training_state",
]


@contextlib.contextmanager
def keep_random_state() -> Iterator[None]:
    """What runs inside draws its random numbers without changing those that come after."""
    state = get_random_state()
    try:
        yield
    finally:
        set_random_state(state)


class LoopState:
    """For a training loop written out: keeps the random state and the loader's seed in its checkpoints.

    Give it to the checkpointer. After a checkpoint was loaded, `resume(start_iter)` moves the loader to
    its batch and returns its iterator; from there on the run goes as if it had not been interrupted.
    """

    def __init__(self, data_loader: Any) -> None:
        self.data_loader = data_loader
        self._loaded: Mapping[str, Any] = {}

    def state_dict(self) -> dict[str, Any]:
        return {"random_state": get_random_state(), "data": data_state(self.data_loader)}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        self._loaded = state_dict

    def resume(self, start_iter: int) -> Iterator:
        """The loader's batches from iteration `start_iter` on."""
        if start_iter > 0:
            move_data_loader(self.data_loader, self._loaded.get("data", {}), start_iter)
        iterator = iter(self.data_loader)  # before the random state: an iterator may draw a seed of its own
        if self._loaded.get("random_state"):
            set_random_state(self._loaded["random_state"])
        return iterator


def data_state(data_loader: Any) -> dict[str, int]:
    """What a checkpoint keeps of a training loader: the seed that decides all its batches, if it has one."""
    seed = getattr(data_loader, "seed", None)
    return {} if seed is None else {"seed": int(seed)}


def move_data_loader(data_loader: Any, state: Mapping[str, int], start_batch: int) -> bool:
    """Makes the next `iter(data_loader)` begin at batch `start_batch`. False for a loader that cannot."""
    if not hasattr(data_loader, "start_batch") or "seed" not in state:
        return False
    data_loader.seed = int(state["seed"])
    data_loader.start_batch = start_batch
    return True


def training_state(model: nn.Module) -> dict[str, Any]:
    """What modules need to go on training beside their state dicts, by name: of those with a `training_state()`."""
    modules = _unwrapped(model).named_modules()
    return {name: module.training_state() for name, module in modules if hasattr(module, "training_state")}


def load_training_state(model: nn.Module, state: Mapping[str, Any]) -> None:
    """Hands each module what `training_state` got of it; a module that is not there any more is passed over."""
    for name, module in _unwrapped(model).named_modules():
        if name in state and hasattr(module, "load_training_state"):
            module.load_training_state(state[name])


def _unwrapped(model: nn.Module) -> nn.Module:
    return model.module if isinstance(model, nn.parallel.DistributedDataParallel) else model
