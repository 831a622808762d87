import numpy as np
import pytest

from det2lite.utils.colormap import colormap, jitter, lighten, palette_color, random_color, random_colors
from det2lite.utils.errors import BadValue


def test_channels_and_range():
    rgb = colormap(rgb=True)
    assert rgb.shape == (80, 3) and rgb.dtype == np.float32
    assert rgb.min() >= 0 and 200 < rgb.max() <= 255
    assert np.array_equal(colormap(), rgb[:, ::-1])
    assert np.allclose(colormap(rgb=True, maximum=1) * 255, rgb, atol=1e-3)
    colormap()[:] = 0  # a caller's copy
    assert colormap().max() > 200


def test_maximum_is_1_or_255():
    with pytest.raises(BadValue, match="maximum"):
        colormap(maximum=100)


def test_the_first_colours_differ_clearly():
    colors = colormap(rgb=True)[:12]
    distances = np.linalg.norm(colors[:, None] - colors[None], axis=2) + 1e3 * np.eye(12)
    assert distances.min() > 40


def test_random_colors_are_of_the_palette():
    palette = {tuple(color) for color in colormap(rgb=True)}
    assert tuple(random_color(rgb=True)) in palette
    colors = {tuple(color) for color in random_colors(80, rgb=True)}
    assert colors == palette
    assert len(random_colors(200)) == 200
    assert random_colors(0) == []


def test_palette_starts_again():
    assert palette_color(80) == palette_color(0)
    assert np.allclose(np.multiply(palette_color(3), 255), colormap(rgb=True)[3], atol=1e-3)


def test_lighten_and_jitter():
    assert lighten((0.5, 0.0, 1.0), 0.5) == (0.75, 0.5, 1.0)
    assert lighten((0.5, 0.0, 1.0), -0.5) == (0.25, 0.0, 0.5)
    near = jitter((0.0, 0.5, 1.0), np.random.default_rng(0))
    assert all(0 <= channel <= 1 for channel in near) and near != (0.0, 0.5, 1.0)
    assert np.abs(np.subtract(near, (0.0, 0.5, 1.0))).max() <= 0.12
