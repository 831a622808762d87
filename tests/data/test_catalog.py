import copy
import os
import pickle

import numpy as np
import pytest

from det2lite.data.catalog import Metadata, _DatasetCatalog, _MetadataCatalog
from det2lite.data.data_root import DataPath, missing_hint
from det2lite.utils.errors import UnknownName, UserError


@pytest.fixture
def catalog():
    catalog = _DatasetCatalog()
    catalog.register("coco_2017_train", lambda: [1, 2])
    return catalog


def test_register_and_get(catalog):
    assert catalog.get("coco_2017_train") == [1, 2]
    assert catalog.list() == ["coco_2017_train"]
    assert "coco_2017_train" in catalog and "coco_2017_train" in str(catalog)


def test_loading_waits_until_asked():
    catalog, calls = _DatasetCatalog(), []
    catalog.register("d", lambda: calls.append(1))
    assert calls == []
    catalog.get("d")
    assert calls == [1]


def test_register_twice_or_no_function(catalog):
    with pytest.raises(AssertionError, match="coco_2017_train"):
        catalog.register("coco_2017_train", list)
    with pytest.raises(TypeError, match="function"):
        catalog.register("x", [1])


def test_wrong_name_lists_close_ones(catalog):
    for use in (catalog.get, catalog.pop, catalog.remove, catalog.__getitem__):
        with pytest.raises(KeyError, match="did you mean 'coco_2017_train'") as info:
            use("coco_2017_trian")
        assert isinstance(info.value, UserError)
    with pytest.raises(UnknownName, match="registered are: coco_2017_train"):
        catalog.get("zzz")


def test_remove_and_pop(catalog):
    assert catalog.pop("nothing", None) is None
    assert catalog.pop("coco_2017_train")() == [1, 2]
    assert catalog.list() == []


def test_metadata_is_set_once():
    meta = Metadata(name="d")
    assert meta.set(thing_classes=["a"], n=1) is meta
    meta.thing_classes = ["a"]
    with pytest.raises(AssertionError, match="'thing_classes' of data set 'd'"):
        meta.thing_classes = ["b"]
    assert meta.thing_classes == ["a"]
    meta.colors = np.zeros((2, 3))
    meta.colors = np.zeros((2, 3))
    with pytest.raises(AssertionError):
        meta.colors = np.ones((2, 3))


def test_metadata_access():
    meta = Metadata(name="d")
    with pytest.raises(AttributeError, match="'d': it is empty"):
        _ = meta.thing_classes
    meta.thing_classes = ["a"]
    with pytest.raises(AttributeError, match="did you mean 'thing_classes'"):
        _ = meta.thing_clases
    assert not hasattr(meta, "stuff_classes")
    assert meta.get("stuff_classes") is None and meta.get("stuff_classes", 3) == 3
    assert meta.as_dict() == {"name": "d", "thing_classes": ["a"]}
    meta.as_dict()["thing_classes"] = None
    assert meta.thing_classes == ["a"]
    assert Metadata().name == "N/A"


def test_legacy_names_warn(caplog):
    meta = Metadata(name="d")
    meta.class_names = ["a"]
    assert meta.thing_classes == ["a"] and meta.class_names == ["a"]
    assert "thing_classes" in caplog.text
    assert "class_names" not in meta.as_dict()


def test_metadata_copies_and_pickles():
    meta = Metadata(name="d", thing_classes=["a"])
    for other in (copy.deepcopy(meta), pickle.loads(pickle.dumps(meta))):
        assert other == meta and other is not meta


def test_metadata_catalog():
    catalog = _MetadataCatalog()
    assert catalog.get("a") is catalog.get("a")
    assert catalog.get("a").name == "a" and catalog.list() == ["a"]
    with pytest.raises(KeyError):
        catalog["b"]
    with pytest.raises(KeyError):
        catalog.remove("b")
    catalog.remove("a")
    assert catalog.list() == []
    for name in ("", None):
        with pytest.raises(AssertionError, match="by the name of a data set"):
            catalog.get(name)


def test_data_paths_follow_the_environment(monkeypatch):
    meta = Metadata(name="d", image_root=DataPath("coco/val2017"))
    monkeypatch.delenv("DETECTRON2_DATASETS", raising=False)
    assert meta.image_root == os.path.join("datasets", "coco/val2017")
    assert "not set" in missing_hint(meta.image_root)
    monkeypatch.setenv("DETECTRON2_DATASETS", "~/elsewhere")
    assert meta.image_root == os.path.expanduser("~/elsewhere/coco/val2017")
    assert meta.get("image_root") == meta.as_dict()["image_root"] == meta.image_root
    assert "DETECTRON2_DATASETS" in missing_hint(meta.image_root)
    assert missing_hint("/nowhere/else") == "check the path"
    assert missing_hint("/") == "it is a folder; give the file"
    meta.image_root = DataPath("coco/val2017")
    with pytest.raises(AssertionError):
        meta.image_root = DataPath("coco/train2017")
