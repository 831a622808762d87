import numpy as np
import pytest

from det2lite.data import transforms as T

IMAGE = np.array([[[10, 20, 30], [100, 0, 200]]], np.uint8)  # (1, 2, 3)


def applied(augmentation, image=IMAGE):
    return augmentation.get_transform(image).apply_image(image)


def test_intensity_one_changes_nothing():
    for kind in (T.RandomBrightness, T.RandomContrast, T.RandomSaturation):
        assert np.array_equal(applied(kind(1, 1)), IMAGE)


def test_brightness():
    assert applied(T.RandomBrightness(0.5, 0.5)).tolist() == [[[5, 10, 15], [50, 0, 100]]]
    assert applied(T.RandomBrightness(2, 2)).tolist() == [[[20, 40, 60], [200, 0, 255]]]


def test_contrast():
    assert applied(T.RandomContrast(0.5, 0.5)).tolist() == [[[35, 40, 45], [80, 30, 130]]]  # mean 60
    assert applied(T.RandomContrast(0, 0), np.ones((1, 1, 3), np.uint8)).tolist() == [[[1, 1, 1]]]


def test_saturation():
    grey = [0.299 * 10 + 0.587 * 20 + 0.114 * 30, 29.9 + 0.114 * 200]  # 18.15, 52.7
    assert applied(T.RandomSaturation(0, 0)).tolist() == [[[int(grey[0])] * 3, [int(grey[1])] * 3]]
    with pytest.raises(AssertionError, match="3 channels"):
        T.RandomSaturation(0, 1).get_transform(np.zeros((2, 2, 1), np.uint8))


def test_lighting_adds_one_colour():
    image = np.full((2, 2, 3), 0.5)
    assert np.allclose(applied(T.RandomLighting(0.0), image), 0.5)
    np.random.seed(4)
    lit = applied(T.RandomLighting(0.1), image) - 0.5
    np.random.seed(4)
    a, b, c = np.random.normal(scale=0.1, size=3) * (0.2175, 0.0188, 0.0045)
    assert np.allclose(lit, [-0.5675 * a + 0.7192 * b + 0.4009 * c, -0.5808 * a - 0.0045 * b - 0.8140 * c,
                             -0.5836 * a - 0.6948 * b + 0.4203 * c])
    with pytest.raises(AssertionError, match="3 channels"):
        T.RandomLighting(0.1).get_transform(np.zeros((2, 2)))


def test_intensities_are_drawn_from_the_range():
    np.random.seed(6)
    weights = [T.RandomContrast(0.8, 1.4).get_transform(IMAGE).dst_weight for _ in range(4)]
    np.random.seed(6)
    assert weights == [np.random.uniform(0.8, 1.4) for _ in range(4)]
