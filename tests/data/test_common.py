import itertools
import pickle
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch.utils.data import IterableDataset, get_worker_info

from det2lite.data import common
from det2lite.data.common import (
    AspectRatioGroupedDataset,
    DatasetFromList,
    MapDataset,
    SerializedList,
    ToIterableDataset,
    set_default_dataset_from_list_serialize_method,
)
from det2lite.data.samplers import InferenceSampler
from det2lite.utils.errors import BadValue, UserError


class Stream(IterableDataset):
    def __iter__(self):
        yield from (1, 2, 3)


def test_map_replaces_what_is_refused():
    mapped = MapDataset(DatasetFromList([1, 2, 3]), lambda x: None if x == 2 else x * 2)
    assert len(mapped) == 3 and mapped[0] == 2 and mapped[2] == 6
    assert mapped[1] in (2, 6)
    assert len({mapped[1] for _ in range(10)}) == 1  # the same replacement every time


def test_map_that_refuses_everything_is_an_error(monkeypatch):
    monkeypatch.setattr(common, "MAX_FALLBACKS", 5)
    with pytest.raises(UserError, match="returned None for sample 1"):
        MapDataset([1, 2], lambda x: None)[1]


def test_map_of_a_stream_leaves_out_what_is_refused():
    mapped = MapDataset(Stream(), lambda x: None if x == 2 else x)
    assert isinstance(mapped, IterableDataset)
    assert list(mapped) == list(mapped) == [1, 3]


@pytest.mark.parametrize("dataset", [DatasetFromList([1, 2, 3]), Stream()])
def test_map_survives_pickling_with_a_lambda(dataset):
    mapped = pickle.loads(pickle.dumps(MapDataset(dataset, lambda x: x * 2)))
    assert (list(mapped) if isinstance(dataset, Stream) else [mapped[i] for i in range(3)]) == [2, 4, 6]


def test_list_is_serialized_into_one_buffer():
    items = [{"a": np.arange(i), "name": "x" * i} for i in range(5)]
    dataset = DatasetFromList(items)
    assert len(dataset) == 5
    for i in (0, 4, -1):
        assert dataset[i]["name"] == items[i]["name"] and np.array_equal(dataset[i]["a"], items[i]["a"])
    dataset[1]["name"] = "changed"
    assert dataset[1]["name"] == "x"
    with pytest.raises(IndexError):
        dataset[5]
    assert pickle.loads(pickle.dumps(dataset))[2]["name"] == "xx"


def test_serialized_list_holds_tensors_only():
    held = vars(SerializedList([{"a": 1}, [2]]))
    assert all(isinstance(value, torch.Tensor) for value in held.values())
    assert list(SerializedList([])) == [] and list(SerializedList([1, None])) == [1, None]


def test_list_without_serialization_copies():
    items = [{"a": [1]}]
    copying, plain = DatasetFromList(items, serialize=False), DatasetFromList(items, copy=False, serialize=False)
    copying[0]["a"].append(2)
    assert items == [{"a": [1]}]
    assert plain[0] is items[0]


def test_serialize_method_can_be_chosen():
    class Doubled(Sequence):
        def __init__(self, items):
            self.items = [x * 2 for x in items]

        def __len__(self):
            return len(self.items)

        def __getitem__(self, index):
            return self.items[index]

    assert DatasetFromList([1, 2], serialize=Doubled)[1] == 4
    with set_default_dataset_from_list_serialize_method(Doubled):
        inside = DatasetFromList([1, 2])
    assert inside[1] == 4 and DatasetFromList([1, 2])[1] == 2


def test_to_iterable():
    dataset = ToIterableDataset(["a", "b", "c"], InferenceSampler(3))
    assert list(dataset) == ["a", "b", "c"] and len(dataset) == 3
    with pytest.raises(BadValue):
        ToIterableDataset(Stream(), InferenceSampler(3))
    with pytest.raises(BadValue):
        ToIterableDataset([1], [0])


class WhoReads(IterableDataset):
    def __init__(self, **kwargs):
        self.inner = ToIterableDataset(range(8), InferenceSampler(8), **kwargs)

    def __iter__(self):
        for item in self.inner:
            yield get_worker_info().id, item


def test_to_iterable_shards_in_chunks():
    def read(**kwargs):
        loader = torch.utils.data.DataLoader(WhoReads(**kwargs), batch_size=None, num_workers=2)
        return sorted(tuple(map(int, pair)) for pair in loader)

    assert read(shard_chunk_size=3) == [(0, 0), (0, 1), (0, 2), (0, 6), (0, 7), (1, 3), (1, 4), (1, 5)]
    assert read(shard_sampler=False) == [(w, i) for w in range(2) for i in range(8)]


def test_aspect_ratio_groups():
    sizes = [(2, 1), (1, 2), (3, 3), (4, 1), (1, 1)]
    samples = [{"width": w, "height": h, "id": i} for i, (w, h) in enumerate(sizes)]
    batches = [[d["id"] for d in batch] for batch in AspectRatioGroupedDataset(samples, 2)]
    assert batches == [[1, 2], [0, 3]]
    assert list(AspectRatioGroupedDataset([], 2)) == []
    endless = AspectRatioGroupedDataset(itertools.cycle(samples), 3)
    assert [d["id"] for d in next(iter(endless))] == [1, 2, 4]
