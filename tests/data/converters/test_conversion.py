import json
import os
import shutil

import pytest

from det2lite.data.converters import convert, convert_to_coco, recognise_layout, yolo
from det2lite.data.converters.conversion import read_as_coco
from det2lite.data.datasets.coco import load_coco_json
from det2lite.data.own_data import prepare_training_data
from det2lite.structures import BoxMode
from det2lite.utils.errors import BadValue, UserError


@pytest.fixture
def source(tmp_path, put):
    """Two splits in YOLO's layout."""
    put("in/data.yaml", "train: images/train\nval: images/val\nnames: [cat, dog]")
    for name in ("train/a", "train/b", "val/c d"):
        put(f"in/images/{name}.jpg", (20, 10))
        put(f"in/labels/{name}.txt", "1 0.5 0.5 0.2 0.4\n0 0.1 0.1 0.2 0.1 0.2 0.4\n")
    return tmp_path / "in"


def files_below(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if not p.is_dir())


def test_result_is_loaded_as_it_is(source, tmp_path):
    report = convert_to_coco(recognise_layout(source), tmp_path / "out")
    assert files_below(tmp_path / "out") == ["annotations/instances_train.json", "annotations/instances_val.json"]
    json_path, root = report.splits["val"]
    (sample,) = load_coco_json(json_path, root, "converted_val")
    assert sample["file_name"] == str(source / "images" / "val" / "c d.jpg") and os.path.isfile(sample["file_name"])
    assert sample["annotations"][0] == {
        "iscrowd": 0, "bbox": [8, 3, 4, 4], "category_id": 1, "bbox_mode": BoxMode.XYWH_ABS,
    }  # fmt: skip
    counts = report.counts["train"]
    assert (counts.images, counts.annotations, counts.polygons, counts.masks) == (2, 4, 2, 0)
    assert "train" in report.table() and "skipped: nothing" in report.table()


def test_result_is_recognised(source, tmp_path):
    """The JSON names the folder of its images: by its full path, or from itself where both would move together."""
    convert_to_coco(recognise_layout(source), tmp_path / "out")
    layout = recognise_layout(tmp_path / "out")
    assert (layout.name, layout.splits) == ("coco", ("train", "val"))
    convert_to_coco(recognise_layout(source), source / "coco")
    moved = source.rename(tmp_path / "moved")
    report = convert_to_coco(recognise_layout(moved / "coco"), "")
    assert report.splits["val"].image_root == str(moved / "images" / "val")


@pytest.mark.parametrize("output", ["", "coco", "all.json", "runs/a/converted"])
def test_what_was_converted_from_a_folder_is_not_read_beside_it(source, tmp_path, output):
    """A result below its source, as of a run there, does not make the source a data set of two formats."""
    if output.endswith(".json"):
        with pytest.raises(BadValue, match="the splits train, val need a folder"):
            convert(recognise_layout(source), source / output)
        (source / "data.yaml").write_text("train: images/train\nnames: [cat, dog]")
    before = recognise_layout(source)
    convert(before, source / output)
    layout = recognise_layout(source)
    assert (layout.name, layout.splits) == ("yolo", before.splits)
    made = "all.json" if output.endswith(".json") else f"{output}/annotations/instances_train.json".lstrip("/")
    assert layout.evidence == f"{before.evidence}; {made}, which was converted from it, is not read"
    assert recognise_layout(source, format="coco").name == "coco"
    convert(layout, source / output, overwrite=True)
    moved = source.rename(tmp_path / "moved")
    assert recognise_layout(moved).name == "yolo"
    (moved / "data.yaml").unlink()
    shutil.rmtree(moved / "labels")
    assert recognise_layout(moved).name == "coco"  # now it is all there is


def test_parts_of_a_coco_file_are_not_read_beside_it(tmp_path, put):
    images = [{"id": k, "file_name": f"{k}.jpg", "width": 4, "height": 3} for k in (1, 2, 3)]
    annotations = [{"id": k, "image_id": k, "category_id": 1, "bbox": [0, 0, 2, 2], "area": 4} for k in (1, 2, 3)]
    put("in/cells.json", {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "cat"}]})
    for k in (1, 2, 3):
        put(f"in/{k}.jpg", (4, 3))
    first = prepare_training_data(tmp_path / "in", str(tmp_path / "in" / "runs" / "a"))
    again = prepare_training_data(tmp_path / "in", str(tmp_path / "in" / "runs" / "b"))
    assert first.train.counts == again.train.counts and again.train.counts.images == 2
    assert recognise_layout(tmp_path / "in").plan.jobs["cells"][0].json_path == str(tmp_path / "in" / "cells.json")


def test_annotations_of_the_source_are_never_replaced(tmp_path, put):
    region = {"shape_attributes": {"name": "rect", "x": 1, "y": 1, "width": 2, "height": 2}, "region_attributes": {}}
    mine = put("in/regions.json", {"a.jpg1": {"filename": "a.jpg", "size": 1, "regions": [region]}})
    put("in/a.jpg", (4, 3))
    text, layout = mine.read_text(), recognise_layout(tmp_path / "in")
    with pytest.raises(BadValue, match="regions.json is part of the data set that is converted, and stays"):
        convert(layout, mine, overwrite=True)
    assert mine.read_text() == text


def test_nothing_is_overwritten_unless_asked(source, tmp_path, put):
    old = put("out/annotations/instances_val.json", "mine")
    layout = recognise_layout(source)
    with pytest.raises(BadValue, match="instances_val.json is there already; give --overwrite"):
        convert_to_coco(layout, tmp_path / "out")
    assert files_below(tmp_path / "out") == ["annotations/instances_val.json"] and old.read_text() == "mine"
    convert_to_coco(layout, tmp_path / "out", overwrite=True)
    assert json.loads(old.read_text())["images"]


@pytest.mark.parametrize("to", ["coco", "voc"])
def test_an_interrupted_conversion_leaves_nothing(source, tmp_path, monkeypatch, to):
    layout = recognise_layout(source)

    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    for place in (
        "det2lite.data.converters.conversion._measured",
        "det2lite.data.converters.output.os.replace",
        "det2lite.data.converters.targets.place_image",
    ):
        if "place_image" in place and to == "coco":
            continue
        with monkeypatch.context() as patch:
            patch.setattr(place, stop)
            with pytest.raises(KeyboardInterrupt):
                convert(layout, tmp_path / "out", to=to)
        assert [p for p in files_below(tmp_path) if not p.startswith("in/")] == []


def test_processes_give_the_same(source, put):
    layout = recognise_layout(source)
    assert read_as_coco(layout, nproc=2) == read_as_coco(layout)
    put("in/labels/train/b.txt", "x")
    with pytest.raises(UserError, match="b.txt: line 1: 'x' must be the number of a class"):
        read_as_coco(layout, nproc=2)
    contents, report = read_as_coco(layout, nproc=2, skip_broken=True)
    assert report.skipped["broken annotation file"].count == 1 and len(contents["train"].content["images"]) == 1


def test_nothing_to_convert(source):
    layout = recognise_layout(source)
    for path in (source / "images").rglob("*.jpg"):
        path.unlink()
    with pytest.raises(BadValue, match="nothing to convert. image file missing: 3"):
        read_as_coco(layout)


def test_places_that_cannot_be_written(source, tmp_path, put):
    put("file", "")
    layout = recognise_layout(source)
    with pytest.raises(BadValue, match="cannot be written .*give another --output"):
        convert_to_coco(layout, tmp_path / "file" / "x")
    with pytest.raises(BadValue, match="cannot be written .*give another --output"):
        convert(layout, tmp_path / "file" / "x", to="voc")
    with pytest.raises(BadValue, match="is there already and no folder"):
        convert(layout, tmp_path / "file", to="voc", overwrite=True)


def test_one_file(source, tmp_path, put):
    with pytest.raises(BadValue, match="the splits train, val need a folder, not one file"):
        convert(recognise_layout(source), tmp_path / "x.json")
    put("photos/a.jpg", (20, 10))
    layout = recognise_layout(tmp_path / "photos")
    with pytest.raises(BadValue, match="give --classes"):
        convert(layout, tmp_path / "x.json")
    convert(layout, tmp_path / "x.json", class_names=["cat", "dog"])
    content = json.loads((tmp_path / "x.json").read_text())
    assert content["categories"] == [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    assert content["images"] == [{"id": 1, "file_name": "a.jpg", "width": 20, "height": 10}]
    assert content["annotations"] == [] and content["info"]["image_root"] == "photos"


def test_the_format_that_it_has(source, tmp_path):
    with pytest.raises(BadValue, match="is YOLO already"):
        convert(recognise_layout(source), tmp_path / "out", to="yolo")


def test_bombs(source, tmp_path, put, monkeypatch):
    """Aliases of YAML that stand for billions of names; an image of billions of pixels."""
    rows = "\n".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9) if i else 'x'}]" for i in range(30))
    put("in/data.yaml", f"{rows}\ntrain: images/train\nnames: [cat, dog]")
    assert recognise_layout(source).splits == ("train",)
    monkeypatch.setattr("PIL.Image.MAX_IMAGE_PIXELS", 20)
    with pytest.raises(BadValue, match="nothing to convert. .*image file cannot be read: 2"):
        read_as_coco(recognise_layout(source))


def test_reader_is_known(source):
    assert recognise_layout(source).plan.read is yolo.read
