"""Samplers for training: endless streams of indices that depend only on a seed, strided over the ranks."""

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch.utils.data import Sampler

from det2lite.data.sample_store import SampleRows, stored_rows
from det2lite.utils import comm
from det2lite.utils.errors import BadValue


class _SeededSampler(Sampler):
    """An endless stream that all ranks know; rank r of W takes the items r, r + W, r + 2W, ...

    Without a seed one is drawn that all ranks share; `follow(seed)` then replaces it, so that a loader which knows the
    seed of an earlier run repeats that run's order. A seed given by the caller stays.
    """

    def __init__(self, shuffle: bool, seed: int | None):
        self._shuffle = shuffle
        self._seed_is_drawn = seed is None
        self._seed = int(comm.shared_random_seed() if seed is None else seed)
        self._rank = comm.get_rank()
        self._world_size = comm.get_world_size()

    @property
    def seed(self) -> int:
        return self._seed

    def follow(self, seed: int) -> None:
        """Takes `seed` for the next iterations, unless the caller chose one."""
        if self._seed_is_drawn:
            self._seed = int(seed)

    def __iter__(self) -> Iterator[int]:
        return itertools.islice(self._infinite_indices(), self._rank, None, self._world_size)

    def _infinite_indices(self) -> Iterator[int]:
        generator = torch.Generator()
        generator.manual_seed(self._seed)
        while True:
            indices = self._epoch_indices(generator)
            if self._shuffle:
                indices = indices[torch.randperm(len(indices), generator=generator)]
            yield from indices.tolist()

    def _epoch_indices(self, generator: torch.Generator) -> torch.Tensor:
        raise NotImplementedError


def _checked_size(size: int, owner: object) -> int:
    if not isinstance(size, int):
        raise TypeError(f"{type(owner).__name__}: size is the number of samples, an int, not {type(size).__name__}")
    if size <= 0:
        raise BadValue(f"{type(owner).__name__}: a data set of {size} samples cannot be sampled from")
    return size


class TrainingSampler(_SeededSampler):
    """All indices below `size` in a new random order each epoch, without end."""

    def __init__(self, size: int, shuffle: bool = True, seed: int | None = None):
        self._size = _checked_size(size, self)
        super().__init__(shuffle, seed)

    def _epoch_indices(self, generator: torch.Generator) -> torch.Tensor:
        return torch.arange(self._size)


class RandomSubsetTrainingSampler(TrainingSampler):
    """A random share of the data set, the same in each epoch, in a new order each epoch.

    subset_ratio: share of the samples to keep, in (0, 1]. The subset and the order have seeds of their own.
    """

    def __init__(
        self,
        size: int,
        subset_ratio: float,
        shuffle: bool = True,
        seed_shuffle: int | None = None,
        seed_subset: int | None = None,
    ):
        super().__init__(size, shuffle, seed_shuffle)
        if not 0.0 < subset_ratio <= 1.0:
            raise BadValue(f"RandomSubsetTrainingSampler: subset_ratio {subset_ratio} is not in (0, 1]")
        self._size_subset = int(size * subset_ratio)
        if self._size_subset == 0:
            raise BadValue(f"RandomSubsetTrainingSampler: {subset_ratio} of {size} samples is none; raise subset_ratio")
        self._subset_is_drawn = seed_subset is None
        self._seed_subset = self._seed if seed_subset is None else int(seed_subset)

    def follow(self, seed: int) -> None:
        super().follow(seed)
        if self._subset_is_drawn:
            self._seed_subset = int(seed)

    def _epoch_indices(self, generator: torch.Generator) -> torch.Tensor:
        own = torch.Generator()
        own.manual_seed(self._seed_subset)
        return torch.randperm(self._size, generator=own)[: self._size_subset]


class RepeatFactorTrainingSampler(_SeededSampler):
    """Repeats each sample `repeat_factors[i]` times an epoch on average; the fraction is rounded at random per epoch.

    repeat_factors: (size,) float. Sec. B.2 of LVIS, arXiv 1908.03195.
    """

    def __init__(self, repeat_factors: torch.Tensor, *, shuffle: bool = True, seed: int | None = None):
        super().__init__(shuffle, seed)
        repeat_factors = torch.as_tensor(repeat_factors, dtype=torch.float32)
        usable = (repeat_factors >= 0) & repeat_factors.isfinite()
        if not len(usable) or not bool(usable.all()):
            raise BadValue("RepeatFactorTrainingSampler: repeat_factors must be finite, not negative, and one a sample")
        if not bool((repeat_factors > 0).any()):
            raise BadValue("RepeatFactorTrainingSampler: all repeat_factors are 0, so there is nothing to sample")
        self._int_part = torch.trunc(repeat_factors)
        self._frac_part = repeat_factors - self._int_part

    def _epoch_indices(self, generator: torch.Generator) -> torch.Tensor:
        rounded_up = torch.rand(len(self._frac_part), generator=generator) < self._frac_part
        repeats = (self._int_part + rounded_up).long()
        return torch.repeat_interleave(torch.arange(len(repeats)), repeats)

    @staticmethod
    def repeat_factors_from_category_frequency(
        dataset_dicts: list[dict], repeat_thresh: float, sqrt: bool = True
    ) -> torch.Tensor:
        """Factor of each image by its rarest category c: max(1, (repeat_thresh / f(c)) ** 0.5), f the share of images.

        sqrt: without it the exponent is 1. Images without annotations get 1. Returns (len(dataset_dicts),) float32.
        """
        rows, exponent = stored_rows(dataset_dicts), 0.5 if sqrt else 1.0
        if rows is not None:
            return _repeat_factors_of_rows(rows, repeat_thresh, exponent)
        categories = [{ann["category_id"] for ann in d["annotations"]} for d in dataset_dicts]
        return _repeat_factors(categories, repeat_thresh, exponent)

    @staticmethod
    def repeat_factors_from_tag_frequency(
        dataset_dicts: list[dict], repeat_thresh: float, sqrt: bool = True
    ) -> torch.Tensor:
        """As by category, by what stands in the image's own "tags" (a string or several; none where it is absent)."""
        tags = [d.get("tags", ()) for d in dataset_dicts]
        tags = [{t} if isinstance(t, str) else set(t) for t in tags]
        return _repeat_factors(tags, repeat_thresh, 0.5 if sqrt else 1.0)


def _repeat_factors_of_rows(rows: SampleRows, threshold: float, exponent: float) -> torch.Tensor:
    """As `_repeat_factors` of each sample's categories, without making the samples."""
    columns = rows.annotations(crowds=True)
    labels, which = np.unique(columns.label, return_inverse=True)
    images, which = np.divmod(np.unique(columns.sample * len(labels) + which), max(len(labels), 1))
    counts = np.bincount(which, minlength=len(labels)).tolist()
    factor = [max(1.0, math.pow(threshold * len(rows) / count, exponent)) for count in counts]
    factors = np.ones(len(rows))
    np.maximum.at(factors, images, np.array(factor)[which])
    return torch.tensor(factors, dtype=torch.float32)


def _repeat_factors(labels_per_image: Iterable[set], threshold: float, exponent: float) -> torch.Tensor:
    labels_per_image = list(labels_per_image)
    images_with = Counter(itertools.chain.from_iterable(labels_per_image))
    factor = {
        label: max(1.0, math.pow(threshold * len(labels_per_image) / count, exponent))
        for label, count in images_with.items()
    }
    return torch.tensor(
        [max((factor[label] for label in labels), default=1.0) for labels in labels_per_image], dtype=torch.float32
    )
