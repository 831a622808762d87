"""Whole-number drawing and contours: counted by hand."""

import numpy as np
import pycocotools.mask as mask_util
import pytest

from det2lite.data.datasets import shapes_drawing as draw
from det2lite.data.datasets.shapes_coco import boundary_loops, compressed_rle, uncompressed_rle
from det2lite.data.datasets.shapes_scene import box_iou_percent, box_of, shape_outline

PINNED_NUMBERS = [17, 56, 86, 73, 99, 15]  # of the key (1, 2, 3)


def rectangle(left, top, right, bottom):
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)]) * draw.UNITS


def decoded(loops, height, width):
    if not loops:
        return np.zeros((height, width), dtype=bool)
    polygons = [loop.reshape(-1).tolist() for loop in loops]
    return mask_util.decode(mask_util.merge(mask_util.frPyObjects(polygons, height, width))).astype(bool)


def test_dice_give_the_same_numbers_everywhere():
    dice = draw.Dice((1, 2, 3))
    assert [dice.integer(0, 99) for _ in range(6)] == PINNED_NUMBERS
    assert draw.Dice((1, 2, 3)).integers(0, 99, (2, 3)).reshape(-1).tolist() == PINNED_NUMBERS
    assert draw.Dice((1, 2, 4)).integers(0, 99, (6,)).tolist() != PINNED_NUMBERS


def test_dice_stay_in_range():
    dice = draw.Dice((5,))
    numbers = dice.integers(-2, 2, (500,))
    assert sorted(set(numbers.tolist())) == [-2, -1, 0, 1, 2]
    assert dice.integer(7, 7) == 7
    assert not dice.chance(0) and dice.chance(100)


def test_coverage_of_whole_pixels():
    cover = draw.coverage(rectangle(1, 2, 3, 4), 5, 4)
    expected = np.zeros((5, 4), dtype=int)
    expected[2:4, 1:3] = 16
    assert np.array_equal(cover, expected)


def test_coverage_of_parts_of_pixels():
    cover = draw.coverage(np.array([(4, 0), (16, 0), (16, 6), (4, 6)]), 1, 2)
    assert cover.tolist() == [[2 * 3, 4 * 3]]  # half of the columns, three of four rows of samples


def test_coverage_of_a_triangle_and_its_direction():
    triangle = np.array([(0, 0), (16, 0), (0, 16)])
    cover = draw.coverage(triangle, 2, 2)
    assert np.array_equal(cover, draw.coverage(triangle[::-1], 2, 2))
    assert np.array_equal(cover, cover.T)
    assert cover[0, 0] == 16 and cover[1, 1] == 0 and 6 <= cover[0, 1] <= 10


def test_coverage_beyond_the_picture_and_of_nothing():
    assert (draw.coverage(rectangle(-5, -5, 9, 9), 3, 2) == 16).all()
    assert not draw.coverage(rectangle(5, 5, 9, 9), 3, 2).any()
    assert not draw.coverage(rectangle(0, 1, 2, 1), 3, 2).any()  # no height
    assert draw.coverage(rectangle(0, 0, 1, 1), 0, 0).shape == (0, 0)


def test_part_of_the_picture_is_drawn_as_in_the_whole():
    outline = draw.on_circle(6 * draw.UNITS, range(0, 360, 9)) + (9 * draw.UNITS, 3 * draw.UNITS)
    rows, columns = draw.window(outline, 12, 20)
    assert (rows, columns) == (slice(0, 9), slice(3, 15))
    whole = draw.coverage(outline, 12, 20)
    assert np.array_equal(draw.coverage_in(outline, rows, columns), whole[rows, columns])
    assert whole.sum() == whole[rows, columns].sum()


def test_area_and_turning():
    assert draw.area_of(rectangle(1, 2, 4, 6)) == 12
    assert draw.turned(np.array([(80, 0)]), 90).tolist() == [[0, 80]]
    assert draw.area_of(draw.turned(rectangle(0, 0, 10, 10), 30)) in (99, 100)


def test_blend_ends_and_middle():
    below, above = np.zeros((1, 3, 3), dtype=int), np.full((1, 3, 3), 160)
    assert draw.blend(below, above, np.array([[0, 8, 16]]))[0, :, 0].tolist() == [0, 80, 160]


@pytest.mark.parametrize("texture", [draw.stripes(20, 30, 25, 8), draw.checks(20, 30, 70, 12)])
def test_textures_are_in_range(texture):
    assert texture.shape == (20, 30) and texture.min() == 0 and texture.max() == 255


def test_grown():
    mask = np.zeros((5, 5), dtype=bool)
    mask[2, 2] = True
    assert [int(draw.grown(mask, n).sum()) for n in (0, 1, 2)] == [1, 5, 13]


@pytest.mark.parametrize("label", range(5))
def test_shapes_reach_about_their_radius(label):
    for seed in range(5):
        reach = np.sqrt((shape_outline(draw.Dice((seed,)), label, 400) ** 2).sum(axis=1).max())
        assert 330 <= reach <= 470


def test_boxes():
    mask = np.zeros((4, 6), dtype=bool)
    assert box_of(mask) == (0, 0, 0, 0)
    mask[3, 5] = True
    assert box_of(mask) == (5, 3, 1, 1)
    mask[1, 2] = True
    assert box_of(mask) == (2, 1, 4, 3)
    assert box_iou_percent((0, 0, 4, 4), (2, 0, 4, 4)) == 33
    assert box_iou_percent((0, 0, 4, 4), (4, 0, 4, 4)) == 0
    assert box_iou_percent((0, 0, 0, 0), (0, 0, 0, 0)) == 0


def test_loop_around_one_pixel():
    mask = np.zeros((3, 3), dtype=bool)
    mask[1, 2] = True
    loops, has_hole = boundary_loops(mask)
    assert not has_hole and len(loops) == 1
    assert sorted(map(tuple, loops[0].tolist())) == [(2, 1), (2, 2), (3, 1), (3, 2)]
    assert boundary_loops(np.zeros((3, 3), dtype=bool)) == ([], False)


def test_pixels_that_touch_at_a_corner_are_two_parts():
    for mask in (np.eye(2, dtype=bool), ~np.eye(2, dtype=bool)):
        loops, has_hole = boundary_loops(mask)
        assert [len(loop) for loop in loops] == [4, 4] and not has_hole
        assert np.array_equal(decoded(loops, 2, 2), mask)


def test_a_hole_is_seen():
    mask = np.ones((5, 5), dtype=bool)
    assert boundary_loops(mask)[1] is False
    mask[2, 2] = False
    loops, has_hole = boundary_loops(mask)
    assert has_hole and len(loops) == 2
    mask[2, 3:] = False  # now open to the right
    loops, has_hole = boundary_loops(mask)
    assert not has_hole and [len(loop) for loop in loops] == [8]


def test_loops_and_runs_give_back_any_mask():
    dice, with_hole = draw.Dice((9,)), 0
    for case in range(60):
        mask = dice.integers(0, 99, (7, 9)) < 15 + case
        loops, has_hole = boundary_loops(mask)
        with_hole += has_hole
        if not has_hole:
            assert np.array_equal(decoded(loops, 7, 9), mask)
        plain = uncompressed_rle(mask)
        assert np.array_equal(mask_util.decode(mask_util.frPyObjects(plain, 7, 9)), mask)
        assert np.array_equal(mask_util.decode(compressed_rle(mask)), mask)
    assert 0 < with_hole < 60


@pytest.mark.parametrize(
    "rows, counts",
    [([[0, 0], [0, 0]], [4]), ([[1, 1], [1, 1]], [0, 4]), ([[0, 1], [1, 1]], [1, 3]), ([[1, 0], [0, 0]], [0, 1, 3])],
)
def test_runs_by_hand(rows, counts):
    assert uncompressed_rle(np.array(rows, dtype=bool)) == {"size": [2, 2], "counts": counts}
