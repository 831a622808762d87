import itertools
import math
import pickle

import pytest
import torch
from torch.utils.data import DataLoader, SequentialSampler

from det2lite.data.common import ToIterableDataset
from det2lite.data.samplers import (
    GroupedBatchSampler,
    InferenceSampler,
    RandomSubsetTrainingSampler,
    RepeatFactorTrainingSampler,
    TrainingSampler,
)
from det2lite.utils import comm
from det2lite.utils.errors import BadValue


def take(sampler, count):
    return list(itertools.islice(sampler, count))


def permutations(size, seed, epochs):
    generator = torch.Generator()
    generator.manual_seed(seed)
    return [torch.randperm(size, generator=generator).tolist() for _ in range(epochs)]


@pytest.fixture
def as_rank(monkeypatch):
    def set_rank(rank, world_size):
        monkeypatch.setattr(comm, "get_rank", lambda: rank)
        monkeypatch.setattr(comm, "get_world_size", lambda: world_size)

    return set_rank


def test_training_order_is_one_permutation_an_epoch():
    first, second = permutations(7, seed=3, epochs=2)
    assert take(TrainingSampler(7, seed=3), 14) == first + second
    assert take(TrainingSampler(3, shuffle=False, seed=3), 7) == [0, 1, 2, 0, 1, 2, 0]
    assert take(TrainingSampler(1, seed=0), 3) == [0, 0, 0]


def test_training_iterates_anew_each_time_and_survives_pickling():
    sampler = TrainingSampler(20)
    assert take(sampler, 45) == take(sampler, 45) == take(pickle.loads(pickle.dumps(sampler)), 45)


def test_ranks_take_turns(as_rank):
    whole = sum(permutations(5, seed=9, epochs=6), [])
    for rank in range(3):
        as_rank(rank, 3)
        assert take(TrainingSampler(5, seed=9), 10) == whole[rank::3][:10]


def test_follow_replaces_only_a_drawn_seed():
    chosen, drawn = TrainingSampler(50, seed=1), TrainingSampler(50)
    for sampler in (chosen, drawn):
        sampler.follow(77)
    assert take(chosen, 50) == permutations(50, 1, 1)[0]
    assert take(drawn, 50) == permutations(50, 77, 1)[0] and drawn.seed == 77


@pytest.mark.parametrize("size, error", [(0, ValueError), (-1, ValueError), (1.5, TypeError), ("3", TypeError)])
def test_training_refuses_a_wrong_size(size, error):
    with pytest.raises(error):
        TrainingSampler(size)


def test_random_subset_is_fixed_and_its_order_changes():
    sampler = RandomSubsetTrainingSampler(10, 0.35, seed_shuffle=2, seed_subset=5)
    subset = permutations(10, 5, 1)[0][:3]
    orders = permutations(3, 2, 2)
    assert take(sampler, 6) == [subset[i] for order in orders for i in order]
    still = RandomSubsetTrainingSampler(10, 0.35, shuffle=False, seed_subset=5)
    assert take(still, 4) == [*subset, subset[0]]
    for ratio in (0.0, 1.1, 0.05):
        with pytest.raises(BadValue):
            RandomSubsetTrainingSampler(10, ratio)


def test_random_subset_follows_a_seed():
    first, second = RandomSubsetTrainingSampler(100, 0.1), RandomSubsetTrainingSampler(100, 0.1)
    for sampler in (first, second):
        sampler.follow(4)
    assert take(first, 25) == take(second, 25)


def test_repeat_factors_by_hand():
    dicts = [
        {"annotations": [{"category_id": 0}, {"category_id": 1}]},
        {"annotations": [{"category_id": 0}]},
        {"annotations": []},
    ]
    factors = RepeatFactorTrainingSampler.repeat_factors_from_category_frequency
    # category 1 is in a third of the images: sqrt(0.5 * 3); category 0 in two thirds, above the threshold
    torch.testing.assert_close(factors(dicts, 0.5), torch.tensor([math.sqrt(1.5), 1.0, 1.0]))
    torch.testing.assert_close(factors(dicts, 0.5, sqrt=False), torch.tensor([1.5, 1.0, 1.0]))
    assert factors([], 0.5).shape == (0,)


def test_repeat_factors_by_tag():
    dicts = [{"tags": "night"}, {"tags": ["day", "rain"]}, {"tags": ["day"]}, {}]
    factors = RepeatFactorTrainingSampler.repeat_factors_from_tag_frequency(dicts, 0.5)
    torch.testing.assert_close(factors, torch.tensor([2**0.5, 2**0.5, 1.0, 1.0]))


def test_repeat_factor_counts_and_order():
    sampler = RepeatFactorTrainingSampler(torch.tensor([1.0, 2.0, 0.0]), shuffle=False, seed=0)
    assert take(sampler, 6) == [0, 1, 1, 0, 1, 1]
    generator = torch.Generator()
    generator.manual_seed(6)
    torch.rand(3, generator=generator)  # rounding draws first
    order = torch.randperm(3, generator=generator).tolist()
    shuffled = RepeatFactorTrainingSampler(torch.tensor([1.0, 2.0, 0.0]), seed=6)
    assert take(shuffled, 3) == [[0, 1, 1][i] for i in order]


def test_repeat_factor_fraction_is_kept_on_average():
    drawn = take(RepeatFactorTrainingSampler(torch.tensor([1.0, 1.5]), seed=0), 5000)
    assert abs(drawn.count(1) / drawn.count(0) - 1.5) < 0.05


@pytest.mark.parametrize("factors", [[], [0.0, 0.0], [-1.0, 2.0], [float("nan")]])
def test_repeat_factor_refuses_what_would_never_end(factors):
    with pytest.raises(BadValue):
        RepeatFactorTrainingSampler(torch.tensor(factors))


def test_inference_pieces():
    pieces = InferenceSampler._get_local_indices
    assert [list(pieces(10, 4, r)) for r in range(4)] == [[0, 1, 2], [3, 4, 5], [6, 7], [8, 9]]
    assert [len(pieces(2, 3, r)) for r in range(3)] == [1, 1, 0]
    assert [len(pieces(0, 2, r)) for r in range(2)] == [0, 0]


def test_inference_sampler(as_rank):
    assert list(InferenceSampler(3)) == [0, 1, 2] and len(InferenceSampler(3)) == 3
    as_rank(1, 2)
    assert list(InferenceSampler(3)) == [2]
    with pytest.raises(BadValue):
        InferenceSampler(0)


def test_grouped_batches():
    groups = [0, 1, 1, 0, 1, 0, 0]
    batches = iter(GroupedBatchSampler(SequentialSampler(groups), groups, 2))
    assert list(batches) == [[1, 2], [0, 3], [5, 6]]
    assert list(iter(GroupedBatchSampler(SequentialSampler([]), [], 2))) == []
    with pytest.raises(ValueError):
        GroupedBatchSampler([0, 1], groups, 2)
    with pytest.raises(NotImplementedError):
        len(GroupedBatchSampler(SequentialSampler(groups), groups, 2))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_stream_of_a_sampler_is_shared_by_workers(num_workers):
    sampler = TrainingSampler(40, seed=10)
    loader = DataLoader(ToIterableDataset(range(40), sampler), batch_size=1, num_workers=num_workers)
    assert [int(batch) for batch in itertools.islice(loader, 60)] == take(sampler, 60)
