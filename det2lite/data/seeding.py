"""Random numbers of a sample: seeded by where the sample stands in the stream, not by who computes it.

An index that carries its seed travels to whichever worker maps the sample, so that the sample's augmentation is the
same in the main process, in any number of workers, and after a resume.
"""

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, IterableDataset, get_worker_info


class SampleIndex(int):
    """An index into a data set that knows the seed of its sample."""

    sample_seed: int

    def __new__(cls, index: int, sample_seed: int):
        self = super().__new__(cls, index)
        self.sample_seed = sample_seed
        return self

    def __getnewargs__(self) -> tuple[int, int]:
        return int(self), self.sample_seed


def mix_seed(*numbers: int) -> int:
    """A seed in [0, 2**63) that depends on all of `numbers` and on their order."""
    digest = hashlib.blake2b(",".join(map(str, numbers)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1  # torch takes seeds of 63 bits


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Python's, numpy's and torch's CPU generators start from `seed` inside, and go on outside as if nothing was."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.default_generator.manual_seed(seed)  # torch.manual_seed would touch the GPU's too
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


class SeededDataset(Dataset):
    """A map-style data set whose samples are made under the seed that their `SampleIndex` carries."""

    def __init__(self, dataset: Dataset):
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        if not isinstance(index, SampleIndex):
            return self.dataset[index]
        with seeded(index.sample_seed):
            return self.dataset[index]


class SeededStream(IterableDataset):
    """An iterable data set whose n-th sample in each worker is made under a seed of (seed, rank, worker, n)."""

    def __init__(self, dataset: IterableDataset, rank: int):
        self.dataset = dataset
        self.rank = rank
        self.seed = 0

    def __iter__(self) -> Iterator[Any]:
        worker = get_worker_info()
        worker_id = worker.id if worker else 0
        position, stream = 0, None
        while True:
            with seeded(mix_seed(self.seed, self.rank, worker_id, position)):
                stream = iter(self.dataset) if stream is None else stream
                try:
                    sample = next(stream)
                except StopIteration:
                    return
            yield sample
            position += 1
