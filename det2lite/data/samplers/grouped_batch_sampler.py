"""Batches whose samples belong to one group, such as images of one orientation."""

from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence

from torch.utils.data import BatchSampler, Sampler

from det2lite.utils.errors import BadValue


class GroupedBatchSampler(BatchSampler):
    """Batches of `batch_size` indices of one group, in the order in which groups fill up.

    sampler: stream of indices. group_ids: the group of each index. What remains unfilled at the end of the stream is
    dropped.
    """

    def __init__(self, sampler: Sampler, group_ids: Sequence[Hashable], batch_size: int):
        if not isinstance(sampler, Sampler):
            raise BadValue(f"GroupedBatchSampler: sampler must be a torch Sampler, not {type(sampler).__name__}")
        if batch_size <= 0:
            raise BadValue(f"GroupedBatchSampler: a batch of {batch_size} samples cannot be made")
        super().__init__(sampler, batch_size, drop_last=True)
        self.group_ids = group_ids

    def __iter__(self) -> Iterator[list[int]]:
        waiting = defaultdict(list)
        for index in self.sampler:
            batch = waiting[self.group_ids[index]]
            batch.append(index)
            if len(batch) == self.batch_size:
                yield batch.copy()
                batch.clear()

    def __len__(self) -> int:
        raise NotImplementedError("how many batches are full is known only after going through the sampler")
