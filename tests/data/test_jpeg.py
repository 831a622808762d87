"""Photographs have Pillow's pixels, whoever decodes them; what is not plain is left to Pillow."""

import io

import numpy as np
import pytest
from PIL import Image

from det2lite.data.image_io import BadImage, decode_image
from det2lite.data.jpeg import decode_plain_jpeg

NOISE = np.random.default_rng(3).integers(0, 256, (53, 38, 3), dtype=np.uint8)


def jpeg(mode: str = "RGB", **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(NOISE).convert(mode).save(file, "JPEG", **options)
    return file.getvalue()


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("options", [{"quality": 30}, {"quality": 95, "progressive": True}])
def test_same_pixels(subsampling, options):
    data = jpeg(subsampling=subsampling, **options)
    expected = np.asarray(Image.open(io.BytesIO(data)))
    with Image.open(io.BytesIO(data)) as image:
        assert decode_plain_jpeg(image, data, "RGB") is not None
    assert np.array_equal(decode_image(io.BytesIO(data), "x", "RGB"), expected)
    assert np.array_equal(decode_image(io.BytesIO(data), "x", "BGR"), expected[:, :, ::-1])


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_other_modes_are_left_to_pillow(mode):
    data = jpeg(mode)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    assert np.array_equal(decode_image(io.BytesIO(data), "x", "RGB"), expected)


def test_turned_and_cut_off():
    exif = Image.Exif()
    exif[274] = 6
    data = jpeg(exif=exif)
    assert decode_image(io.BytesIO(data), "x", "BGR").shape == (38, 53, 3)
    with pytest.raises(BadImage, match="x"):
        decode_image(io.BytesIO(data[: len(data) // 2]), "x", "BGR")
