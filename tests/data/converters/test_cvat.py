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


TRACKS = """
<track id="3" label="cat"><box frame="1" outside="0" occluded="1" keyframe="1" xtl="1" ytl="2" xbr="5" ybr="8">
<attribute name="age">3</attribute></box>
<box frame="2" outside="0" occluded="0" keyframe="0" xtl="2.5" ytl="2" xbr="6.5" ybr="8"/>
<box frame="3" outside="1" occluded="0" keyframe="1" xtl="2.5" ytl="2" xbr="6.5" ybr="8"/></track>
<track id="7" label="dog"><polygon frame="2" outside="0" keyframe="1" points="1,2;5.5,2;5,8"/>
<points frame="3" outside="0" keyframe="1" points="1,2"/></track>"""
VIDEO_META = LABELS.replace(
    "<task>", "<task><size>4</size><original_size><width>20</width><height>10</height></original_size>"
)


def video(tracks=TRACKS):
    return f"<annotations><version>1.1</version>{VIDEO_META}{tracks}</annotations>"


def names_of(content):
    return [image["file_name"] for image in content["images"]]


def test_video(tmp_path, put):
    """Every frame is an image; objects are in those in which they are not outside."""
    for frame in range(4):
        put(f"images/frame_{frame:06d}.PNG", (20, 10))
    put("annotations.xml", video())
    contents, report = convert(tmp_path)
    content = contents["all"]
    assert names_of(content) == [f"frame_{frame:06d}.PNG" for frame in range(4)] and report.class_names == [
        "dog",
        "cat",
    ]
    assert boxes(content) == [
        ["frame_000001.PNG", "cat", [1, 2, 4, 6]],
        ["frame_000002.PNG", "cat", [2.5, 2, 4, 6]],
        ["frame_000002.PNG", "dog", [1, 2, 4.5, 6]],
    ]
    first, second, third = content["annotations"]
    assert first["track_id"] == second["track_id"] == 3 and third["track_id"] == 7
    assert first["attributes"] == {"age": "3"} and first["occluded"] == 1 and "occluded" not in second
    assert third["segmentation"] == [[1, 2, 5.5, 2, 5, 8]]
    assert {kind: entry.count for kind, entry in report.skipped.items()} == {"points (not converted)": 1}
    assert report.notes == {}
    (tmp_path / "images/frame_000002.PNG").unlink()  # counted, not passed over
    contents, report = convert(tmp_path)
    assert report.skipped["object of an image file missing"].count == 2 and len(boxes(contents["all"])) == 1


def test_frames_that_a_video_leaves_out(tmp_path, put):
    """Boxes move evenly; before one that is outside they stay; other shapes are counted."""
    for frame in range(6):
        put(f"images/frame_{frame:06d}.png", (20, 10))
    box = '<box frame="{}" outside="{}" keyframe="1" xtl="{}" ytl="2" xbr="{}" ybr="8"/>'
    ends = (box.format(0, 0, 1, 5), box.format(3, 0, 4, 9.5), box.format(5, 1, 0, 1))
    polygon = '<polygon frame="{}" outside="0" points="1,2;5,2;5,8"/>'
    put("annotations.xml", video(
        f'<track id="0" label="cat">{"".join(ends)}</track>'
        f'<track id="1" label="dog">{polygon.format(1)}{polygon.format(3)}</track>'
    ))  # fmt: skip
    contents, report = convert(tmp_path)
    cats = {a["image_id"] - 1: a["bbox"] for a in contents["all"]["annotations"] if a["category_id"] == 2}
    assert cats == {
        0: [1, 2, 4, 6], 1: [2, 2, 4.5, 6], 2: [3, 2, 5, 6], 3: [4, 2, 5.5, 6], 4: [4, 2, 5.5, 6]
    }  # fmt: skip
    assert [entry.count for entry in report.notes.values()] == [3]
    assert {kind: entry.count for kind, entry in report.skipped.items()} == {
        "frames of a track are missing in the file, objects left out there": 1
    }


def test_video_of_images(tmp_path, put):
    for name in ("b 10.jpg", "a 2.jpg", "c.jpg", "d.jpg"):
        put(f"images/{name}", (20, 10))
    put("annotations.xml", video())
    contents, _ = convert(tmp_path)
    assert boxes(contents["all"])[0] == ["b 10.jpg", "cat", [1, 2, 4, 6]]
    put("images/e.jpg", (20, 10))
    with pytest.raises(BadValue, match="which frame cannot be told; export it with its images, or .*ffmpeg"):
        recognise_layout(tmp_path)


def test_video_without_frames(tmp_path, put):
    put("annotations.xml", video())
    with pytest.raises(BadValue, match="CVAT for video.*its frames are not there; export it with its images"):
        recognise_layout(tmp_path)
    put("annotations.xml", video(TRACKS.replace('id="3"', 'id="3" task_id="1"')))
    with pytest.raises(BadValue, match="several videos"):
        recognise_layout(tmp_path)


def test_polygons_of_a_group_are_one_object(folder, put):
    """With the box around them, where there is one. Two boxes, or two classes, are not."""
    shapes = [
        '<polygon label="dog" points="1,1;3,1;3,3" group_id="7"/>',
        '<polygon label="cat" points="1,1;3,1;3,3" group_id="7"/>',
        '<polygon label="dog" points="5,5;9,5;9,8.5" group_id="7"/>',
        '<polygon label="dog" points="2,2;4,2;4,4" group_id="8"/>',
        '<box label="dog" xtl="1" ytl="2" xbr="5" ybr="4" group_id="8"/>',
        '<box label="cat" xtl="1" ytl="2" xbr="5" ybr="4" group_id="9"/>',
        '<box label="cat" xtl="6" ytl="2" xbr="8" ybr="4" group_id="9"/>',
        '<polygon label="dog" points="1,1;3,1;3,3" group_id="0"/>',
        '<polygon label="dog" points="4,4;6,4;6,6" group_id="0"/>',
        '<box label="cat" xtl="2" ytl="3" xbr="4.5" ybr="4" group_id="5"/>',
        '<mask label="cat" rle="0, 2" left="2" top="3" width="2" height="1" group_id="5"/>',
    ]  # fmt: skip
    put("annotations.xml", cvat(*shapes))
    contents, report = convert(folder)
    assert boxes(contents["all"]) == [
        ["a.jpg", "dog", [1, 1, 8, 7.5]], ["a.jpg", "cat", [1, 1, 2, 2]], ["a.jpg", "dog", [1, 2, 4, 2]],
        ["a.jpg", "cat", [1, 2, 4, 2]], ["a.jpg", "cat", [6, 2, 2, 2]],
        ["a.jpg", "dog", [1, 1, 2, 2]], ["a.jpg", "dog", [4, 4, 2, 2]],
        ["a.jpg", "cat", [2, 3, 2.5, 1]],
    ]  # fmt: skip
    joined, _, boxed, *_, masked = contents["all"]["annotations"]
    assert joined["segmentation"] == [[1, 1, 3, 1, 3, 3], [5, 5, 9, 5, 9, 8.5]] and joined["area"] == 2 + 7
    assert boxed["segmentation"] == [[2, 2, 4, 2, 4, 4]]
    assert masked["area"] == 2 and report.notes["shapes of one group, joined to an object"].count == 3
