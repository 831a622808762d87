"""From names of data sets to loaders: gathering and checking samples, then batching them."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, Sampler

from det2lite.config import configurable
from det2lite.data.class_lists import thing_count, with_class_counts
from det2lite.data.common import DatasetFromList, MapDataset, aspect_group
from det2lite.data.dataset_mapper import DatasetMapper
from det2lite.data.datasets.register_coco import register_coco_files
from det2lite.data.gather import (
    check_metadata_consistency,
    filter_images_with_few_keypoints,
    filter_images_with_only_crowd_annotations,
    get_detection_dataset_dicts,
    load_proposals_into_dataset,
    print_instances_class_histogram,
)
from det2lite.data.preflight.samples import stop_on_samples
from det2lite.data.preflight.truth import stop_on_missing_truth
from det2lite.data.sample_store import stored_rows
from det2lite.data.samplers import (
    InferenceSampler,
    RandomSubsetTrainingSampler,
    RepeatFactorTrainingSampler,
    SameSizeBatchSampler,
    TrainingSampler,
)
from det2lite.data.train_loader import QuietLoader, SeededBatchSampler, StreamLoader, TrainLoader
from det2lite.utils import comm
from det2lite.utils.device import resolve_device
from det2lite.utils.env import seed_all_rng
from det2lite.utils.errors import BadValue, close_names

logger = logging.getLogger(__name__)

__all__ = [
    "build_batch_data_loader",
    "build_detection_train_loader",
    "build_detection_test_loader",
    "get_detection_dataset_dicts",
    "load_proposals_into_dataset",
    "print_instances_class_histogram",
    "check_metadata_consistency",
    "filter_images_with_few_keypoints",
    "filter_images_with_only_crowd_annotations",
    "trivial_batch_collator",
    "worker_init_reset_seed",
]

Collate = Callable[[list], Any]


def trivial_batch_collator(batch: list) -> list:
    """The batch as the list of samples that it is."""
    return batch


def worker_init_reset_seed(worker_id: int) -> None:
    """Gives a worker process random numbers of its own for whatever is not seeded per sample."""
    seed_all_rng(torch.initial_seed() % 2**31 + worker_id)


def _batch_size_of_rank(total: int | None, single: int | None) -> int:
    if single:
        if total:
            raise BadValue("give total_batch_size or single_gpu_batch_size, not both")
        return single
    world_size = comm.get_world_size()
    if isinstance(total, str):
        raise BadValue(
            f"SOLVER.IMS_PER_BATCH {total!r} is no number yet: det2lite.engine.auto_batch.resolve_batch_size finds it,"
            " as DefaultTrainer does"
        )
    if not total or total < 0 or total % world_size:
        raise BadValue(
            f"total batch size {total} cannot be shared by {world_size} processes; set SOLVER.IMS_PER_BATCH to a"
            f" multiple of {world_size}"
        )
    return total // world_size


def _known_sizes(dataset: Any) -> list[tuple[int, int]] | None:
    """(height, width) of each sample of a list of dicts; None where sizes are not known beforehand."""
    if not isinstance(dataset, (list, tuple, DatasetFromList)):
        return None
    rows = stored_rows(dataset)
    if rows is not None:
        return list(zip(rows.column("height").tolist(), rows.column("width").tolist(), strict=True))
    sizes = []
    for i in range(len(dataset)):
        sample = dataset[i]
        if not isinstance(sample, dict) or "width" not in sample or "height" not in sample:
            return None
        sizes.append((sample["height"], sample["width"]))
    return sizes


def _known_groups(dataset: Any) -> np.ndarray | None:
    """The aspect group of each sample of a list of dicts, (size,) uint8; None where sizes are not known beforehand."""
    sizes = _known_sizes(dataset)
    if sizes is None:
        return None
    return np.array([aspect_group(width, height) for height, width in sizes], dtype=np.uint8)


def build_batch_data_loader(
    dataset: Any,
    sampler: Sampler | None,
    total_batch_size: int | None,
    *,
    aspect_ratio_grouping: bool = False,
    num_workers: int = 0,
    collate_fn: Collate | None = None,
    drop_last: bool = True,
    single_gpu_batch_size: int | None = None,
    prefetch_factor: int | None = 2,
    persistent_workers: bool = False,
    pin_memory: bool = False,
    seed: int | None = None,
    group_ids: Sequence[int] | None = None,
    **kwargs: Any,
) -> TrainLoader | StreamLoader:
    """A loader of batches that are a function of its `seed` and of their position.

    dataset: map-style, or iterable (then without sampler). total_batch_size: over all ranks; or single_gpu_batch_size,
    of each. aspect_ratio_grouping: batches of only landscape or only portrait images; samples are then dicts with
    "width" and "height". seed: drawn and shared by all ranks where it is not given. group_ids: (size,) group of each
    sample, where known beforehand. prefetch_factor, persistent_workers, pin_memory and kwargs are DataLoader's.

    The loader's `seed` and `start_batch` can be set before an iteration: see `det2lite.data.train_loader`.
    """
    batch_size = _batch_size_of_rank(total_batch_size, single_gpu_batch_size)
    if seed is None:
        drawn = getattr(sampler, "seed", None)  # the sampler has drawn one that all ranks know
        seed = drawn if isinstance(drawn, int) else comm.shared_random_seed()
    kwargs.update(
        num_workers=num_workers,
        collate_fn=collate_fn or trivial_batch_collator,
        pin_memory=pin_memory,
        worker_init_fn=kwargs.get("worker_init_fn", worker_init_reset_seed),
        prefetch_factor=prefetch_factor if num_workers > 0 else None,
        persistent_workers=persistent_workers and num_workers > 0,
    )
    stream = dict(seed=int(seed), batch_size=batch_size, group=aspect_ratio_grouping, drop_last=drop_last)
    if isinstance(dataset, IterableDataset):
        if sampler is not None:
            raise BadValue("an iterable data set decides its own order: it takes no sampler")
        return StreamLoader(dataset, **stream, **kwargs)
    if sampler is None:
        raise BadValue("a map-style data set needs a sampler to be loaded in batches")
    group_after_loading = aspect_ratio_grouping and group_ids is None
    batch_sampler = SeededBatchSampler(
        sampler=sampler,
        batch_size=1 if group_after_loading else batch_size,
        seed=int(seed),
        group_ids=group_ids if aspect_ratio_grouping else None,
        drop_last=drop_last,
    )
    if group_after_loading:
        return StreamLoader(dataset, batch_sampler=batch_sampler, **stream, **kwargs)
    return TrainLoader(dataset, batch_sampler=batch_sampler, **kwargs)


def _repeat_factor_sampler(cfg, dataset: Any) -> RepeatFactorTrainingSampler:
    factors = RepeatFactorTrainingSampler.repeat_factors_from_category_frequency(
        dataset, cfg.DATALOADER.REPEAT_THRESHOLD, sqrt=cfg.DATALOADER.get("REPEAT_SQRT", True)
    )
    return RepeatFactorTrainingSampler(factors)


_TRAIN_SAMPLERS = {
    "TrainingSampler": lambda cfg, dataset: TrainingSampler(len(dataset)),
    "RepeatFactorTrainingSampler": _repeat_factor_sampler,
    "RandomSubsetTrainingSampler": lambda cfg, dataset: RandomSubsetTrainingSampler(
        len(dataset), cfg.DATALOADER.get("RANDOM_SUBSET_RATIO", 1.0)
    ),
}


def _train_loader_from_config(cfg, mapper=None, *, dataset=None, sampler=None) -> dict[str, Any]:
    if dataset is None:
        register_coco_files(cfg.DATASETS.REGISTER)
        dataset = get_detection_dataset_dicts(
            cfg.DATASETS.TRAIN,
            filter_empty=cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS,
            min_keypoints=cfg.MODEL.ROI_KEYPOINT_HEAD.MIN_KEYPOINTS_PER_IMAGE if cfg.MODEL.KEYPOINT_ON else 0,
            proposal_files=cfg.DATASETS.PROPOSAL_FILES_TRAIN if cfg.MODEL.LOAD_PROPOSALS else None,
        )
    if mapper is None:
        counted = thing_count(with_class_counts(cfg))
        stop_on_samples(
            cfg.DATASETS.TRAIN,
            dataset,
            learns=True,
            masks=cfg.MODEL.MASK_ON,
            keypoints=cfg.MODEL.KEYPOINT_ON,
            class_count=counted and counted[1],
        )
        stop_on_missing_truth(cfg.DATASETS.TRAIN, dataset, cfg.MODEL.META_ARCHITECTURE)
        mapper = DatasetMapper(cfg, True)
    if sampler is None and not isinstance(dataset, IterableDataset):
        name = cfg.DATALOADER.SAMPLER_TRAIN
        if name not in _TRAIN_SAMPLERS:
            raise BadValue(f"DATALOADER.SAMPLER_TRAIN: no sampler {name!r}{close_names(name, _TRAIN_SAMPLERS)}")
        logger.info("training samples are drawn by %s", name)
        sampler = _TRAIN_SAMPLERS[name](cfg, dataset)
    return {
        "dataset": dataset,
        "sampler": sampler,
        "mapper": mapper,
        "total_batch_size": cfg.SOLVER.IMS_PER_BATCH,
        "aspect_ratio_grouping": cfg.DATALOADER.ASPECT_RATIO_GROUPING,
        "num_workers": cfg.DATALOADER.NUM_WORKERS,
        "seed": cfg.SEED if cfg.SEED >= 0 else None,
        # from pinned memory images reach a GPU while it computes
        "pin_memory": torch.cuda.is_available() and resolve_device(cfg.MODEL.DEVICE).startswith("cuda"),
    }


@configurable(from_config=_train_loader_from_config)
def build_detection_train_loader(
    dataset: list | Dataset,
    *,
    mapper: Callable[[dict], Any] | None,
    sampler: Sampler | None = None,
    total_batch_size: int | None,
    aspect_ratio_grouping: bool = True,
    num_workers: int = 0,
    collate_fn: Collate | None = None,
    **kwargs: Any,
) -> TrainLoader | StreamLoader:
    """The endless loader of a training run, from a config or from its parts.

    dataset: list of dicts, or a torch data set. mapper: from a sample to what the model takes; None leaves it as it
    is. sampler: of the indices of this rank; all samples, shuffled, where it is None. total_batch_size: over all ranks.
    kwargs: as in `build_batch_data_loader`. Returns a loader of lists of samples, with `seed` and `start_batch`.
    """
    group_ids = _known_groups(dataset) if aspect_ratio_grouping else None
    if isinstance(dataset, list):
        dataset = DatasetFromList(dataset, copy=False)
    if mapper is not None:
        dataset = MapDataset(dataset, mapper)
    if sampler is None and not isinstance(dataset, IterableDataset):
        sampler = TrainingSampler(len(dataset))
    return build_batch_data_loader(
        dataset,
        sampler,
        total_batch_size,
        aspect_ratio_grouping=aspect_ratio_grouping,
        num_workers=num_workers,
        collate_fn=collate_fn,
        **{"group_ids": group_ids, **kwargs},
    )


def _test_loader_from_config(cfg, dataset_name: str | Sequence[str], mapper=None) -> dict[str, Any]:
    names = [dataset_name] if isinstance(dataset_name, str) else list(dataset_name)
    register_coco_files(cfg.DATASETS.REGISTER)
    proposal_files = None
    if cfg.MODEL.LOAD_PROPOSALS:
        proposal_files = [cfg.DATASETS.PROPOSAL_FILES_TEST[list(cfg.DATASETS.TEST).index(name)] for name in names]
    dataset = get_detection_dataset_dicts(names, filter_empty=False, proposal_files=proposal_files)
    if mapper is None:
        stop_on_samples(names, dataset, learns=False)
    return {
        "dataset": dataset,
        "mapper": DatasetMapper(cfg, False) if mapper is None else mapper,
        "batch_size": cfg.TEST.BATCH_SIZE,
        "same_size_batches": cfg.TEST.BATCH_SIZE > 1,
        "num_workers": cfg.DATALOADER.NUM_WORKERS,
        "sampler": None if isinstance(dataset, IterableDataset) else InferenceSampler(len(dataset)),
    }


@configurable(from_config=_test_loader_from_config)
def build_detection_test_loader(
    dataset: list | Dataset,
    *,
    mapper: Callable[[dict], Any] | None,
    sampler: Sampler | None = None,
    batch_size: int = 1,
    num_workers: int = 0,
    collate_fn: Collate | None = None,
    same_size_batches: bool = False,
) -> DataLoader:
    """A loader that shows each sample once, in order, in pieces over the ranks; from a config or from its parts.

    dataset, mapper and sampler as for training; by default the sampler is `InferenceSampler`. batch_size: of each
    rank; the last batch may be smaller. same_size_batches: a batch is of images of one size, so that no image is
    padded because of another, and samples come in another order; TEST.BATCH_SIZE asks for it. Returns a DataLoader
    of lists of samples.
    """
    if batch_size < 1:
        raise BadValue(f"a test batch of {batch_size} images cannot be; set TEST.BATCH_SIZE to 1 or more")
    sizes = _known_sizes(dataset) if same_size_batches and batch_size > 1 else None
    if isinstance(dataset, list):
        dataset = DatasetFromList(dataset, copy=False)
    if mapper is not None:
        dataset = MapDataset(dataset, mapper)
    if isinstance(dataset, IterableDataset):
        if sampler is not None:
            raise BadValue("an iterable data set decides its own order: it takes no sampler")
    elif sampler is None:
        sampler = InferenceSampler(len(dataset))
    if sizes is None:
        batches = {"batch_size": batch_size, "sampler": sampler, "drop_last": False}
    else:
        batches = {"batch_sampler": SameSizeBatchSampler(sampler, sizes, batch_size)}
    return QuietLoader(
        dataset,
        **batches,
        num_workers=num_workers,
        collate_fn=collate_fn or trivial_batch_collator,
    )
