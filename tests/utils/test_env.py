import random

import numpy as np
import torch

from det2lite.utils import env


def draw():
    return random.random(), np.random.rand(), torch.rand(1).item()


def test_one_seed_gives_the_same_numbers_everywhere():
    assert env.seed_all_rng(5) == 5
    first = draw()
    env.seed_all_rng(5)
    assert draw() == first
    env.seed_all_rng(2**40 + 1)
    assert draw() != first


def test_without_a_seed_one_is_drawn(caplog):
    with caplog.at_level("INFO"):
        seed = env.seed_all_rng()
    assert str(seed) in caplog.text and 0 <= seed < 2**31
    first = draw()
    env.seed_all_rng(seed)
    assert draw() == first


def test_deterministic_overrules_benchmark():
    try:
        env.configure_backends(cudnn_benchmark=True, deterministic=True)
        assert torch.backends.cudnn.deterministic and not torch.backends.cudnn.benchmark
        assert torch.are_deterministic_algorithms_enabled()
        env.configure_backends(cudnn_benchmark=True)
        assert torch.backends.cudnn.benchmark and not torch.are_deterministic_algorithms_enabled()
    finally:
        env.configure_backends()


def test_version_is_comparable():
    assert (1, 8) < env.TORCH_VERSION and len(env.TORCH_VERSION) == 2
