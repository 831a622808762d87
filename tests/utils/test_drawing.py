import numpy as np
import pytest

from det2lite.utils.drawing import Drawing, rotated_corners


def changed(drawing, background=0):
    return (drawing.output.get_image() != background).any(axis=2)


def black(height=60, width=80, **kwargs):
    return Drawing(np.zeros((height, width, 3), np.uint8), **kwargs)


def test_box_changes_only_the_neighbourhood_of_its_border():
    drawing = black()
    drawing.draw_box([20, 10, 60, 50], alpha=1.0, edge_color=(1, 0, 0))
    image, touched = drawing.output.get_image(), changed(drawing)
    near = np.zeros((60, 80), bool)
    near[8:52, 18:62] = True
    near[13:47, 23:57] = False
    assert not touched[~near].any()
    assert image[30, 19:21, 0].max() > 200 and image[9:11, 40, 0].max() > 200
    assert (image[..., 1:] == 0).all()


def test_box_scales_with_the_canvas():
    drawing = black(scale=3)
    drawing.draw_box(np.array([20, 10, 60, 50]), edge_color="w", alpha=1)
    ys, xs = np.nonzero(changed(drawing))
    assert abs(xs.min() - 60) <= 3 and abs(xs.max() - 180) <= 3 and abs(ys.min() - 30) <= 3 and abs(ys.max() - 150) <= 3


def test_mask_blends_by_alpha_and_touches_nothing_else():
    drawing = Drawing(np.full((20, 30, 3), 100, np.uint8))
    mask = np.zeros((20, 30), bool)
    mask[5:9, 7:20] = True
    image = drawing.draw_binary_mask(mask, color=(1, 0, 0), alpha=0.5).get_image().astype(int)
    assert np.abs(image[mask] - (177.5, 50, 50)).max() <= 2
    assert (image[~mask] == 100).all()


def test_mask_with_a_hole_has_two_colours_at_any_scale():
    image = np.zeros((50, 40, 3))
    image[..., 0] = 255
    mask = np.zeros((50, 40), np.uint8)
    mask[:, 15:30] = 1
    mask[20:30, 18:25] = 0
    for scale in (1, 2, 3):
        shown = Drawing(image, scale=scale).draw_binary_mask(mask, color="blue").get_image()
        expected = np.kron(mask, np.ones((scale, scale))) > 0
        assert ((shown != (255, 0, 0)).any(axis=2) == expected).all()
        assert len({tuple(pixel) for pixel in shown.reshape(-1, 3).tolist()}) == 2


def test_masks_below_the_threshold_are_left_out():
    drawing = black()
    mask = np.zeros((60, 80), bool)
    mask[0, :9] = True
    drawing.draw_binary_mask(mask, color="red", text="tiny")
    drawing.draw_binary_mask(np.zeros((60, 80)), color="red", text="none", area_threshold=0)
    assert not changed(drawing).any()
    assert changed(_drawn(drawing.draw_binary_mask, mask, drawing, area_threshold=None))[0, :9].all()


def _drawn(method, mask, drawing, **kwargs):
    method(mask, color="red", **kwargs)
    return drawing


def test_soft_mask_blends_by_its_values():
    shares = np.zeros((60, 80), np.float32)
    shares[:, 40:] = np.linspace(0, 1, 40)
    image = black().draw_soft_mask(shares, color=(0, 1, 0), alpha=0.8).get_image()
    assert (image[:, :40] == 0).all()
    assert np.abs(image[10, 40:, 1] - shares[10, 40:] * 0.8 * 255).max() <= 2
    assert (black().draw_soft_mask(np.zeros((60, 80)), text="no").get_image() == 0).all()


def test_polygon_fill_and_edge():
    image = black().draw_polygon([20, 10, 60, 10, 60, 50, 20, 50], (0, 0, 1), edge_color="r", alpha=0.5).get_image()
    assert abs(int(image[30, 40, 2]) - 127) <= 2 and image[30, 40, 0] == 0
    assert image[30, 19:21, 0].max() > 60
    assert image[5, 5].tolist() == [0, 0, 0]


def test_circle_and_line():
    drawing = black()
    drawing.draw_circle((20, 30), color=(0, 1, 0), radius=4)
    touched = changed(drawing)
    assert 40 <= touched.sum() <= 75 and touched[30, 20]
    drawing = black()
    drawing.draw_line([40, 70], [10, 10], color=(1, 1, 1), linewidth=2)
    touched = changed(drawing)
    assert touched[9:11, 42:68].all() and not touched[14:, :].any() and not touched[:, :37].any()


def test_text_sits_below_its_position():
    drawing = black(100, 200)
    drawing.draw_text("$5 note", (100, 40), color="w")  # a dollar starts no formula
    ys, xs = np.nonzero(drawing.output.get_image().max(axis=2) > 128)
    assert len(xs) and ys.min() >= 39 and ys.max() <= 60 and abs((xs.min() + xs.max()) / 2 - 100) < 6


def test_rotated_corners_turn_against_the_clock():
    assert np.allclose(rotated_corners([10, 10, 4, 2, 0]), [(8, 9), (12, 9), (12, 11), (8, 11)])
    assert np.allclose(rotated_corners([10, 10, 4, 2, 90]), [(9, 12), (9, 8), (11, 8), (11, 12)])


def test_rotated_box_outline():
    drawing = black()
    drawing.draw_rotated_box_with_label([40, 30, 40, 20, 90], alpha=1, edge_color="w")
    ys, xs = np.nonzero(changed(drawing))
    assert abs(xs.min() - 30) <= 2 and abs(xs.max() - 50) <= 2 and abs(ys.min() - 10) <= 2 and abs(ys.max() - 50) <= 2


@pytest.mark.parametrize("size", [(1, 1), (1, 12), (10, 10)])
def test_tiny_images_take_every_call(size):
    drawing = black(*size)
    drawing.draw_box([0, 0, 1, 1])
    drawing.draw_rotated_box_with_label([0, 0, 1, 1, 30], label="a long label")
    drawing.draw_binary_mask(np.ones(size), color="r", text="a long label", area_threshold=0, edge_color="w")
    drawing.draw_soft_mask(np.ones(size), text="x")
    drawing.draw_text("text", (0, 0))
    drawing.draw_circle((0, 0), "r")
    drawing.draw_polygon([[0, 0]], "r")
    assert drawing.get_output().get_image().shape == (*size, 3)


def test_a_label_that_does_not_fit_is_shortened_or_left_out():
    text, (width, height) = black(60, 80)._fitted_label("an exceedingly long name of a class")
    assert text.endswith("…") and width <= 80 and height <= 30
    assert black(10, 10)._fitted_label("cat")[0] == ""
    assert black(200, 200)._fitted_label("two\nlines")[0] == "two lines"


def test_small_objects_on_large_pictures_are_not_covered():
    def size_of_label(side):
        drawing = black(1000, 1000)
        drawing.limit_sizes(side)
        drawing.draw_text("x", (500, 500))
        return np.ptp(np.nonzero(changed(drawing))[0])

    plain = black(1000, 1000).draw_text("x", (500, 500)).get_image().any(axis=2)
    assert 0 < size_of_label(1) == size_of_label(36) < size_of_label(60) < size_of_label(1000)
    assert size_of_label(1000) == np.ptp(np.nonzero(plain)[0])
