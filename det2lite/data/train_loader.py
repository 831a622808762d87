"""Loaders for training whose batches are a function of (seed, position), so that they can start anywhere.

Both kinds have two attributes that are read when an iteration starts: `seed`, and `start_batch`, the number of batches
to leave out. An iteration that starts at batch k gives what an unbroken one gives from batch k on.
"""

import itertools
import operator
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from torch.utils.data import DataLoader, IterableDataset, Sampler

from det2lite.data.common import AspectRatioGroupedDataset
from det2lite.data.seeding import SampleIndex, SeededDataset, SeededStream, mix_seed, seeded
from det2lite.utils import comm


class SeededBatchSampler(Sampler):
    """Batches of `SampleIndex` from a sampler's stream, grouped without looking at a single sample.

    sampler: stream of indices of this rank. batch_size: per rank. group_ids: (size,) group of each sample; a batch is
    of one group. drop_last: whether batches that are not full at the end of a finite stream are left out.
    """

    def __init__(
        self,
        *,
        sampler: Iterable[int],
        batch_size: int,
        seed: int,
        group_ids: Sequence[int] | None = None,
        drop_last: bool = True,
    ):
        self.sampler = sampler
        self.batch_size = batch_size
        self.group_ids = group_ids
        self.drop_last = drop_last
        self.seed = seed
        self.start_batch = 0
        self._rank = comm.get_rank()

    def __len__(self) -> int:
        size = len(self.sampler)  # TypeError for an endless one, as for any endless loader
        batches = size // self.batch_size if self.drop_last else -(-size // self.batch_size)
        return max(batches - self.start_batch, 0)

    def __iter__(self) -> Iterator[list[SampleIndex]]:
        if hasattr(self.sampler, "follow"):
            self.sampler.follow(self.seed)
        # not a generator: the seed and the start are those of now, not of the first batch
        return self._seeded(itertools.islice(self._batches(), self.start_batch, None), self.seed)

    def _seeded(self, batches: Iterator[list[tuple[int, int]]], seed: int) -> Iterator[list[SampleIndex]]:
        for batch in batches:
            yield [SampleIndex(index, mix_seed(seed, self._rank, position)) for position, index in batch]

    def _batches(self) -> Iterator[list[tuple[int, int]]]:
        """Batches of (position in the rank's stream, index)."""
        waiting = defaultdict(list)
        for position, index in enumerate(self.sampler):
            group = 0 if self.group_ids is None else int(self.group_ids[index])
            waiting[group].append((position, index))
            if len(waiting[group]) == self.batch_size:
                yield waiting.pop(group)
        if not self.drop_last:
            yield from waiting.values()


class QuietLoader(DataLoader):
    """A DataLoader of as many workers as DATALOADER.NUM_WORKERS says.

    torch warns of every loader with more workers than cores, twice. The number is the user's, and workers that wait
    for a disk need no core.
    """

    def check_worker_number_rationality(self) -> None:
        pass


class TrainLoader(QuietLoader):
    """Batches of a map-style data set; skipping decodes nothing."""

    def __init__(self, dataset: Any, *, batch_sampler: SeededBatchSampler, **kwargs: Any):
        self.seed = batch_sampler.seed
        self.start_batch = 0
        super().__init__(SeededDataset(dataset), batch_sampler=batch_sampler, **kwargs)

    def __len__(self) -> int:
        self.batch_sampler.start_batch = self.start_batch
        return super().__len__()

    def __iter__(self) -> Iterator[Any]:
        self.batch_sampler.seed = self.seed
        self.batch_sampler.start_batch = self.start_batch
        with seeded(mix_seed(self.seed)):  # starting workers draws a number, which the model's stream must not feel
            return super().__iter__()


class StreamLoader:
    """Batches of samples whose number or shape is known only once they are made.

    For iterable data sets, and for grouping by aspect ratio where the data set does not tell sizes beforehand (then
    `batch_sampler` makes batches of one and `group` is true). Skipped batches are made and dropped.
    """

    def __init__(
        self,
        dataset: Any,
        *,
        seed: int,
        batch_size: int,
        group: bool,
        batch_sampler: SeededBatchSampler | None = None,
        drop_last: bool = True,
        collate_fn: Callable[[list], Any],
        **kwargs: Any,
    ):
        self.seed = seed
        self.start_batch = 0
        self.batch_size = batch_size
        self.dataset = dataset
        self._group = group
        self._collate = collate_fn
        inner_collate = operator.itemgetter(0) if group else collate_fn
        if isinstance(dataset, IterableDataset):
            self._stream = SeededStream(dataset, comm.get_rank())
            inner_size, drop_last = (1, False) if group else (batch_size, drop_last)
            kwargs.update(batch_size=inner_size, drop_last=drop_last)
            self._samples = QuietLoader(self._stream, collate_fn=inner_collate, **kwargs)
        else:
            self._stream = None
            self._samples = TrainLoader(dataset, batch_sampler=batch_sampler, collate_fn=inner_collate, **kwargs)

    def __iter__(self) -> Iterator[Any]:
        (self._samples if self._stream is None else self._stream).seed = self.seed
        with seeded(mix_seed(self.seed)):
            batches = iter(self._samples)
        if self._group:
            batches = map(self._collate, AspectRatioGroupedDataset(batches, self.batch_size))
        return itertools.islice(batches, self.start_batch, None)
