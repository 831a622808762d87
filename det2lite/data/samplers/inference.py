"""Sampler for evaluation: each rank gets one contiguous piece, and each sample is seen exactly once."""

from collections import Counter
from collections.abc import Iterator, Sequence

from torch.utils.data import Sampler

from det2lite.utils import comm
from det2lite.utils.errors import BadValue


class InferenceSampler(Sampler):
    """The indices of this rank, in order; piece sizes differ by at most one. size: number of samples of all ranks."""

    def __init__(self, size: int):
        if size <= 0:
            raise BadValue("InferenceSampler: the data set has no samples, so there is nothing to evaluate")
        self._size = size
        self._local_indices = self._get_local_indices(size, comm.get_world_size(), comm.get_rank())

    @staticmethod
    def _get_local_indices(total_size: int, world_size: int, rank: int) -> range:
        share, left = divmod(total_size, world_size)
        begin = rank * share + min(rank, left)  # the first `left` ranks take one more
        return range(begin, begin + share + (rank < left))

    def __iter__(self) -> Iterator[int]:
        yield from self._local_indices

    def __len__(self) -> int:
        return len(self._local_indices)


class SameSizeBatchSampler(Sampler):
    """Batches of indices of one size, each index once: a full batch as soon as there is one, the others at the end.

    sampler: indices of this rank. sizes: (height, width) of each sample of the data set. batch_size: at most.
    """

    def __init__(self, sampler: Sampler, sizes: Sequence[tuple[int, int]], batch_size: int):
        self._sampler, self._sizes, self._batch_size = sampler, sizes, batch_size

    def __iter__(self) -> Iterator[list[int]]:
        waiting: dict[tuple[int, int], list[int]] = {}
        for index in self._sampler:
            batch = waiting.setdefault(self._sizes[index], [])
            batch.append(index)
            if len(batch) == self._batch_size:
                yield waiting.pop(self._sizes[index])
        yield from waiting.values()

    def __len__(self) -> int:
        counts = Counter(self._sizes[index] for index in self._sampler)
        return sum(-(-count // self._batch_size) for count in counts.values())
