import numpy as np
import pytest
from PIL import Image

from det2lite.utils.errors import BadValue
from det2lite.utils.vis_image import VisImage


@pytest.mark.parametrize("size", [(1, 1), (10, 10), (1, 37), (29, 3), (100, 333)])
def test_an_untouched_canvas_is_the_image(size):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    canvas = VisImage(image)
    assert (canvas.height, canvas.width) == size
    assert np.array_equal(canvas.get_image(), image)


@pytest.mark.parametrize("scale, expected", [(2.0, (20, 58)), (0.5, (5, 14)), (0.01, (1, 1)), (1.2, (12, 34))])
def test_scale_changes_the_size(scale, expected):
    assert VisImage(np.zeros((10, 29, 3), np.uint8), scale=scale).get_image().shape == (*expected, 3)


def test_floats_grey_and_wrong_input():
    assert np.array_equal(VisImage(np.full((2, 2, 3), 300.7)).get_image(), np.full((2, 2, 3), 255))
    assert np.array_equal(VisImage(np.full((2, 2), 7)).get_image(), np.full((2, 2, 3), 7))
    for wrong in (np.zeros((0, 4, 3)), np.zeros((4, 4, 4)), np.zeros(3)):
        with pytest.raises(BadValue, match=r"\(H, W, 3\)"):
            VisImage(wrong)
    with pytest.raises(BadValue, match="scale"):
        VisImage(np.zeros((4, 4, 3)), scale=0)


def test_reset_image_keeps_the_drawings():
    canvas = VisImage(np.zeros((8, 8, 3), np.uint8))
    canvas.ax.axvspan(0, 4, facecolor=(1, 0, 0), linewidth=0)
    canvas.reset_image(np.full((8, 8, 3), 90, np.uint8))
    image = canvas.get_image()
    assert (image[:, :4] == (255, 0, 0)).all() and (image[:, 4:] == 90).all()
    with pytest.raises(BadValue, match="size"):
        canvas.reset_image(np.zeros((8, 9, 3)))


def test_save(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (12, 20, 3), dtype=np.uint8)
    canvas = VisImage(image)
    canvas.save(tmp_path / "picture.png")
    assert np.array_equal(np.asarray(Image.open(tmp_path / "picture.png")), image)
    canvas.save(str(tmp_path / "picture.JPG"))
    assert Image.open(tmp_path / "picture.JPG").size == (20, 12)
    canvas.save(tmp_path / "picture.svg")
    assert b"<svg" in (tmp_path / "picture.svg").read_bytes()
    with pytest.raises(BadValue, match="xyz"):
        canvas.save(tmp_path / "picture.xyz")
    with pytest.raises(OSError, match="cannot write"):  # a file where a folder should be
        canvas.save(tmp_path / "picture.png" / "picture.png")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["picture.JPG", "picture.png", "picture.svg"]
