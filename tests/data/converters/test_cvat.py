import numpy as np
import pycocotools.mask as mask_util
import pytest

from det2lite.data.converters import recognise_layout
from det2lite.data.converters.conversion import read_as_coco
from det2lite.utils.errors import BadValue

from .conftest import boxes

LABELS = "<meta><task><labels><label><name>dog</name></label><label><name>cat</name></label></labels></task></meta>"
BOX = '<box label="cat" xtl="1.5" ytl="2" xbr="5" ybr="8" occluded="1"><attribute name="age">3</attribute></box>'


def cvat(*shapes, name="a.jpg", labels=LABELS, more=""):
    image = f'<image id="0" name="{name}" width="20" height="10" {more}>{"".join(shapes)}</image>'
    return f"<annotations><version>1.1</version>{labels}{image}</annotations>"


def convert(folder):
    contents, report = read_as_coco(recognise_layout(folder))
    return {split: content.content for split, content in contents.items()}, report


@pytest.fixture
def folder(tmp_path, put):
    put("images/a.jpg", (20, 10))
    return tmp_path


def test_shapes(folder, put):
    shapes = [
        BOX,
        '<box label="dog" xtl="4" ytl="4" xbr="8" ybr="6" rotation="90"/>',
        '<polygon label="dog" points="1,2;5.5,2;5,8"/>',
        '<ellipse label="dog" cx="10" cy="5" rx="4" ry="2"/>',
        '<mask label="cat" rle="1, 2, 3" left="18" top="8" width="3" height="2"/>',
        '<polyline label="dog" points="1,2;5,2;5,8"/>', '<points label="dog" points="1,2"/>', '<tag label="dog"/>',
        '<polygon label="dog" points="1,2;5,2"/>',
    ]  # fmt: skip
    put("annotations.xml", cvat(*shapes))
    contents, report = convert(folder)
    assert report.class_names == ["dog", "cat"]
    assert boxes(contents["all"]) == [
        ["a.jpg", "cat", [1.5, 2, 3.5, 6]], ["a.jpg", "dog", [5, 3, 2, 4]], ["a.jpg", "dog", [1, 2, 4.5, 6]],
        ["a.jpg", "dog", [6, 3, 8, 4]], ["a.jpg", "cat", [19, 8, 1, 1]],
    ]  # fmt: skip
    first, turned, *_, mask = contents["all"]["annotations"]
    assert first["attributes"] == {"age": "3"} and first["occluded"] == 1 and "segmentation" not in first
    assert turned["segmentation"][0] == pytest.approx([7, 3, 7, 7, 5, 7, 5, 3])
    assert np.argwhere(mask_util.decode(mask["segmentation"])).tolist() == [[8, 19]]
    assert {kind: n.count for kind, n in report.skipped.items()} == {
        "polyline (not converted)": 1, "points (not converted)": 1, "tag (not converted)": 1,
        "polygon with fewer than 3 points": 1,
    }  # fmt: skip


def test_subsets_and_files_are_splits(tmp_path, put):
    put("images/Train/a.jpg", (20, 10))
    put("images/b.jpg", (20, 10))
    put("annotations.xml", cvat(BOX, more='subset="Train"'))
    put("val/annotations.xml", cvat(BOX, name="b.jpg", labels=""))
    layout = recognise_layout(tmp_path)
    assert layout.splits == ("Train", "val") and layout.split_for("train") == "Train"
    contents, _ = read_as_coco(layout)
    assert [contents[s].content["images"][0]["file_name"] for s in layout.splits] == ["a.jpg", "b.jpg"]


@pytest.mark.parametrize(
    "shape, words",
    [
        ("<box label='cat' xtl='1'/>", "shape 1: box: 'None' must be a number"),
        ("<box xtl='1'/>", "shape 1: a <box> without a label"),
        ("<polygon label='cat' points='1,2;3'/>", "shape 1: the points of a polygon"),
        ("<star label='cat'/>", "shape 1: <star> is no shape"),
        (
            "<mask label='cat' rle='1,2' left='0' top='0' width='3' height='2'/>",
            "shape 1: its runs must add up to 3 x 2",
        ),
        ("<mask label='cat' rle='1' left='0' top='0' width='1e9' height='1e9'/>", "shape 1: a mask of"),
    ],
)
def test_bad_shapes_are_named(folder, put, shape, words):
    put("annotations.xml", cvat(shape))
    with pytest.raises(BadValue, match=f"annotations.xml: image 'a.jpg': {words}"):
        convert(folder)


def test_video(folder, put):
    put("annotations.xml", "<annotations><track id='0' label='cat'/></annotations>")
    with pytest.raises(BadValue, match="CVAT for video"):
        recognise_layout(folder)
