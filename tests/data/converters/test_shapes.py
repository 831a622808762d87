import base64
import io
import math

import numpy as np
import pycocotools.mask as mask_util
import pytest
from PIL import Image

from det2lite.data.converters.shapes import (
    box_of_mask,
    ellipse,
    encode_mask,
    joined,
    mask_of_png,
    mask_of_runs,
    outlines_of_mask,
    paste,
    turned_box,
)


def area(polygon):
    x, y = np.reshape(polygon, (-1, 2)).T
    return abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2


def test_circle():
    polygon, box = ellipse(10, 20, 5, 5)
    assert box == pytest.approx((5, 15, 15, 25))
    points = np.reshape(polygon, (-1, 2))
    assert np.hypot(*(points - [10, 20]).T) == pytest.approx(np.full(len(points), 5))
    assert (points.min(axis=0), points.max(axis=0)) == (pytest.approx([5, 15]), pytest.approx([15, 25]))
    assert area(polygon) == pytest.approx(math.pi * 25, rel=0.03)
    assert area(ellipse(0, 0, 400, 400)[0]) == pytest.approx(math.pi * 160000, rel=0.001)


def test_turned_ellipse():
    polygon, box = ellipse(0, 0, 4, 2, math.pi / 2)
    assert box == pytest.approx((-2, -4, 2, 4))
    polygon, box = ellipse(0, 0, 4, 2, math.pi / 6)
    half = (math.sqrt(16 * 0.75 + 4 * 0.25), math.sqrt(16 * 0.25 + 4 * 0.75))
    assert box == pytest.approx((-half[0], -half[1], half[0], half[1]))
    assert len(ellipse(0, 0, 0, 0)[0]) >= 6  # a point
    assert len(ellipse(0, 0, 1e300, 1e300)[0]) == 2 * 720


def test_turned_box():
    assert turned_box((0, 0, 4, 2), 90) == pytest.approx([3, -1, 3, 3, 1, 3, 1, -1])


def test_masks():
    runs = mask_of_runs([1, 2, 3], 3, 2)
    assert runs.tolist() == [[False, True, True], [False, False, False]]
    whole = paste(runs, -1, 1, (4, 2))  # one column and one row fall off
    assert whole.tolist() == [[False] * 4, [True, True, False, False]]
    rle = encode_mask(whole)
    assert rle["size"] == [2, 4] and box_of_mask(rle) == (0, 1, 2, 2)
    assert paste(runs, 10, 10, (4, 2)).sum() == 0
    assert box_of_mask(encode_mask(np.zeros((2, 2), bool))) == (0, 0, 0, 0)
    for counts in ([1, 2], [7, -1], [6, 1]):
        with pytest.raises(ValueError, match="add up to 3 x 2"):
            mask_of_runs(counts, 3, 2)
    with pytest.raises(ValueError):
        mask_of_runs([0], 0, 5)


def test_png():
    file = io.BytesIO()
    Image.fromarray(np.array([[0, 1], [255, 0]], dtype=np.uint8)).save(file, "PNG")
    assert mask_of_png(base64.b64encode(file.getvalue()).decode()).tolist() == [[False, True], [True, False]]
    for text in ("no base64!", base64.b64encode(b"GIF89a").decode()):
        with pytest.raises(ValueError, match="no PNG in base64"):
            mask_of_png(text)


def test_outlines_are_exact():
    mask = np.zeros((8, 9), dtype=np.uint8)
    mask[2:4, 3:6] = 1
    polygons, has_holes = outlines_of_mask(encode_mask(mask))
    assert {tuple(p) for p in np.reshape(polygons[0], (-1, 2)).tolist()} == {(3, 2), (6, 2), (6, 4), (3, 4)}
    assert not has_holes
    mask[3, 4] = 0  # a notch
    mask[6, 1] = 1
    polygons, has_holes = outlines_of_mask(encode_mask(mask))
    assert sorted(map(area, polygons)) == [1, 5] and not has_holes
    back = mask_util.decode(mask_util.merge(mask_util.frPyObjects(polygons, *mask.shape)))
    assert (back == mask).all()
    mask[2:5, 3:6] = 1
    mask[3, 4] = 0  # now a hole
    polygons, has_holes = outlines_of_mask(encode_mask(mask))
    assert sorted(map(area, polygons)) == [1, 9] and has_holes


def test_joined():
    squares = [[0, 0, 2, 0, 2, 2, 0, 2], [5, 0, 7, 0, 7, 2, 5, 2]]
    whole = joined(squares)
    assert area(whole) == 8 and len(whole) == 2 * (4 + 4 + 2)
    both = mask_util.decode(mask_util.merge(mask_util.frPyObjects(squares, 4, 8)))
    assert (mask_util.decode(mask_util.frPyObjects([whole], 4, 8))[..., 0] == both).all()
    assert joined(squares[:1]) == squares[0]
