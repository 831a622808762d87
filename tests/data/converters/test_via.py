import json
import math

import pytest

from det2lite.data.converters import recognise_layout
from det2lite.data.converters.conversion import read_as_coco
from det2lite.utils.errors import BadValue, UnknownName

from .conftest import boxes

POLYGON = {"name": "polygon", "all_points_x": [1, 5, 5, 1], "all_points_y": [2, 2, 8, 8]}
RECT = {"name": "rect", "x": 3, "y": 4, "width": 5, "height": 6}


def region(shape, **attributes):
    return {"shape_attributes": shape, "region_attributes": attributes}


def entry(name, *regions):
    return {"filename": name, "size": 1, "regions": list(regions), "file_attributes": {}}


def convert(folder, class_key=None, **options):
    contents, report = read_as_coco(recognise_layout(folder, class_key=class_key), **options)
    return {split: content.content for split, content in contents.items()}, report


@pytest.fixture
def balloon(tmp_path, put):
    for split in ("train", "val"):
        put(f"{split}/a 1.jpg", (20, 10))
        regions = {"0": region(POLYGON), "1": region(RECT)}
        put(f"{split}/via_region_data.json", {"a 1.jpg123": entry("a 1.jpg") | {"regions": regions}})
    return tmp_path


def test_regions_without_class(balloon):
    contents, report = convert(balloon)
    assert list(contents) == ["train", "val"] and report.class_names == ["object"]
    assert boxes(contents["val"]) == [["a 1.jpg", "object", [1, 2, 4, 6]], ["a 1.jpg", "object", [3, 4, 5, 6]]]
    polygon, rect = contents["val"]["annotations"]
    assert polygon["segmentation"] == [[1, 2, 5, 2, 5, 8, 1, 8]] and polygon["area"] == 24
    assert "segmentation" not in rect and rect["area"] == 30
    assert convert(balloon, class_names=["balloon"])[1].class_names == ["balloon"]
    with pytest.raises(UnknownName, match="misses 1 of the classes: 'object'"):
        convert(balloon, class_names=["a", "b"])


def test_shapes(tmp_path, put):
    put("a.jpg", (50, 40))
    shapes = [
        {"name": "circle", "cx": 10, "cy": 12, "r": 3},
        {"name": "ellipse", "cx": 10, "cy": 12, "rx": 3, "ry": 5, "theta": math.pi / 2},
        {"name": "point", "cx": 1, "cy": 1},
        {"name": "polyline", "all_points_x": [1, 2, 3], "all_points_y": [1, 2, 1]},
        {"name": "polygon", "all_points_x": [1, 2], "all_points_y": [1, 2]},
    ]
    put("p.json", {"_via_settings": {}, "_via_img_metadata": {"a": entry("a.jpg", *map(region, shapes))}})
    contents, report = convert(tmp_path)
    assert boxes(contents["all"]) == [["a.jpg", "object", [7, 9, 6, 6]], ["a.jpg", "object", [5, 9, 10, 6]]]
    assert {kind: n.count for kind, n in report.skipped.items()} == {
        "point (no area)": 1, "polyline (no area)": 1, "polygon with fewer than 3 points": 1,
    }  # fmt: skip


def test_attribute_that_is_the_class(tmp_path, put):
    put("a.jpg", (20, 10))

    def write(*attributes):
        put("via.json", {"a": entry("a.jpg", *[region(POLYGON, **a) for a in attributes])})

    write({"species": " cat "}, {"species": "dog"}, {"species": ""}, {})
    contents, report = convert(tmp_path)
    assert [name for _, name, _ in boxes(contents["all"])] == ["cat", "dog"]
    assert report.skipped["region without one value of 'species'"].count == 2
    write({"colour": "red", "Name": {"cat": True, "dog": False}}, {"Name": {"cat": True, "dog": True}})
    contents, report = convert(tmp_path)
    assert [name for _, name, _ in boxes(contents["all"])] == ["cat"] and len(report.skipped) == 1
    assert convert(tmp_path, class_key="colour")[1].class_names == ["red"]
    with pytest.raises(UnknownName, match="no region has the attribute 'color'; did you mean 'colour'"):
        convert(tmp_path, class_key="color")
    write({"x": "1", "y": "2"})
    with pytest.raises(BadValue, match=r"attributes \['x', 'y'\]; say which is the class: --class-key"):
        convert(tmp_path)


CSV = """#filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,region_attributes
a.jpg,1,"{}",2,0,"{""name"":""rect"",""x"":3,""y"":4,""width"":5,""height"":6}","{""class"":""cat""}"
a.jpg,1,"{}",2,1,"{""name"":""rect"",""x"":0,""y"":0,""width"":1,""height"":2}","{""class"":""dog""}"
b.jpg,1,"{}",0,0,"{}","{}"
"""


def test_csv(tmp_path, put):
    for name in "ab":
        put(f"{name}.jpg", (20, 10))
    for head in (CSV, CSV[1:]):
        put("via.csv", head)
        contents, report = convert(tmp_path)
        assert boxes(contents["all"]) == [["a.jpg", "cat", [3, 4, 5, 6]], ["a.jpg", "dog", [0, 0, 1, 2]]]
        assert len(contents["all"]["images"]) == 2
    put("via.json", {n: entry(f"{n}.jpg", region(RECT)) for n in "ab"})  # the same images once more
    contents, report = convert(tmp_path)
    assert len(contents["all"]["annotations"]) == 2 and len(report.notes) == 1
    (tmp_path / "via.json").unlink()
    put("via.csv", CSV.replace('"{""name"":""rect"",""x"":0', '"{""name"":rect'))
    with pytest.raises(BadValue, match="via.csv: line 3: region_shape_attributes must be an object in JSON"):
        convert(tmp_path)


@pytest.mark.parametrize(
    "content, words",
    [
        (json.dumps({"a": {"filename": 1, "regions": []}}), "image 'a': it must have a 'filename'"),
        (json.dumps({"a": entry("a.jpg", {"x": 1})}), "image 'a': region 0 has no 'shape_attributes'"),
        (json.dumps({"a": entry("a.jpg", region({"name": "star"}))}), "region 0: 'star' is no shape of VIA"),
        (
            json.dumps({"a": entry("a.jpg", region({"name": "rect", "x": 1}))}),
            "region 0: rect: 'None' must be a number",
        ),
        (json.dumps({"a": entry("a.jpg", region({**POLYGON, "all_points_y": [1]}))}), "as many 'all_points_x'"),
        ('{"a": {"filename": "a", "regions":\n []', "line 2 column 4: not JSON"),
        (json.dumps({"project": {"pid": 1}, "file": {}}), "a project of VIA 3"),
    ],
)
def test_bad_files_are_named(tmp_path, put, content, words):
    put("a.jpg", (9, 9))
    put("via.json", content)
    with pytest.raises(BadValue, match=f"via.json: .*{words}"):
        convert(tmp_path)


def test_missing_image(balloon):
    (balloon / "val" / "a 1.jpg").unlink()
    contents, report = convert(balloon)
    assert contents["val"]["images"] == [] and report.skipped["object of an image file missing"].count == 2
