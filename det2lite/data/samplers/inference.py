"""Sampler for evaluation: each rank gets one contiguous piece, and each sample is seen exactly once."""

from collections.abc import Iterator

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
