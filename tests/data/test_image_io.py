"""Reading pictures of any mode and orientation, and refusing what is none."""

import io
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from det2lite.data import detection_utils as utils
from det2lite.utils.errors import BadValue, MissingFile, UserError

RNG = np.random.default_rng(0)


@pytest.fixture
def rgb(tmp_path):
    pixels = RNG.integers(0, 256, (6, 9, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "image.png")
    return pixels, str(tmp_path / "image.png")


def test_read_image_formats(rgb):
    pixels, path = rgb
    assert np.array_equal(utils.read_image(path), pixels)
    assert np.array_equal(utils.read_image(path, "RGB"), pixels)
    assert np.array_equal(utils.read_image(path, "BGR"), pixels[:, :, ::-1])
    grey = utils.read_image(path, format="L")
    assert grey.shape == (6, 9, 1) and np.array_equal(grey[:, :, 0], np.asarray(Image.fromarray(pixels).convert("L")))
    yuv = utils.read_image(path, "YUV-BT.601")
    assert yuv.shape == (6, 9, 3)
    assert np.allclose(yuv[..., 0] * 255, pixels @ (0.299, 0.587, 0.114))
    with pytest.raises(BadValue, match="'BRG'"):
        utils.read_image(path, "BRG")


def test_yuv_of_white_and_red():
    pixels = Image.fromarray(np.array([[[255, 255, 255], [255, 0, 0]]], np.uint8))
    yuv = utils.convert_PIL_to_numpy(pixels, "YUV-BT.601")
    assert np.allclose(yuv[0, 0], [1, 0, 0], atol=1e-4)
    assert np.allclose(yuv[0, 1], [0.299, -0.14713, 0.615])


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "LA", "CMYK", "1", "I;16"])
def test_read_image_of_any_mode(tmp_path, mode):
    path = tmp_path / ("image.tif" if mode == "CMYK" else "image.png")
    Image.new(mode, (5, 4)).save(path)
    assert utils.read_image(path, "BGR").shape == (4, 5, 3)
    assert utils.read_image(path, "L").shape == (4, 5, 1)


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (np.array([[0, 257, 128 * 257, 65535]], np.uint16), [0, 1, 128, 255]),  # 8 bits spread over 16
        (np.array([[0, 16, 2048, 4095]], np.uint16), [0, 1, 128, 255]),  # 12 bits
        (np.array([[0, 1, 128, 1023]], np.uint16), [0, 0, 32, 255]),  # 10 bits
        (np.array([[0, 1, 128, 255]], np.uint16), [0, 1, 128, 255]),  # 8 bits in 16
        (np.array([[0, 0.5, 1, np.nan]], np.float32), [0, 128, 255, 0]),
        (np.array([[-3, 0.6, 128, 255]], np.float32), [0, 1, 128, 255]),
        (np.zeros((1, 4), np.uint16), [0, 0, 0, 0]),
    ],
)
def test_images_of_more_than_8_bits(tmp_path, stored, expected):
    path = tmp_path / "image.tif"
    Image.fromarray(stored).save(path)
    for image_format in ("BGR", "RGB"):
        assert utils.read_image(path, image_format).tolist() == [[[value] * 3 for value in expected]]
    np.testing.assert_array_equal(utils.read_image(path), stored)  # as they are where nobody asks for a format


def test_labels_of_16_bits_are_not_scaled(tmp_path):
    Image.fromarray(np.array([[0, 7, 200]], np.uint16)).save(tmp_path / "labels.png")
    assert utils.read_image(tmp_path / "labels.png", "L")[0, :, 0].tolist() == [0, 7, 200]


@pytest.mark.parametrize("image_format", ["RGB", "BGR", "YUV-BT.601", "HSV", "YCbCr"])
def test_convert_image_to_rgb_reverses_reading(rgb, image_format):
    pixels, path = rgb
    image = utils.read_image(path, image_format)
    back = utils.convert_image_to_rgb(image, image_format)
    assert back.dtype == np.uint8
    lossy = {"HSV": 8, "YCbCr": 4, "YUV-BT.601": 1}
    assert np.abs(back.astype(int) - pixels).max() <= lossy.get(image_format, 0)
    if image_format == "BGR":
        assert np.array_equal(utils.convert_image_to_rgb(torch.from_numpy(image.copy()), "BGR"), pixels)


def test_convert_grey_to_rgb():
    grey = np.array([[[3], [250]]], dtype=np.float32)
    assert utils.convert_image_to_rgb(grey, "L").tolist() == [[[3] * 3, [250] * 3]]
    assert utils.convert_image_to_rgb(grey[:, :, 0], "L").shape == (1, 2, 3)


@pytest.mark.parametrize("orientation", range(0, 10))
def test_exif_orientation(tmp_path, orientation):
    upright = np.zeros((8, 16), np.uint8)
    upright[:4, :4] = 255  # top left
    undo = {  # how a camera held that way stores the picture
        2: lambda x: x[:, ::-1], 3: lambda x: x[::-1, ::-1], 4: lambda x: x[::-1], 5: lambda x: x.T,
        6: lambda x: np.rot90(x), 7: lambda x: x[::-1, ::-1].T, 8: lambda x: np.rot90(x, -1),
    }  # fmt: skip
    stored = Image.fromarray(np.ascontiguousarray(undo.get(orientation, lambda x: x)(upright)))
    exif = Image.Exif()
    exif[274] = orientation
    stored.save(tmp_path / "turned.png", exif=exif)
    assert np.array_equal(utils.read_image(tmp_path / "turned.png"), upright)


def test_broken_exif_does_not_lose_the_picture(tmp_path):
    Image.new("RGB", (4, 3)).save(tmp_path / "a.jpg", exif=b"Exif\0\0MM\0\x2a\xff\xff\xff\xff\xff\xff")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert utils.read_image(tmp_path / "a.jpg", "RGB").shape == (3, 4, 3)


def jpeg():
    data = io.BytesIO()
    Image.fromarray(RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(data, "JPEG")
    return data.getvalue()


PNG_START = b"\x89PNG\r\n\x1a\n"


@pytest.mark.parametrize("content", [b"", b"no image", jpeg()[:900], PNG_START + b"\0" * 40, b"\xff\xd8\xff"])
def test_broken_images_are_named(tmp_path, content):
    path = tmp_path / "broken.jpg"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"broken\.jpg"):
        utils.read_image(path, "BGR")
    with pytest.raises(OSError):
        utils.read_image(path, "BGR")


def test_missing_images_and_folders_are_named(tmp_path):
    with pytest.raises(MissingFile, match=r"gone\.jpg"):
        utils.read_image(tmp_path / "gone.jpg", "BGR")
    with pytest.raises(UserError, match="cannot be opened"):
        utils.read_image(tmp_path, "BGR")


def test_decompression_bombs_are_refused(tmp_path, monkeypatch):
    Image.new("L", (100, 100)).save(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(UserError, match=r"bomb\.png is too large"):
        utils.read_image(tmp_path / "bomb.png")


def test_check_image_size():
    sample = {"file_name": "a.jpg"}
    utils.check_image_size(sample, np.zeros((3, 5, 3)))
    assert (sample["height"], sample["width"]) == (3, 5)
    utils.check_image_size(sample, np.zeros((3, 5, 3)))
    with pytest.raises(utils.SizeMismatchError, match=r"a\.jpg is 3 x 5 .* annotated as 5 x 3.*turned"):
        utils.check_image_size(sample, np.zeros((5, 3, 3)))
    with pytest.raises(ValueError):
        utils.check_image_size({"height": 4}, np.zeros((5, 3)))
