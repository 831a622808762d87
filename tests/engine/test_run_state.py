import random

import numpy as np
import torch

from det2lite.engine.run_state import (
    LoopState,
    data_state,
    keep_random_state,
    load_training_state,
    move_data_loader,
    training_state,
)


class Loader:
    """Batches are (seed, position); an iterator draws a seed of its own, as torch's do."""

    def __init__(self):
        self.seed = 5
        self.start_batch = 0

    def __iter__(self):
        torch.rand(1)
        return ((self.seed, i) for i in range(self.start_batch, 100))


def draw():
    return random.random(), np.random.rand(), torch.rand(1).item()


def test_keep_random_state():
    with keep_random_state():
        inside = draw()
    assert draw() == inside
    try:
        with keep_random_state():
            inside = draw()
            raise RuntimeError
    except RuntimeError:
        assert draw() == inside


def test_data_state_of_any_loader():
    assert data_state([1, 2]) == {} and data_state(Loader()) == {"seed": 5}
    loader = Loader()
    assert move_data_loader(loader, {"seed": 9}, 3) and next(iter(loader)) == (9, 3)
    assert not move_data_loader(loader, {}, 4) and not move_data_loader([], {"seed": 1}, 4)
    assert loader.start_batch == 3


def test_loop_state_goes_on_where_it_was():
    loader = Loader()
    state = LoopState(loader)
    batches = state.resume(0)
    first = [(next(batches), draw()) for _ in range(2)]
    kept = state.state_dict()
    rest = [(next(batches), draw()) for _ in range(2)]
    assert first[0][0] == (5, 0)

    torch.manual_seed(0)
    again = Loader()
    again.seed = 77
    state = LoopState(again)
    state.load_state_dict(kept)
    batches = state.resume(2)
    assert [(next(batches), draw()) for _ in range(2)] == rest


class Counting(torch.nn.Module):
    def __init__(self, count=0):
        super().__init__()
        self.count = count

    def training_state(self):
        return {"count": self.count}

    def load_training_state(self, state):
        self.count = state["count"]


def test_training_state_of_modules():
    saved = training_state(torch.nn.Sequential(Counting(3), torch.nn.ReLU(), Counting(5)))
    assert saved == {"0": {"count": 3}, "2": {"count": 5}}
    fresh = torch.nn.Sequential(Counting(), torch.nn.ReLU())
    load_training_state(fresh, saved)  # a head that is gone is no mistake
    assert fresh[0].count == 3
    load_training_state(fresh, {})
    assert training_state(torch.nn.ReLU()) == {}
