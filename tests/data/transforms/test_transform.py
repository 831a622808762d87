import itertools

import numpy as np
import pytest
from PIL import Image, ImageOps

from det2lite.data import transforms as T
from det2lite.data.transforms.pixels import as_planes

RNG = np.random.default_rng(0)
SHAPES = [(10, 12), (10, 12, 1), (10, 12, 2), (10, 12, 3), (10, 12, 4), (10, 12, 5)]


def picture(*shape):
    return RNG.integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_resize_keeps_channels_and_dtype(shape, dtype):
    out = T.ResizeTransform(10, 12, 7, 25).apply_image(picture(*shape).astype(dtype))
    assert out.shape == (7, 25, *shape[2:])
    assert out.dtype == dtype


def test_resize_of_uint8_is_pils():
    rgb = picture(31, 47, 3)
    transform = T.ResizeTransform(31, 47, 13, 20)
    expected = np.asarray(Image.fromarray(rgb).resize((20, 13), Image.BILINEAR))
    assert np.array_equal(transform.apply_image(rgb), expected)
    assert np.array_equal(transform.apply_image(rgb[:, :, ::-1]), expected[:, :, ::-1])  # a BGR view
    assert np.array_equal(transform.apply_image(rgb[:, :, :1]), expected[:, :, :1])
    flipped = np.asarray(Image.fromarray(rgb[:, ::-1].copy()).resize((20, 13), Image.BILINEAR))
    assert np.array_equal(transform.apply_image(rgb[:, ::-1]), flipped)


def test_resize_of_floats_is_not_antialiased():
    image = np.array([[0.0, 1.0, 2.0, 3.0]], dtype=np.float32)
    assert np.allclose(T.ResizeTransform(1, 4, 1, 2).apply_image(image), [[0.5, 2.5]])
    assert np.allclose(T.ResizeTransform(1, 4, 1, 2).apply_image(image, interp=Image.NEAREST), [[0, 2]])
    stack = np.zeros((4, 6, 3, 2), dtype=np.float32)
    assert T.ResizeTransform(4, 6, 2, 3).apply_image(stack).shape == (2, 3, 3, 2)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64, bool])
def test_resize_of_labels_makes_no_new_labels(dtype):
    labels = np.array([[0, 1], [1, 0]]).astype(dtype)
    out = T.ResizeTransform(2, 2, 4, 6).apply_segmentation(labels)
    assert out.dtype == dtype
    assert np.array_equal(out, np.kron(labels.astype(int), np.ones((2, 3), dtype=int)).astype(dtype))


def test_resize_one_pixel():
    pixel = np.full((1, 1, 3), 9, np.uint8)
    assert np.array_equal(T.ResizeTransform(1, 1, 3, 2).apply_image(pixel), np.full((3, 2, 3), 9))


def test_resize_rejects_another_size():
    with pytest.raises(AssertionError, match="given an image of shape"):
        T.ResizeTransform(10, 12, 5, 6).apply_image(picture(12, 10, 3))


def test_resize_coords_and_inverse():
    transform = T.ResizeTransform(10, 20, 30, 10)
    assert np.allclose(transform.apply_coords(np.array([[20.0, 10.0], [4.0, 1.0]])), [[10, 30], [2, 3]])
    assert np.allclose(transform.inverse().apply_coords(np.array([[2.0, 3.0]])), [[4, 1]])
    assert transform.apply_coords(np.zeros((0, 2))).shape == (0, 2)
    assert transform.apply_box(np.zeros((0, 4))).shape == (0, 4)


def test_extent_cuts_scales_and_fills():
    image = np.arange(16, dtype=np.uint8).reshape(4, 4)
    assert np.array_equal(T.ExtentTransform((1, 1, 3, 3), (2, 2)).apply_image(image), [[5, 6], [9, 10]])
    outside = T.ExtentTransform((-2, 0, 2, 4), (4, 4), interp=Image.NEAREST, fill=7).apply_image(image)
    assert np.array_equal(outside, np.column_stack((np.full((4, 2), 7), image[:, :2])))
    coloured = T.ExtentTransform((-4, 0, 0, 4), (4, 4), fill=7).apply_image(picture(4, 4, 3))
    assert (coloured == 7).all() and coloured.shape == (4, 4, 3)


def test_extent_does_not_mix_labels():
    labels = np.array([[0, 200], [0, 200]], dtype=np.uint8)
    transform = T.ExtentTransform((0, 0, 2, 2), (4, 8))
    assert set(np.unique(transform.apply_segmentation(labels))) == {0, 200}
    assert transform.apply_segmentation(labels > 0).dtype == bool
    assert set(np.unique(transform.apply_segmentation(labels.astype(np.int64) * 300))) == {0, 60000}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_extent_keeps_channels(shape, dtype):
    out = T.ExtentTransform((2, 2, 8, 8), (5, 9)).apply_image(picture(*shape).astype(dtype))
    assert out.shape == (5, 9, *shape[2:]) and out.dtype == dtype


def test_extent_coords():
    transform = T.ExtentTransform((20, 10, 80, 40), (60, 30))
    assert np.allclose(transform.apply_coords(np.array([[20.0, 10.0], [80.0, 40.0]])), [[0, 0], [30, 60]])


@pytest.mark.parametrize("turns", range(-4, 5))
@pytest.mark.parametrize("size", [(5, 5), (4, 7), (1, 1), (1, 6)])
def test_rotation_by_right_angles(turns, size):
    image = RNG.random(size)
    transform = T.RotationTransform(*size, 90 * turns)
    rotated = transform.apply_image(image)
    assert np.array_equal(rotated, np.rot90(image, turns % 4))
    assert np.allclose(transform.inverse().apply_image(rotated), image)
    # the pixel that holds a point holds it afterwards
    x, y = transform.apply_coords(np.array([[0.5, 0.5]]))[0]
    assert rotated[int(y), int(x)] == image[0, 0]


def test_rotation_counter_clockwise_on_coords():
    transform = T.RotationTransform(4, 6, 90)  # (h, w) becomes (6, 4)
    moved = transform.apply_coords(np.array([[0, 0], [6, 0], [6, 4], [0, 4]]))
    assert np.allclose(moved, [[0, 6], [0, 0], [4, 0], [4, 6]])
    assert transform.apply_coords(np.zeros((0, 2))).shape == (0, 2)


def test_rotation_about_a_point_keeps_size_and_point():
    transform = T.RotationTransform(8, 8, 30, expand=False, center=(2, 3))
    assert transform.apply_image(picture(8, 8, 3)).shape == (8, 8, 3)
    assert np.allclose(transform.apply_coords(np.array([[2.0, 3.0]])), [[2, 3]])
    # 2 to the right of the point goes to 2 (cos 30, -sin 30) from it: up, since y points down
    assert np.allclose(transform.apply_coords(np.array([[4.0, 3.0]])), [[2 + 3**0.5, 2]])
    with pytest.raises(NotImplementedError):
        transform.inverse()


def test_rotation_with_expand_ignores_center():
    rotations = [T.RotationTransform(5, 9, 77, center=center) for center in (None, (0, 0), (9, 5))]
    assert all(np.array_equal(r.rm_image, rotations[0].rm_image) for r in rotations)
    corners = rotations[0].apply_coords(np.array([[0, 0], [9, 0], [9, 5], [0, 5]], dtype=float))
    bounds = (rotations[0].bound_w, rotations[0].bound_h)
    assert np.allclose(corners.min(0) + corners.max(0), bounds)
    assert np.allclose(np.ptp(corners, axis=0), bounds, atol=0.5)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.int32, bool])
def test_rotation_of_labels(dtype):
    labels = np.array([[0, 1], [1, 1]]).astype(dtype)
    rotated = T.RotationTransform(2, 2, 90).apply_segmentation(labels)
    assert rotated.dtype == dtype and np.array_equal(rotated, np.rot90(labels))


def test_rotation_keeps_a_single_channel():
    assert T.RotationTransform(4, 6, 90).apply_image(picture(4, 6, 1)).shape == (6, 4, 1)


def test_color_transforms():
    image = picture(6, 5, 3)
    assert np.array_equal(T.ColorTransform(lambda x: 255 - x).apply_image(image), 255 - image)
    solarize = T.PILColorTransform(lambda x: ImageOps.solarize(x, 100))
    assert np.array_equal(solarize.apply_image(image), np.asarray(ImageOps.solarize(Image.fromarray(image), 100)))
    assert np.array_equal(solarize.apply_coords(np.ones((2, 2))), np.ones((2, 2)))
    assert solarize.apply_segmentation(image) is image
    assert isinstance(solarize.inverse(), T.NoOpTransform)
    for kind in (T.ColorTransform, T.PILColorTransform):
        with pytest.raises(ValueError):
            kind(3)


def test_rotated_boxes():
    boxes = np.array([[179.0, 97, 62, 40, -56]])
    transforms = T.TransformList([T.ResizeTransform(200, 300, 800, 1200), T.HFlipTransform(1200), T.NoOpTransform()])
    assert np.allclose(transforms.apply_rotated_box(boxes), [[484, 388, 248, 160, 56]])
    empty = np.zeros((0, 5))
    assert transforms.apply_rotated_box(empty).shape == (0, 5)


def test_rotated_boxes_under_unequal_scales():
    resize = T.ResizeTransform(100, 100, 200, 300)  # x3, y2
    boxes = np.array([[10.0, 20, 4, 6, 0], [10, 20, 4, 6, 90], [10, 20, 4, 6, 45]])
    side = 0.5**0.5 * 13**0.5  # a unit vector at 45 degrees becomes (3, 2) / sqrt(2)
    angle = np.degrees(np.arctan2(3, 2))
    expected = [[30, 40, 12, 12, 0], [30, 40, 8, 18, 90], [30, 40, 4 * side, 6 * side, angle]]
    assert np.allclose(resize.apply_rotated_box(boxes), expected)


def test_repr():
    assert repr(T.ResizeTransform(1, 2, 3, 4, 0)) == "ResizeTransform(h=1, w=2, new_h=3, new_w=4, interp=0)"
    assert repr(T.RotationTransform(4, 6, 90, interp=1)).startswith("RotationTransform(h=4, w=6, angle=90")


@pytest.mark.parametrize("shape", [(7, 5, 3), (1, 1, 3), (0, 4, 3), (7, 5), (7, 5, 4)])
@pytest.mark.parametrize("steps", list(itertools.product((1, -1), repeat=3)))
def test_planes_of_any_view(shape, steps):
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    view = image[tuple(slice(None, None, step) for step in steps[: image.ndim])]
    planes = as_planes(view)
    expected = view if view.ndim == 3 else view[:, :, None]
    assert planes.flags.c_contiguous and planes.flags.writeable and np.array_equal(planes, expected.transpose(2, 0, 1))
