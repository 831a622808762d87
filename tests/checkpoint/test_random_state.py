import random

import numpy as np
import torch

from det2lite.checkpoint import get_random_state, set_random_state


def draw():
    # gauss and randn of Python and numpy keep a second value for the next call
    return [random.random(), random.gauss(0, 1), np.random.rand(), np.random.randn(), torch.rand(3).tolist()]


def test_a_stored_state_gives_the_same_numbers(tmp_path):
    draw()
    torch.save(get_random_state(), tmp_path / "state.pth")
    expected = [draw(), draw()]
    set_random_state(torch.load(tmp_path / "state.pth", weights_only=True))
    assert [draw(), draw()] == expected


def test_devices_that_are_gone_are_left_out():
    state = get_random_state()
    state["cuda"] = [torch.zeros(16, dtype=torch.uint8)] * 99 if not torch.cuda.is_available() else state["cuda"]
    expected = draw()
    set_random_state(state)
    assert draw() == expected
