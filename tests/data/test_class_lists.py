import json

import pytest

from det2lite.config import get_cfg
from det2lite.data import DatasetCatalog, MetadataCatalog
from det2lite.data.class_lists import known_class_names, same_classes, side_by_side, thing_count, with_class_counts
from det2lite.utils.errors import UserError

NAME = "class_lists_test"


@pytest.fixture
def cells(tmp_path):
    """A registered COCO file of three classes that was not loaded yet; ids are not in order."""
    categories = [{"id": 9, "name": "platelet"}, {"id": 2, "name": "red"}, {"id": 5, "name": "white"}]
    (tmp_path / "cells.json").write_text(json.dumps({"images": [], "categories": categories}))
    MetadataCatalog.get(NAME).set(json_file=str(tmp_path / "cells.json"))
    DatasetCatalog.register(NAME, lambda: pytest.fail("the data set was loaded"))
    yield MetadataCatalog.get(NAME)
    DatasetCatalog.pop(NAME)
    MetadataCatalog.pop(NAME)


def config(count, *train):
    cfg = get_cfg()
    cfg.MODEL.NUM_CLASSES = count
    cfg.DATASETS.TRAIN = train
    return cfg


def counts(cfg):
    model = cfg.MODEL
    heads = (model.ROI_HEADS, model.RETINANET, model.FCOS, model.SEM_SEG_HEAD)
    return [model.NUM_CLASSES, *(head.NUM_CLASSES for head in heads)]


def test_names_before_loading(cells):
    assert known_class_names(NAME) == ["red", "white", "platelet"]
    assert "thing_classes" not in cells.as_dict()
    assert known_class_names("nobody") == [] and "nobody" not in MetadataCatalog
    cells.set(thing_classes=["a"])
    assert known_class_names(NAME) == ["a"]


def test_none_leaves_the_config_alone():
    cfg = get_cfg()
    assert cfg.MODEL.NUM_CLASSES is None and with_class_counts(cfg) is cfg


def test_auto(cells):
    cfg = config("auto", NAME)
    cfg.freeze()
    changed = with_class_counts(cfg)
    assert counts(changed) == [3, 3, 3, 3, 54] and changed.is_frozen()
    assert counts(cfg) == ["auto", 80, 80, 80, 54]
    assert with_class_counts(changed) == changed


def test_auto_counts_stuff_and_keypoints(cells):
    cells.set(stuff_classes=["sky", "grass"], thing_classes=["cow"], keypoint_names=["nose", "tail", "ear"])
    cfg = config("auto", NAME)
    assert counts(with_class_counts(cfg)) == [1, 1, 1, 1, 2]
    assert with_class_counts(cfg).MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS == 17
    cfg.MODEL.KEYPOINT_ON = True
    assert with_class_counts(cfg).MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS == 3


def test_number():
    assert counts(with_class_counts(config(7))) == [7, 7, 7, 7, 54]
    cfg = config(7)
    cfg.MODEL.META_ARCHITECTURE = "SemanticSegmentor"
    assert counts(with_class_counts(cfg)) == [7, 7, 7, 7, 7]


@pytest.mark.parametrize("value", [0, -1, "all", True, 2.5])
def test_other_values(value):
    with pytest.raises(UserError, match="MODEL.NUM_CLASSES is .*'auto'"):
        with_class_counts(config(value))


def test_auto_without_names(cells):
    with pytest.raises(UserError, match="no data set says them"):
        with_class_counts(config("auto", "nobody"))
    assert counts(with_class_counts(config("auto", "nobody"), ["a", "b"]))[:2] == [2, 2]
    MetadataCatalog.pop(NAME)
    DatasetCatalog.pop(NAME)
    DatasetCatalog.register(NAME, lambda: MetadataCatalog.get(NAME).set(thing_classes=["x", "y"]) and [])
    assert counts(with_class_counts(config("auto", NAME)))[:2] == [2, 2]  # loading told them


def test_counted_key():
    cfg = get_cfg()
    assert thing_count(cfg) == ("MODEL.ROI_HEADS.NUM_CLASSES", 80)
    assert thing_count(with_class_counts(config(4))) == ("MODEL.NUM_CLASSES", 4)
    cfg.MODEL.META_ARCHITECTURE = "SemanticSegmentor"
    assert thing_count(cfg) is None and thing_count(config("auto")) is None


def test_same_classes():
    assert same_classes(["Traffic_light", "a"], ["traffic light ", "A"]) and same_classes([], [])
    assert not same_classes(["a", "b"], ["b", "a"]) and not same_classes(["a"], ["a", "b"])


def test_side_by_side():
    table = side_by_side("weights", ["red", "white", "platelet"], "data", ["red", "platelet"])
    assert table.split("\n") == [
        "     weights   data",
        "  0  red       red",
        "* 1  white     platelet",
        "* 2  platelet  -",
    ]
    long = [f"c{i}" for i in range(100)]
    assert side_by_side("a", long, "b", [*long[:99], "other"]).split("\n") == [
        "      a    b",
        "* 99  c99  other",
        "  ... and 99 further rows",
    ]
