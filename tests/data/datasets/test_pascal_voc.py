import os

import pytest

from det2lite.data.catalog import DatasetCatalog, MetadataCatalog
from det2lite.data.datasets.pascal_voc import CLASS_NAMES, load_voc_instances, register_pascal_voc
from det2lite.structures import BoxMode
from det2lite.utils.errors import BadValue, MissingFile, UserError

OBJECT = "<object><name>{}</name><difficult>1</difficult><bndbox>{}</bndbox></object>"
BOX = "<xmin>1</xmin><ymin>3</ymin><xmax>10.5</xmax><ymax>20</ymax>"


@pytest.fixture
def voc(tmp_path):
    for folder in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "ImageSets/Main/train.txt").write_text("b\na  1\n\n")

    def write(name, objects="", size="<height>20</height><width>30</width>"):
        text = f"<annotation><size>{size}</size>{objects}</annotation>"
        (tmp_path / f"Annotations/{name}.xml").write_text(text)

    write("a", OBJECT.format("cat", BOX))
    write("b")
    return tmp_path, write


def test_load(voc):
    root, _ = voc
    empty, full = load_voc_instances(str(root), "train", ["dog", "cat"])
    assert empty["annotations"] == []
    box = {"category_id": 1, "bbox": [0.0, 2.0, 10.5, 20.0], "bbox_mode": BoxMode.XYXY_ABS}
    assert full == {
        "file_name": os.path.join(root, "JPEGImages", "a.jpg"), "image_id": "a", "height": 20, "width": 30,
        "annotations": [box],
    }  # fmt: skip


def test_names_with_spaces_and_images_of_other_kinds(voc):
    root, write = voc
    (root / "ImageSets/Main/val.txt").write_text("neue zelle ü  -1\ncell 2\na\n", encoding="utf-8")
    write("neue zelle ü")
    write("cell 2")
    for name in ("neue zelle ü.png", "cell 2.jpeg", "a.png", "a.jpg"):
        (root / "JPEGImages" / name).write_bytes(b"")
    names = [os.path.basename(sample["file_name"]) for sample in load_voc_instances(str(root), "val", ["cat"])]
    assert names == ["neue zelle ü.png", "cell 2.jpeg", "a.jpg"]


@pytest.mark.parametrize(
    "objects, words",
    [
        (OBJECT.format("cta", BOX), "a.xml: object 1: class 'cta' .*did you mean 'cat'"),
        ("<object></object>", "object 1: class None"),
        (OBJECT.format("cat", BOX) + OBJECT.format("cat", BOX.replace("20", "x")), "object 2: <bndbox/ymax> must be"),
        (OBJECT.format("cat", ""), "object 1: <bndbox/xmin> must be a number, not None"),
        ("<object>", "not XML"),
    ],
)
def test_what_is_wrong_is_named(voc, objects, words):
    root, write = voc
    write("a", objects)
    with pytest.raises(UserError, match=words):
        load_voc_instances(str(root), "train", ["cat"])


def test_missing_parts(voc):
    root, write = voc
    with pytest.raises(MissingFile, match="val.txt"):
        load_voc_instances(str(root), "val", CLASS_NAMES)
    write("b", size="")
    with pytest.raises(BadValue, match="b.xml: <size/height>"):
        load_voc_instances(str(root), "train", CLASS_NAMES)
    (root / "Annotations/b.xml").unlink()
    with pytest.raises(MissingFile, match="b.xml"):
        load_voc_instances(str(root), "train", CLASS_NAMES)


def test_register(voc):
    root, _ = voc
    register_pascal_voc("voc_test", str(root), "train", 2007)
    try:
        meta = MetadataCatalog.get("voc_test")
        assert (meta.dirname, meta.year, meta.split) == (str(root), 2007, "train")
        assert len(meta.thing_classes) == 20
        assert DatasetCatalog.get("voc_test")[1]["annotations"][0]["category_id"] == 7
    finally:
        DatasetCatalog.remove("voc_test")
        MetadataCatalog.remove("voc_test")


VOC_2007 = ["2007_trainval", "2007_train", "2007_val", "2007_test"]


@pytest.mark.parametrize("split", [*VOC_2007, "2012_trainval", "2012_train", "2012_val"])
def test_built_in_names(split, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", "/data")
    year, part = split.split("_")
    meta = MetadataCatalog.get(f"voc_{split}")
    assert meta.as_dict() == {
        "name": f"voc_{split}", "thing_classes": list(CLASS_NAMES), "dirname": f"/data/VOC{year}", "year": int(year),
        "split": part, "evaluator_type": "pascal_voc",
    }  # fmt: skip
    with pytest.raises(MissingFile, match="DETECTRON2_DATASETS"):
        DatasetCatalog.get(f"voc_{split}")
