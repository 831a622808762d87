import itertools
import pickle
import random

import numpy as np
import pytest
import torch
from torch.utils.data import ConcatDataset, Dataset, IterableDataset

from det2lite.config import get_cfg
from det2lite.data.build import (
    build_batch_data_loader,
    build_detection_test_loader,
    build_detection_train_loader,
    get_detection_dataset_dicts,
    trivial_batch_collator,
)
from det2lite.data.common import DatasetFromList, ToIterableDataset
from det2lite.data.samplers import InferenceSampler, RandomSubsetTrainingSampler, TrainingSampler
from det2lite.data.seeding import SampleIndex, mix_seed, seeded
from det2lite.structures import BoxMode
from det2lite.utils.errors import BadValue


def sample(i):
    size = (20, 10) if i % 3 else (10, 20)
    return {
        "file_name": f"{i}.jpg",
        "image_id": i,
        "width": size[0],
        "height": size[1],
        "annotations": [{"bbox": [0, 0, 1, 1], "bbox_mode": BoxMode.XYXY_ABS, "category_id": 0}],
    }


SAMPLES = [sample(i) for i in range(17)]


def augment(d):
    """A mapper that draws from every generator an augmentation may use, and refuses a sample."""
    if d["image_id"] == 5:
        return None
    return {
        "id": d["image_id"],
        "width": d["width"],
        "height": d["height"],
        "drawn": (random.random(), np.random.rand(), torch.rand(3)),
    }


def train_loader(dataset=SAMPLES, **kwargs):
    kwargs = {"mapper": augment, "total_batch_size": 2, "seed": 11} | kwargs
    return build_detection_train_loader(dataset, **kwargs)


def take(loader, count):
    """Batches as bytes, so that equality is of every bit."""
    batches = itertools.islice(iter(loader), count)
    return [pickle.dumps([(d["id"], d["drawn"][:2], d["drawn"][2].tolist()) for d in batch]) for batch in batches]


def ids(loader, count):
    return [[d["id"] for d in batch] for batch in itertools.islice(iter(loader), count)]


class WithoutSizes(Dataset):
    """Samples whose sizes only the mapper knows: grouping has to wait for them."""

    def __len__(self):
        return len(SAMPLES)

    def __getitem__(self, i):
        return SAMPLES[i]


class Endless(IterableDataset):
    def __iter__(self):
        return itertools.cycle(SAMPLES)


KINDS = {
    "grouped": {},
    "ungrouped": {"aspect_ratio_grouping": False},
    "grouped after loading": {"dataset": WithoutSizes()},
}


@pytest.mark.parametrize("kind", KINDS)
def test_batches_are_a_function_of_seed_and_position(kind):
    unbroken = take(train_loader(**KINDS[kind]), 12)
    assert len(set(unbroken)) == 12
    in_workers = train_loader(**KINDS[kind], num_workers=2)
    assert take(in_workers, 12) == unbroken
    in_workers.start_batch = 7
    assert take(in_workers, 5) == unbroken[7:]
    resumed = train_loader(**KINDS[kind], seed=99)
    resumed.seed, resumed.start_batch = 11, 4
    assert take(resumed, 8) == unbroken[4:]
    assert take(pickle.loads(pickle.dumps(resumed)), 8) == unbroken[4:]
    resumed.start_batch = 0
    assert take(resumed, 12) == unbroken
    assert take(train_loader(**KINDS[kind], seed=12), 12) != unbroken


@pytest.mark.parametrize("grouping", [True, False])
def test_streams_resume_too(grouping):
    unbroken = take(train_loader(Endless(), aspect_ratio_grouping=grouping), 8)
    assert len(set(unbroken)) == 8
    resumed = train_loader(Endless(), aspect_ratio_grouping=grouping, seed=5)
    resumed.seed, resumed.start_batch = 11, 3
    assert take(resumed, 5) == unbroken[3:]


def test_persistent_workers_read_the_start_again():
    unbroken = take(train_loader(), 6)
    loader = train_loader(num_workers=1, persistent_workers=True, prefetch_factor=1)
    assert take(loader, 2) == unbroken[:2]
    loader.start_batch = 2
    assert take(loader, 4) == unbroken[2:]


@pytest.mark.parametrize("num_workers", [0, 1])
def test_loading_leaves_the_model_its_random_numbers(num_workers):
    def draw():
        return random.random(), np.random.rand(), torch.rand(2).tolist()

    with seeded(3):
        expected = draw(), draw()
    loader = train_loader(num_workers=num_workers)
    with seeded(3):
        batches = iter(loader)
        first = draw()
        next(batches)
        assert (first, draw()) == expected


def test_seed_is_drawn_once_and_repeats_the_run():
    loader = build_detection_train_loader(SAMPLES, mapper=augment, total_batch_size=2)
    again = build_detection_train_loader(SAMPLES, mapper=augment, total_batch_size=2)
    assert isinstance(loader.seed, int) and loader.seed != again.seed
    again.seed = loader.seed
    assert take(again, 6) == take(loader, 6) == take(loader, 6)


def test_sampler_with_a_seed_of_its_own_keeps_its_order():
    order = list(itertools.islice(TrainingSampler(17, seed=4), 10))
    loader = train_loader(sampler=TrainingSampler(17, seed=4), aspect_ratio_grouping=False, mapper=None)
    assert [d["image_id"] for batch in itertools.islice(loader, 5) for d in batch] == order


def test_ranks_draw_differently(monkeypatch):
    from det2lite.utils import comm

    same_order = {"sampler": InferenceSampler(17), "aspect_ratio_grouping": False}
    first = take(train_loader(**same_order), 2)
    monkeypatch.setattr(comm, "get_rank", lambda: 1)
    assert take(train_loader(**same_order), 2) != first


def test_grouped_batches_have_one_orientation_and_miss_no_sample():
    loader = train_loader(mapper=None)
    batches = list(itertools.islice(loader, 40))
    assert all(len({d["width"] > d["height"] for d in batch}) == 1 for batch in batches)
    assert {d["image_id"] for batch in batches for d in batch} == set(range(17))


def test_skipping_maps_nothing():
    mapped = []
    loader = train_loader(mapper=lambda d: mapped.append(d) or augment(d) or {"id": 5, "drawn": (0, 0, torch.ones(1))})
    loader.start_batch = 1000
    take(loader, 1)
    assert len(mapped) == 2


def test_sample_index_and_seeds():
    index = pickle.loads(pickle.dumps(SampleIndex(3, 2**62)))
    assert index == 3 and "abcd"[index] == "d" and index.sample_seed == 2**62
    assert mix_seed(1, 2, 3) != mix_seed(1, 3, 2) != mix_seed(12, 3)
    assert 0 <= mix_seed(2**63, -1) < 2**63
    with seeded(5):
        a = torch.rand(1)
    with seeded(5):
        assert torch.equal(torch.rand(1), a)


def test_batch_loader_for_inference():
    loader = build_batch_data_loader(DatasetFromList(list(range(21))), InferenceSampler(21), 4, num_workers=2)
    assert list(loader) == [list(range(i, i + 4)) for i in range(0, 20, 4)] and len(loader) == 5
    loader = build_batch_data_loader(range(21), InferenceSampler(21), 4, drop_last=False)
    assert list(loader)[-1] == [20] and len(loader) == 6
    loader.start_batch = 4
    assert list(loader) == [[16, 17, 18, 19], [20]] and len(loader) == 2


def test_batch_sizes(monkeypatch):
    from det2lite.utils import comm

    def first(total, **kwargs):
        return next(iter(build_batch_data_loader(range(9), InferenceSampler(9), total, seed=0, **kwargs)))

    assert first(None, single_gpu_batch_size=3) == [0, 1, 2]
    assert first(2, collate_fn=sum) == 1
    for wrong in ({"total": 2, "single_gpu_batch_size": 2}, {"total": 0}, {"total": None}):
        with pytest.raises(BadValue):
            first(**wrong)
    monkeypatch.setattr(comm, "get_world_size", lambda: 2)
    with pytest.raises(BadValue, match="total batch size 3 cannot be shared by 2"):
        first(3)
    assert len(first(4)) == 2


def test_options_reach_the_data_loader():
    loader = train_loader(num_workers=1, prefetch_factor=5, pin_memory=True, persistent_workers=True, timeout=7)
    assert (loader.prefetch_factor, loader.pin_memory, loader.persistent_workers, loader.timeout) == (5, True, True, 7)
    assert train_loader(prefetch_factor=5, persistent_workers=True).persistent_workers is False


def test_train_loader_refuses_a_sampler_for_a_stream():
    with pytest.raises(BadValue, match="sampler"):
        train_loader(Endless(), sampler=TrainingSampler(3))
    with pytest.raises(BadValue, match="sampler"):
        build_batch_data_loader(range(3), None, 1)


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("stream", [False, True])
def test_test_loader_shows_each_sample_once(num_workers, stream):
    dataset = DatasetFromList(list(range(10)))
    sampler = InferenceSampler(10)
    if stream:
        dataset, sampler = ToIterableDataset(dataset, sampler), None
    loader = build_detection_test_loader(
        dataset, mapper=lambda x: x, sampler=sampler, batch_size=4, num_workers=num_workers
    )
    batches = list(loader)
    assert sorted(itertools.chain.from_iterable(batches)) == list(range(10))
    assert max(map(len, batches)) == 4
    one = build_detection_test_loader(dataset=list(range(3)), mapper=None)
    assert list(one) == [[0], [1], [2]] and len(one) == 3


def test_trivial_collator_keeps_the_list():
    batch = [1, "a"]
    assert trivial_batch_collator(batch) is batch


def config(train="d", **data_loader):
    cfg = get_cfg()
    cfg.DATASETS.TRAIN = (train,)
    cfg.SOLVER.IMS_PER_BATCH = 2
    cfg.DATALOADER.NUM_WORKERS = 0
    for key, value in data_loader.items():
        cfg.DATALOADER[key] = value
    return cfg


def test_loaders_from_a_config(register):
    register("d", SAMPLES, thing_classes=["a"])
    cfg = config()
    cfg.SEED = 11
    loader = build_detection_train_loader(cfg, mapper=augment)
    assert loader.seed == 11 and loader.start_batch == 0
    assert take(loader, 5) == take(train_loader(), 5)
    plain = build_detection_train_loader(cfg, mapper=augment, total_batch_size=3, aspect_ratio_grouping=False)
    assert len(ids(plain, 1)[0]) == 3
    test = build_detection_test_loader(cfg, "d", mapper=lambda d: d["image_id"])
    assert list(test) == [[i] for i in range(17)]
    assert list(build_detection_test_loader(cfg, ["d"], mapper=lambda d: 0, batch_size=17)) == [[0] * 17]


def test_batches_of_a_test_are_of_one_size(register):
    sizes = [(4, 6), (4, 6), (6, 4), (4, 6), (6, 4), (5, 5), (4, 6)]
    samples = [{"file_name": "", "image_id": i, "height": h, "width": w} for i, (h, w) in enumerate(sizes)]
    register("sizes", samples)
    cfg = config()
    cfg.TEST.BATCH_SIZE = 2
    loader = build_detection_test_loader(cfg, "sizes", mapper=lambda d: d["image_id"])
    assert list(loader) == [[0, 1], [2, 4], [3, 6], [5]] and len(loader) == 4
    cfg.TEST.BATCH_SIZE = 0
    with pytest.raises(BadValue, match=r"TEST\.BATCH_SIZE"):
        build_detection_test_loader(cfg, "sizes", mapper=lambda d: d["image_id"])


def test_stream_from_a_config(register):
    register("d", Endless())
    loader = build_detection_train_loader(config(), mapper=augment, aspect_ratio_grouping=False)
    assert len(ids(loader, 1)[0]) == 2
    assert next(iter(build_detection_test_loader(config(), "d", mapper=lambda d: 1))) == [1]


def test_samplers_from_a_config(register):
    register("d", SAMPLES, thing_classes=["a"])
    loader = build_detection_train_loader(
        config(SAMPLER_TRAIN="RepeatFactorTrainingSampler", REPEAT_THRESHOLD=0.5), mapper=augment
    )
    assert take(loader, 3) == take(loader, 3)
    loader = build_detection_train_loader(config(SAMPLER_TRAIN="RandomSubsetTrainingSampler"), mapper=augment)
    assert isinstance(loader.batch_sampler.sampler, RandomSubsetTrainingSampler)
    with pytest.raises(BadValue, match="did you mean 'TrainingSampler'"):
        build_detection_train_loader(config(SAMPLER_TRAIN="TrainngSampler"), mapper=augment)


def test_torch_data_sets(register):
    register("a", WithoutSizes())
    register("b", WithoutSizes())
    register("stream", Endless())
    assert isinstance(get_detection_dataset_dicts("a"), WithoutSizes)
    joined = get_detection_dataset_dicts(["a", "b"])
    assert isinstance(joined, ConcatDataset) and len(joined) == 34
    assert take(train_loader(joined), 2)
    with pytest.raises(BadValue, match="stream"):
        get_detection_dataset_dicts(["a", "stream"])


PINNING = [(True, "auto", True), (True, "cpu", False), (False, "auto", False)]


@pytest.mark.parametrize(("gpu", "device", "pins"), PINNING)
def test_memory_is_pinned_where_the_model_is_on_a_gpu(register, monkeypatch, gpu, device, pins):
    register("d", SAMPLES)
    cfg = config()
    cfg.MODEL.DEVICE = device
    asked = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr("det2lite.data.build.build_batch_data_loader", lambda *_, **kwargs: asked.append(kwargs))
    build_detection_train_loader(cfg, mapper=augment)
    assert asked[0]["pin_memory"] is pins
