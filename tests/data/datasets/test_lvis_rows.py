"""Samples of a cached LVIS file are those of the file; what is drawn by their classes is so without making them."""

import json
import logging
import os

import pytest
import torch

from det2lite.data.build import get_detection_dataset_dicts
from det2lite.data.catalog import DatasetCatalog, MetadataCatalog
from det2lite.data.datasets import coco_rows
from det2lite.data.datasets.coco import load_coco_json
from det2lite.data.datasets.lvis import load_lvis_json, register_lvis_instances
from det2lite.data.sample_store import SampleRows, StoredSamples, stored_rows
from det2lite.data.samplers import RepeatFactorTrainingSampler
from det2lite.utils.errors import UserError

SQUARE = [1, 1, 5, 1, 5, 5, 1, 5.25]
URL = "http://images.cocodataset.org"
factors_of = RepeatFactorTrainingSampler.repeat_factors_from_category_frequency


def content() -> dict:
    """Images out of order, of two splits, one known by its name alone, one without objects; an unusable polygon."""
    size = {"height": 10, "width": 20}
    objects = [(9, 3, [SQUARE]), (9, 1, [SQUARE] * 2), (4, 3, [[1, 2, 3, 4]]), (4, 7, [SQUARE]), (6, 3, [SQUARE])]
    return {
        "images": [
            size | {"id": 9, "coco_url": f"{URL}/train2017/9.jpg", "neg_category_ids": [7]},
            size | {"id": 4, "coco_url": f"{URL}/val2017/ä.jpg", "not_exhaustive_category_ids": [3]},
            size | {"id": 6, "file_name": "6.jpg"},
            size | {"id": 2, "coco_url": "2.jpg", "file_name": "other.jpg"},
        ],
        "annotations": [
            {"id": n, "image_id": image, "category_id": label, "bbox": [1, 1, 4, 4.5], "area": n, "segmentation": mask}
            for n, (image, label, mask) in enumerate(objects, 1)
        ],
        "categories": [{"id": i, "name": f"class {i}", "frequency": "f"} for i in (7, 1, 3)],
    }


@pytest.fixture
def make_file(tmp_path, monkeypatch):
    """Writes content, and lets files of any size be kept."""
    monkeypatch.setenv("DET2LITE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(coco_rows, "MIN_BYTES", 0)

    def make(value: dict) -> str:
        path = tmp_path / "lvis.json"
        path.write_text(json.dumps(value), encoding="utf-8")
        os.utime(path, (1e9, 1e9))
        return str(path)

    yield make
    for name in ("mine", "lvis_v1_mine"):
        DatasetCatalog.pop(name, None)
        MetadataCatalog.pop(name, None)


def plainly(path: str, monkeypatch, **kwargs) -> list[dict]:
    with monkeypatch.context() as patch:
        patch.setattr(coco_rows, "MIN_BYTES", 1 << 60)
        return load_lvis_json(path, "coco", **kwargs)


@pytest.mark.parametrize("kwargs", [{}, {"extra_annotation_keys": ["area"]}, {"dataset_name": "mine"},
                                    {"dataset_name": "lvis_v1_mine"}])  # fmt: skip
def test_samples_are_those_of_the_file(make_file, monkeypatch, kwargs, caplog):
    path = make_file(content())
    expected = plainly(path, monkeypatch, **kwargs)
    with caplog.at_level(logging.INFO):
        for _ in range(2):
            samples = load_lvis_json(path, "coco", **kwargs)
            assert isinstance(samples, StoredSamples) and repr(samples) == repr(expected)
    assert [len(sample["annotations"]) for sample in expected] == [0, 1, 1, 2]
    assert expected[1]["file_name"] == os.path.join("coco", "val2017", "ä.jpg")
    assert "loaded 4 images in LVIS format" in caplog.text and "left out 1 instances" in caplog.text


def test_the_same_file_as_coco_has_an_entry_of_its_own(make_file, tmp_path):
    value = content()
    for image in value["images"]:
        image["file_name"] = f"{image['id']}.jpg"
    path = make_file(value)
    assert load_lvis_json(path, "coco")[-1]["file_name"].endswith("train2017/9.jpg")
    assert load_coco_json(path, "coco")[-1]["file_name"] == os.path.join("coco", "9.jpg")
    assert len(list((tmp_path / "cache").glob("*.rows"))) == 2
    value["images"].pop()
    assert len(load_lvis_json(make_file(value), "coco")) == 3


@pytest.mark.parametrize("changes", [{"category_id": 2}, {"bbox": [1, 2, 3]}, {"image_id": 8}, {"id": 2}])
def test_what_is_wrong_is_named_as_ever(make_file, changes):
    value = content()
    value["annotations"][0] |= changes
    with pytest.raises(UserError):
        load_lvis_json(make_file(value), "coco", "mine")


def test_an_image_without_a_file_is_named(make_file):
    value = content()
    del value["images"][2]["file_name"]
    with pytest.raises(UserError, match="image 6 has neither"):
        load_lvis_json(make_file(value), "coco", "mine")


@pytest.mark.parametrize("sqrt", [True, False])
@pytest.mark.parametrize("threshold", [0.001, 0.4, 0.9])
def test_repeat_factors_make_no_sample(make_file, monkeypatch, sqrt, threshold):
    path = make_file(content())
    register_lvis_instances("mine", {}, path, "coco")
    expected = factors_of(plainly(path, monkeypatch, dataset_name="mine"), threshold, sqrt)
    with monkeypatch.context() as patch:
        patch.setattr(SampleRows, "__getitem__", lambda self, index: pytest.fail("a sample was made"))
        samples = get_detection_dataset_dicts("mine", filter_empty=False)
        found = factors_of(samples, threshold, sqrt)
        assert stored_rows(samples) is not None
    assert torch.equal(found, expected) and found.dtype == expected.dtype == torch.float32
    # classes 1 and 7 are in one image of four, class 3 in two
    rare, frequent = (max(1, (threshold / share) ** (0.5 if sqrt else 1)) for share in (0.25, 0.5))
    assert found.tolist() == pytest.approx([1, rare, frequent, rare])


def test_crowds_count_for_repeat_factors(make_file, monkeypatch):
    value = content()
    for annotation in value["annotations"]:
        annotation["iscrowd"] = annotation["category_id"] % 2
    for image in value["images"]:
        image.setdefault("file_name", "x.jpg")
    path = make_file(value)
    samples = load_coco_json(path, "images")
    assert torch.equal(factors_of(samples, 0.9), factors_of([*load_coco_json(path, "images")], 0.9))
