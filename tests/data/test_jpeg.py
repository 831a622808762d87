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
    assert decode_plain_jpeg(data, "RGB") is not None
    assert np.array_equal(decode_image(io.BytesIO(data), "x", "RGB"), expected)
    assert np.array_equal(decode_image(io.BytesIO(data), "x", "BGR"), expected[:, :, ::-1])


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_other_modes_are_left_to_pillow(mode):
    data = jpeg(mode)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    assert np.array_equal(decode_image(io.BytesIO(data), "x", "RGB"), expected)


def test_what_may_be_turned_is_looked_at_by_pillow_first():
    exif = Image.Exif()
    exif[271] = "maker"
    data = jpeg(exif=exif)
    assert decode_plain_jpeg(data, "RGB") is None and decode_plain_jpeg(data, "RGB", upright=True) is not None
    assert np.array_equal(decode_image(io.BytesIO(data), "x", "RGB"), np.asarray(Image.open(io.BytesIO(data))))
    exif[274] = 3
    data = jpeg(exif=exif)
    turned = np.asarray(Image.open(io.BytesIO(data)))[::-1, ::-1]
    assert np.array_equal(decode_image(io.BytesIO(data), "x", "RGB"), turned)


def test_only_whole_files_of_plain_kinds_are_decoded(monkeypatch):
    data = jpeg()
    assert decode_plain_jpeg(data, "RGB").shape == NOISE.shape
    frame = data.index(b"\xff\xc0")
    broken = [data[:-2], data[2:], data[:frame], b"", data[:2] + b"\xff\xd9", data[: frame + 6] + data[-2:]]
    others = [data[:2] + segment + data[2:] for segment in (b"\xff\xe2\0\6MPF\0", b"\xff\xee\0\4ab", b"\xff\xe0\0\1")]
    lossless = data[:frame] + b"\xff\xc3" + data[frame + 2 :]
    for content in (*broken, *others, lossless):
        assert decode_plain_jpeg(content, "RGB", upright=True) is None
    comment = data[:2] + b"\xff\xfe\0\6note" + data[2:]
    assert np.array_equal(decode_plain_jpeg(comment, "RGB"), decode_plain_jpeg(data, "RGB"))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", NOISE.shape[0] * NOISE.shape[1] - 1)
    assert decode_plain_jpeg(data, "RGB") is None


def test_turned_and_cut_off():
    exif = Image.Exif()
    exif[274] = 6
    data = jpeg(exif=exif)
    assert decode_image(io.BytesIO(data), "x", "BGR").shape == (38, 53, 3)
    with pytest.raises(BadImage, match="x"):
        decode_image(io.BytesIO(data[: len(data) // 2]), "x", "BGR")
