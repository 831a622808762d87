"""Data sets made of other data sets: mapped, serialized into one shared buffer, turned into streams, grouped."""

import copy
import logging
import pickle
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, IterableDataset, Sampler, get_worker_info

from det2lite.data.sample_store import stored_rows
from det2lite.utils.errors import BadValue, UserError
from det2lite.utils.serialize import PicklableWrapper

logger = logging.getLogger(__name__)

__all__ = ["MapDataset", "DatasetFromList", "AspectRatioGroupedDataset", "ToIterableDataset"]

MAX_FALLBACKS = 1000  # samples refused in a row after which the mapper, not chance, is at fault


class MapDataset(Dataset):
    """Applies `map_func` to the samples of a data set; a sample that it maps to None is replaced by another one.

    The replacement is drawn from a seed that depends on the index alone, so that the same index always gives the same
    sample. Over an iterable data set this is an iterable data set, and None is left out.
    """

    def __new__(cls, dataset: Dataset, map_func: Callable[[Any], Any]):
        if isinstance(dataset, IterableDataset):
            return _MapIterableDataset(dataset, map_func)
        return super().__new__(cls)

    def __init__(self, dataset: Dataset, map_func: Callable[[Any], Any]):
        self._dataset = dataset
        self._map_func = PicklableWrapper(map_func)  # worker processes may have to unpickle lambdas

    def __getnewargs__(self) -> tuple:
        return self._dataset, self._map_func

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> Any:
        sample = self._map_func(self._dataset[index])
        if sample is not None:
            return sample
        others = random.Random(getattr(index, "sample_seed", int(index)))
        for tries in range(1, MAX_FALLBACKS + 1):
            sample = self._map_func(self._dataset[others.randrange(len(self))])
            if sample is not None:
                return sample
            if tries in (3, 30, 300):
                logger.warning("the mapper refused sample %d and %d others drawn in its place", index, tries)
        raise UserError(
            f"the mapper returned None for sample {int(index)} and {MAX_FALLBACKS} others drawn in its place; does it "
            "refuse every sample of this data set?"
        )


class _MapIterableDataset(IterableDataset):
    """The samples of a stream that `map_func` does not map to None."""

    def __init__(self, dataset: IterableDataset, map_func: Callable[[Any], Any]):
        self._dataset = dataset
        self._map_func = PicklableWrapper(map_func)

    def __len__(self) -> int:
        return len(self._dataset)

    def __iter__(self) -> Iterator[Any]:
        for sample in map(self._map_func, self._dataset):
            if sample is not None:
                yield sample


class SerializedList(Sequence):
    """A list kept as one flat buffer of pickles, which worker processes share instead of copying.

    A Python list of dicts is copied page by page into every worker, because reading an object writes its reference
    count. One torch tensor has one count, and goes through shared memory where processes do not fork.
    """

    def __init__(self, items: Sequence[Any]):
        buffers = [np.frombuffer(pickle.dumps(item, protocol=-1), dtype=np.uint8) for item in items]
        ends = np.cumsum([len(buffer) for buffer in buffers], dtype=np.int64)
        self._ends = torch.from_numpy(ends)
        self._bytes = torch.from_numpy(np.concatenate(buffers) if buffers else np.zeros(0, dtype=np.uint8))
        if buffers:
            logger.info("serialized %d samples into %.2f MiB", len(ends), self._bytes.numel() / 2**20)

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, index: int) -> Any:
        index = range(len(self))[index]  # negative indices and IndexError as in a list
        start = 0 if index == 0 else int(self._ends[index - 1])
        return pickle.loads(memoryview(self._bytes[start : int(self._ends[index])].numpy()))


NumpySerializedList = TorchSerializedList = _TorchSerializedList = SerializedList  # its names in Detectron2

_default_serialize: Callable[[Sequence[Any]], Sequence[Any]] = SerializedList


@contextmanager
def set_default_dataset_from_list_serialize_method(func: Callable[[Sequence[Any]], Sequence[Any]]) -> Iterator[None]:
    """Inside, `DatasetFromList(serialize=True)` keeps its samples as `func(list)` does."""
    global _default_serialize
    previous, _default_serialize = _default_serialize, func
    try:
        yield
    finally:
        _default_serialize = previous


class DatasetFromList(Dataset):
    """A list as a data set.

    lst: the samples. copy: whether a sample is a deep copy, so that changing it in place does no harm; needed only
    where it is not serialized. serialize: keep the samples as pickles in one shared buffer, or a function from the
    list to what holds it.
    """

    def __init__(self, lst: list, copy: bool = True, serialize: bool | Callable = True):
        self._copy = copy
        self._serialized = bool(serialize)
        if callable(serialize):
            self._samples = serialize(lst)
        elif serialize and _default_serialize is SerializedList and stored_rows(lst) is not None:
            self._samples = stored_rows(lst)
        else:
            self._samples = _default_serialize(lst) if serialize else lst

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> Any:
        sample = self._samples[index]
        return copy.deepcopy(sample) if self._copy and not self._serialized else sample


class ToIterableDataset(IterableDataset):
    """A map-style data set read in the order of a sampler, as a stream.

    shard_sampler: give each worker process its part of the sampler's stream; without it each repeats the whole.
    shard_chunk_size: how many consecutive indices a worker takes; a batch size, so that workers make whole batches.
    """

    def __init__(self, dataset: Dataset, sampler: Sampler, shard_sampler: bool = True, shard_chunk_size: int = 1):
        if isinstance(dataset, IterableDataset):
            raise BadValue("ToIterableDataset: the data set is a stream already")
        if not isinstance(sampler, Sampler):
            raise BadValue(f"ToIterableDataset: sampler must be a torch Sampler, not {type(sampler).__name__}")
        self.dataset = dataset
        self.sampler = sampler
        self.shard_sampler = shard_sampler
        self.shard_chunk_size = shard_chunk_size

    def __iter__(self) -> Iterator[Any]:
        worker = get_worker_info() if self.shard_sampler else None
        indices = iter(self.sampler)
        if worker is not None and worker.num_workers > 1:
            indices = _every_nth_chunk(indices, worker.id, worker.num_workers, self.shard_chunk_size)
        for index in indices:
            yield self.dataset[index]

    def __len__(self) -> int:
        return len(self.sampler)


def _every_nth_chunk(items: Iterator[Any], which: int, count: int, size: int) -> Iterator[Any]:
    """The chunks number which, which + count, ... of a stream cut into chunks of `size`."""
    for position, item in enumerate(items):
        if position // size % count == which:
            yield item


def aspect_group(width: float, height: float) -> int:
    """0 for landscape images, 1 for portrait and square ones: images of one group pad each other little."""
    return 0 if width > height else 1


class AspectRatioGroupedDataset(IterableDataset):
    """Batches of landscape or of portrait images from a stream of dicts that know their "width" and "height".

    At the end of the stream, batches that are not full are dropped.
    """

    def __init__(self, dataset: Any, batch_size: int):
        self.dataset = dataset
        self.batch_size = batch_size

    def __iter__(self) -> Iterator[list[dict]]:
        waiting: tuple[list[dict], list[dict]] = [], []
        for sample in self.dataset:
            batch = waiting[aspect_group(sample["width"], sample["height"])]
            batch.append(sample)
            if len(batch) == self.batch_size:
                yield batch.copy()
                batch.clear()
