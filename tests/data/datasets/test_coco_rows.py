"""Samples of a cached COCO file are those of the file, whatever stands in it and whatever becomes of the cache."""

import copy
import json
import os
import pickle

import numpy as np
import pytest

from det2lite.data.build import _known_sizes, get_detection_dataset_dicts
from det2lite.data.catalog import DatasetCatalog, MetadataCatalog
from det2lite.data.common import DatasetFromList
from det2lite.data.datasets import coco_rows
from det2lite.data.datasets.coco import load_coco_json, register_coco_instances
from det2lite.data.preflight.samples import check_samples
from det2lite.data.sample_store import SampleRows, StoredSamples, stored_rows
from det2lite.utils.errors import UserError

SQUARE = [10, 10, 20.5, 10, 20.5, 20, 10, 20.25]


def content() -> dict:
    """Two images out of order and one without objects; a crowd, an unusable polygon, two polygons, no mask at all."""
    common = {"image_id": 7, "category_id": 30, "iscrowd": 0}
    return {
        "images": [
            {"id": 7, "file_name": "b.jpg", "height": 40, "width": 60, "license": 1},
            {"id": 3, "file_name": "ä.jpg", "height": 50, "width": 30},
            {"id": 9, "file_name": "c.jpg", "height": 5, "width": 5},
        ],
        "categories": [{"id": 30, "name": "dog"}, {"id": 4, "name": "cat"}],
        "annotations": [
            common | {"id": 1, "bbox": [10, 10, 10.5, 10], "segmentation": [SQUARE], "note": {"by": "me"}},
            common | {"id": 2, "bbox": [1, 2, 3, 4], "segmentation": [[1, 2, 3, 4]]},
            common | {"id": 3, "bbox": [1, 2, 3, 4], "segmentation": [[1, 2], SQUARE, SQUARE]},
            {"id": 4, "image_id": 3, "category_id": 4, "iscrowd": 1, "bbox": [0, 0, 2, 2],
             "segmentation": {"size": [50, 30], "counts": [100, 1400]}},
            common | {"id": 5, "bbox": [1e-1, 2, 3, 4e0], "keypoints": [1, 2, 2, 0, 0, 0], "category_id": 4},
        ],
    }  # fmt: skip


@pytest.fixture
def make_file(tmp_path, monkeypatch):
    """Writes content, and lets files of any size be kept."""
    monkeypatch.setenv("DET2LITE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(coco_rows, "MIN_BYTES", 0)

    def make(value) -> str:
        path = tmp_path / "instances.json"
        path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
        os.utime(path, (1e9, 1e9))
        return str(path)

    return make


def plainly(path: str, monkeypatch, **kwargs) -> list[dict]:
    with monkeypatch.context() as patch:
        patch.setattr(coco_rows, "MIN_BYTES", 1 << 60)
        return load_coco_json(path, "images", **kwargs)


@pytest.mark.parametrize("kwargs", [{}, {"extra_annotation_keys": ["note", "id"]}])
def test_samples_are_those_of_the_file(make_file, monkeypatch, kwargs):
    path = make_file(content())
    expected = plainly(path, monkeypatch, **kwargs)
    for _ in range(2):
        samples = load_coco_json(path, "images", **kwargs)
        assert isinstance(samples, StoredSamples) and repr(samples) == repr(expected)
    assert [len(sample["annotations"]) for sample in expected] == [1, 3, 0]


def test_cache_follows_the_content_and_its_damage(make_file, tmp_path):
    path = make_file(content())
    load_coco_json(path, "images")
    (entry,) = (tmp_path / "cache").glob("*.rows")
    entry.write_bytes(entry.read_bytes()[:-9])
    assert len(load_coco_json(path, "images")[1]["annotations"]) == 3
    changed = content()
    changed["images"][0]["width"] = 61
    path = make_file(changed)
    assert load_coco_json(path, "images")[1]["width"] == 61
    assert list((tmp_path / "cache").glob("*.rows"))


@pytest.mark.parametrize("cache", ["", "/dev/null/no"])
def test_without_a_folder_to_write_to(make_file, monkeypatch, cache):
    path = make_file(content())
    monkeypatch.setenv("DET2LITE_CACHE", cache)
    samples = load_coco_json(path, "images")
    assert isinstance(samples, StoredSamples)
    assert repr(pickle.loads(pickle.dumps(stored_rows(samples)))[1]) == repr(samples[1])


def test_what_is_wrong_is_named_as_ever(make_file):
    def wrong(**changes) -> str:
        value = content()
        value["annotations"][0] |= changes
        return make_file(value)

    for changes in ({"bbox": [1, 2, 3]}, {"segmentation": [[1, "a", 3, 4, 5, 6]]}, {"image_id": 8}, {"ignore": 1},
                    {"segmentation": [[True] * 6]}, {"category_id": 5}, {"id": 2}, {"keypoints": [1, 2]}):  # fmt: skip
        with pytest.raises(UserError):
            load_coco_json(wrong(**changes), "images")
    with pytest.raises(UserError):
        load_coco_json(make_file(json.dumps(content())[:-30]), "images")


def test_what_is_unusual_is_read_plainly(make_file):
    value = content()
    for image in value["images"]:
        image["id"] = f"image {image['id']}"
    for annotation in value["annotations"]:
        annotation["image_id"] = f"image {annotation['image_id']}"
    assert type(load_coco_json(make_file(value), "images")) is list


def test_list_keeps_changes_and_becomes_a_plain_one(make_file):
    samples = load_coco_json(make_file(content()), "images")
    samples[0]["mine"] = 1
    assert samples[0]["mine"] == 1 and stored_rows(samples) is None and len(samples) == 3
    assert [sample["image_id"] for sample in [*samples]] == [3, 7, 9] == [s["image_id"] for s in samples[:]]
    samples.append({"image_id": 1})
    assert [*reversed(samples)][0] == {"image_id": 1} and copy.deepcopy(samples) == samples
    assert type(copy.copy(samples)) is list and len([{}] + samples) == 5


def test_gathering_looks_at_no_sample(make_file, monkeypatch):
    path = make_file(content())
    for name in ("rows_of_one", "rows_of_two"):
        register_coco_instances(name, {}, path, "images")
    try:
        monkeypatch.setattr(SampleRows, "__getitem__", lambda self, index: pytest.fail("a sample was made"))
        samples = get_detection_dataset_dicts(["rows_of_one", "rows_of_two"])
        assert len(samples) == 2 and _known_sizes(samples) == [(40, 60)] * 2
        dataset = DatasetFromList(samples, copy=False)
        monkeypatch.undo()
        assert [dataset[i]["image_id"] for i in (0, 1, -1)] == [7, 7, 7]
        assert dataset[0]["annotations"][2]["category_id"] == 0 and dataset[0] is not dataset[0]
        counts = np.bincount(stored_rows(samples).annotations().label)
        assert counts.tolist() == [2, 4]
    finally:
        for name in ("rows_of_one", "rows_of_two"):
            DatasetCatalog.remove(name)
            MetadataCatalog.remove(name)


def test_checks_find_the_same(make_file):
    value = content()
    value["annotations"][0]["bbox"] = [50, 30, 40, 5]
    path = make_file(value)
    stored = load_coco_json(path, "images")
    found = check_samples(stored, masks=True, keypoints=True, class_count=2)
    assert stored_rows(stored) is not None
    assert found == check_samples([*load_coco_json(path, "images")], masks=True, keypoints=True, class_count=2)
    assert len(found) > 2
