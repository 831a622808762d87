"""Annotations of pictures that EXIF turns are turned as Pillow turns the picture; nothing is guessed."""

import copy

import numpy as np
import pycocotools.mask as mask_util
import pytest
from PIL import Image, ImageOps

from det2lite.data.preflight import check_content, clean
from det2lite.data.preflight.content import content_of
from det2lite.data.preflight.turning import turn, turn_points

WIDTH, HEIGHT = 60, 40
BOX = [37, 5, 12, 20]  # x, y, width, height of the one white part of the picture
POINT = (40, 9)  # a pixel of it, which is grey


def picture():
    array = np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)
    x, y, w, h = BOX
    array[y : y + h, x : x + w] = 255
    array[POINT[1], POINT[0]] = 100
    return array


def save(path, array, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(array).save(path, "PNG", exif=exif)


def data(size=(WIDTH, HEIGHT), boxes=(BOX,), **more):
    image = {"id": 7, "file_name": "a.png", "width": size[0], "height": size[1]}
    annotations = []
    for number, (x, y, w, h) in enumerate(boxes, 1):
        polygon = [x, y, x + w, y, x + w, y + h, x, y + h]
        annotations.append({
            "id": number, "image_id": 7, "category_id": 1, "bbox": [x, y, w, h], "area": w * h, "iscrowd": 0,
            "segmentation": [polygon], "keypoints": [*POINT, 2, 0, 0, 0], "num_keypoints": 1, **more,
        })  # fmt: skip
    category = {"id": 1, "name": "cell", "keypoints": ["a", "b"]}
    return content_of({"images": [image], "annotations": annotations, "categories": [category]}, "data")


def fixed(content, folder):
    """The cleaned copy, which has no faults left; the original is as it was."""
    before = copy.deepcopy(content)
    result = clean(content, check_content(content, str(folder)), str(folder))
    assert content == before
    assert not check_content(result.content, str(folder)).of("error")
    return result


def where(array):
    """XYXY of what is not black."""
    rows, columns = np.nonzero(array.any(axis=-1))
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_annotations_turn_with_the_picture(tmp_path, orientation):
    save(tmp_path / "a.png", picture(), orientation)
    with Image.open(tmp_path / "a.png") as image:
        upright = np.asarray(ImageOps.exif_transpose(image))
    assert upright.shape[:2] == (WIDTH, HEIGHT)
    mask = mask_util.encode(np.asfortranarray(picture().any(axis=-1), dtype=np.uint8))
    code = {"size": [HEIGHT, WIDTH], "counts": mask["counts"].decode()}
    for segmentation in (None, code):
        content = data(**({"segmentation": segmentation} if segmentation else {}))
        assert [f.kind for f in check_content(content, str(tmp_path)).findings] == ["exif-turned"]
        result = fixed(content, tmp_path)
        (image,), (annotation,) = result.content.images, result.content.annotations
        assert (image["width"], image["height"]) == (HEIGHT, WIDTH)
        x, y, w, h = annotation["bbox"]
        x0, y0, x1, y1 = where(upright)
        assert [x, y, x + w, y + h] == [x0, y0, x1, y1]
        if segmentation:
            assert (mask_util.decode(annotation["segmentation"]) == upright.any(axis=-1)).all()
        else:
            (polygon,) = annotation["segmentation"]
            corners = {*zip(polygon[::2], polygon[1::2], strict=True)}
            assert corners == {(x0, y0), (x0, y1), (x1, y0), (x1, y1)}
        column, row, visible, *rest = annotation["keypoints"]
        assert (upright[int(row), int(column)] == 100).all() and visible == 2 and rest == [0, 0, 0]
        assert [change["why"] for change in result.changes] == ["exif-turned"]


def test_annotations_of_the_upright_picture_stay(tmp_path):
    """The size was written by a program that does not know EXIF; one box does not fit it, and fits the upright one."""
    save(tmp_path / "a.png", picture(), 6)
    boxes = ([5, 45, 10, 12], [3, 4, 20, 20])
    result = fixed(data(boxes=boxes), tmp_path)
    assert (result.content.images[0]["width"], result.content.images[0]["height"]) == (HEIGHT, WIDTH)
    assert [a["bbox"] for a in result.content.annotations] == [list(box) for box in boxes]


def test_sides_that_are_swapped_without_exif(tmp_path):
    save(tmp_path / "a.png", picture(), 1)
    result = fixed(data(size=(HEIGHT, WIDTH)), tmp_path)  # the box ends at 49, which fits 60 and not 40
    assert (result.content.images[0]["width"], result.content.images[0]["height"]) == (WIDTH, HEIGHT)
    assert result.content.annotations[0]["bbox"] == BOX
    # a box that fits both tells nothing, and one that fits neither makes the whole doubtful
    for boxes in ([[3, 4, 10, 10]], [BOX, [50, 5, 30, 10]]):
        assert fixed(data(size=(HEIGHT, WIDTH), boxes=boxes), tmp_path).content.images == []
    assert fixed(data(size=(2 * WIDTH, 2 * HEIGHT)), tmp_path).content.images == []


def test_faults_of_a_turned_picture_are_put_right_as_elsewhere(tmp_path):
    save(tmp_path / "a.png", picture(), 6)
    content = data(boxes=(BOX, [5, 5, -3, 4], [10, 10, 8, 8], [1, 2, 3, 4]))
    for annotation, change in zip(content.annotations[1:], (
        {}, {"bbox": ["10", "10", "8", "8"]}, {"segmentation": {"size": [9, 9], "counts": [81]}}
    ), strict=True):  # fmt: skip
        annotation.update(change)
    result = fixed(content, tmp_path)
    assert [a["id"] for a in result.content.annotations] == [1, 2, 3]
    assert result.content.annotations[1]["bbox"] == [HEIGHT - 9, 2, 4, 3]  # of its polygon, from (2, 5) to (5, 9)
    assert result.content.annotations[2]["bbox"] == [HEIGHT - 18, 10, 8, 8]


def test_an_entry_that_is_left_out_turns_nothing(tmp_path):
    save(tmp_path / "a.png", picture(), 6)
    Image.fromarray(picture()).save(tmp_path / "b.png")
    content = data()
    content.images.insert(0, {**content.images[0], "file_name": "b.png"})  # the same id
    result = fixed(content, tmp_path)
    assert [image["file_name"] for image in result.content.images] == ["b.png"]
    assert result.content.annotations[0]["bbox"] == BOX


@pytest.mark.parametrize("size", [(None, None), (0, 40), ("a", 40), (-3, -3), (10**9, 40)])
def test_sizes_that_no_image_has_become_those_of_the_file(tmp_path, size):
    save(tmp_path / "a.png", picture(), 1)
    content = data(size=size)
    result = fixed(content, tmp_path)
    (image,) = result.content.images
    assert (image["width"], image["height"]) == (WIDTH, HEIGHT)
    assert result.content.annotations == content.annotations
    doubtful = data(size=size, boxes=(BOX, [50, 5, 30, 10]))  # one does not fit
    assert fixed(doubtful, tmp_path).content.images == []
    (tmp_path / "a.png").write_text("no image")
    assert fixed(content, tmp_path).content.images == []


@pytest.mark.parametrize(
    "box", [[37, 5, -12, 20], [37, 5, 0, 20], [900, 5, 12, 20], [float("nan"), 5, 12, 20], None, "x"]
)
def test_boxes_that_cannot_be_used_are_taken_from_the_mask(tmp_path, box):
    save(tmp_path / "a.png", picture(), 1)
    mask = mask_util.encode(np.asfortranarray(picture().any(axis=-1), dtype=np.uint8))
    code = {"size": [HEIGHT, WIDTH], "counts": mask["counts"].decode()}
    for more in ({}, {"segmentation": code}):
        content = data(**more)
        content.annotations[0]["bbox"] = box
        result = fixed(content, tmp_path)
        assert [a["bbox"] for a in result.content.annotations] == [BOX]
        assert result.changes[0]["change"] == "bbox taken from the mask"
    for segmentation in ([], [[1, 2, 3, 4]], {"size": [9, 9], "counts": [81]}, [[70, 5, 90, 5, 90, 9]]):
        content = data(segmentation=segmentation)
        content.annotations[0]["bbox"] = box
        assert fixed(content, tmp_path).content.annotations == []


def corners(box):
    """Of a rotated box: (4, 2) XY, in ascending order."""
    x, y, width, height, degrees = box
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    along, across = np.array([cos, -sin]) * width / 2, np.array([sin, cos]) * height / 2  # y grows downwards
    found = [(x, y) + i * along + j * across for i in (-1, 1) for j in (-1, 1)]
    return sorted(np.round(found, 6).tolist())


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_rotated_boxes_turn(orientation):
    box, stored = [40.0, 12, 20, 6, 25], (WIDTH, HEIGHT)
    annotation = {"bbox": box}
    turn(annotation, orientation, stored)
    wanted = turn_points(np.array(corners(box)), orientation, stored)
    assert corners(annotation["bbox"]) == sorted(np.round(wanted, 6).tolist())


def test_rotated_boxes_are_kept_as_they_are():
    content = data(boxes=(BOX, BOX), area=240.0)
    content.annotations[0]["bbox"], content.annotations[1]["bbox"] = [43.0, 15, 12, 20, 30], [44.0, 15, 12, 20, 30]
    report = check_content(content, None)
    assert not report.of("error") and not report.of("warning")
    cleaned = clean(content, report)
    assert [a["bbox"] for a in cleaned.content.annotations] == [a["bbox"] for a in content.annotations]
    assert cleaned.changes == []
    content.annotations[0]["bbox"][4] = float("nan")
    assert [f.kind for f in check_content(content, None).of("error")] == ["not-a-number"]
