"""Images from files, and between the channel orders that models are trained with.

An image format is a PIL mode ("RGB", "L", ...), or "BGR", or "YUV-BT.601" (floating point, no offset).
"""

import contextlib
import logging
import os
from collections.abc import Callable, Iterator
from typing import BinaryIO

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError

from det2lite.data.jpeg import START, decode_plain_jpeg
from det2lite.utils.errors import BadValue, MissingFile, UserError
from det2lite.utils.file_io import PathManager
from det2lite.utils.logger import log_first_n

__all__ = [
    "BadImage",
    "SizeMismatchError",
    "check_image_size",
    "convert_PIL_to_numpy",
    "convert_image_to_rgb",
    "decode_image",
    "read_image",
    "read_resized",
    "turn_upright",
]

# https://en.wikipedia.org/wiki/YUV#SDTV_with_BT.470
RGB_TO_YUV = np.array([[0.299, 0.587, 0.114], [-0.14713, -0.28886, 0.436], [0.615, -0.51499, -0.10001]])
YUV_TO_RGB = np.array([[1.0, 0.0, 1.13983], [1.0, -0.39465, -0.58060], [1.0, 2.03211, 0.0]])

EXIF_ORIENTATION = 274
# how to turn a picture upright, by its EXIF orientation; 1 is upright
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SIDEWAYS = tuple(UPRIGHT[orientation] for orientation in (5, 6, 7, 8))  # these swap width and height


# of a pixel's value in pictures of more than 8 bits, such as a microscope's: one of these is what the camera had
BIT_DEPTHS = (8, 10, 12, 14, 16, 24, 32)
COLORS = ("RGB", "BGR", "YUV-BT.601")


class BadImage(UserError, OSError):
    """A file that is there but cannot be decoded as an image."""


class SizeMismatchError(UserError, ValueError):
    """An image or mask has another size than its annotation says."""


def read_image(file_name: str | os.PathLike, format: str | None = None) -> np.ndarray:
    """The image file as array (H, W, C), turned upright as its EXIF says; uint8 0-255, YUV floating point 0-1.

    format: an image format as above; None for the file's own, which may give (H, W). "L" gives (H, W, 1).
    Raises `MissingFile`, or `BadImage` for a file that is broken, no image, or too large to decode safely.
    """
    with _readable_errors(file_name), PathManager.open(os.fspath(file_name), "rb") as file:
        decoded = _decode(file, format)
    return decoded if isinstance(decoded, np.ndarray) else convert_PIL_to_numpy(decoded, format)


def decode_image(file: BinaryIO, name: str, format: str | None = None) -> np.ndarray:
    """As `read_image`, of an open file; errors call it `name`."""
    with _readable_errors(name):
        decoded = _decode(file, format)
    return decoded if isinstance(decoded, np.ndarray) else convert_PIL_to_numpy(decoded, format)


def read_resized(
    file_name: str | os.PathLike, format: str | None, wanted: Callable[[int, int], tuple[int, int]]
) -> tuple[np.ndarray, tuple[int, int]]:
    """A JPEG file that is to be made much smaller, decoded at 1/2, 1/4 or 1/8 of its size, and resized from there.

    wanted: from the (height, width) of the file to that of the image. Returns the image of this size, and the size of
    the file; where this is less than twice as large, or no JPEG, the whole image as `read_image` gives it.
    """
    with _readable_errors(file_name), PathManager.open(os.fspath(file_name), "rb") as file:
        start = file.tell()
        with Image.open(file) as image:
            method, full = _upright_by(image), image.size
            turn = slice(None, None, -1 if method in SIDEWAYS else 1)  # of (height, width)
            size = full[::-1][turn]
            target = wanted(*size)[turn][::-1]  # (width, height) as the file lies
            if format in ("BGR", "RGB") and image.mode in ("RGB", "L"):
                image.draft(image.mode, target)  # changes nothing in other files than JPEG
            if image.size != full:
                # the last block of pixels may be cut: the file's edge lies within the last pixel
                scale = round(full[0] / image.size[0])
                box = (0, 0, full[0] / scale, full[1] / scale)
                resized = image.convert("RGB").resize(target, Image.BILINEAR, box=box)
                upright = resized if method is None else resized.transpose(method)
                return convert_PIL_to_numpy(upright, format), size
        file.seek(start)
        decoded = _decode(file, format)
    return (decoded if isinstance(decoded, np.ndarray) else convert_PIL_to_numpy(decoded, format)), size


def _decode(file: BinaryIO, format: str | None) -> Image.Image | np.ndarray:
    """The picture turned upright; of most photographs the array in the format already."""
    start, content = file.tell(), b""
    if format in ("BGR", "RGB"):
        if file.read(len(START)) == START:
            content = START + file.read()
            array = decode_plain_jpeg(content, format)
            if array is not None:
                return array
        file.seek(start)
    with Image.open(file) as image:
        orientation = _upright_by(image)
        if content and orientation is None and image.format == "JPEG":
            array = decode_plain_jpeg(content, format, upright=True)
            if array is not None:
                return array
        upright = image if orientation is None else image.transpose(orientation)
        upright.load()
    return upright


@contextlib.contextmanager
def _readable_errors(file_name: str | os.PathLike) -> Iterator[None]:
    """What decoders raise as `MissingFile` or `BadImage` that names the file."""
    try:
        yield
    except (UserError, MemoryError):
        raise
    except (FileNotFoundError, NotADirectoryError) as error:
        raise MissingFile(f"image {file_name} does not exist; check the path or the data set's image folder") from error
    except UnidentifiedImageError as error:
        raise BadImage(f"{file_name} is not an image that can be read; replace it or leave it out") from error
    except Image.DecompressionBombError as error:
        raise BadImage(
            f"image {file_name} is too large to decode safely ({error}); "
            "scale it down, or raise PIL.Image.MAX_IMAGE_PIXELS if you trust it"
        ) from error
    except (IsADirectoryError, PermissionError) as error:
        raise BadImage(f"image {file_name} cannot be opened: {error.strerror}") from error
    except Exception as error:  # decoders meet broken data with errors of any kind
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise BadImage(f"image {file_name} is broken ({reason}); replace it or leave it out") from error


def turn_upright(image: Image.Image) -> Image.Image:
    """The picture as its EXIF orientation says it is to be seen; itself where it says nothing."""
    method = _upright_by(image)
    return image if method is None else image.transpose(method)


def _upright_by(image: Image.Image) -> Image.Transpose | None:
    orientation = None
    with contextlib.suppress(Exception):  # broken EXIF is no reason to lose the picture
        orientation = image.getexif().get(EXIF_ORIENTATION)
    return UPRIGHT.get(orientation) if isinstance(orientation, int) else None


def convert_PIL_to_numpy(image: Image.Image, format: str | None) -> np.ndarray:
    """A PIL image as array (H, W, C) of the given format; of its own mode if None, then (H, W) for one channel.

    A grey image of 16 or 32 bits a pixel, or of floating point, is brought to 0..255 for the formats of colour images,
    see `scaled_to_bytes`.
    """
    if format is None:
        return np.asarray(image)
    mode = "RGB" if format in COLORS else format
    if format in COLORS and (image.mode in ("I", "F") or image.mode.startswith("I;16")):
        image = Image.fromarray(scaled_to_bytes(np.asarray(image)))
    if image.mode != mode:
        try:
            image = image.convert(mode)
        except ValueError as error:
            raise BadValue(
                f"images of mode {image.mode!r} cannot be had in format {format!r} ({error}); INPUT.FORMAT is BGR, RGB,"
                " L, YUV-BT.601 or another mode of PIL"
            ) from error
    array = np.asarray(image)
    if format == "BGR":
        return array[:, :, ::-1]  # a view: whoever needs it contiguous copies once, at the end
    if format == "L":
        return array[:, :, None]
    if format == "YUV-BT.601":
        return np.dot(array / 255.0, RGB_TO_YUV.T)
    return array


def scaled_to_bytes(values: np.ndarray) -> np.ndarray:
    """Grey values (H, W) of more than 8 bits as uint8 0..255, brighter ones brighter; the log says so once.

    Whole numbers are divided by what the number of bits leaves over that the largest of them needs, 8, 10, 12, 14, 16,
    24 or 32: cameras of 12 bits write files of 16, in which all is dark. Floating point is taken as 0..1 where nothing
    is larger. What is negative or not finite becomes 0.
    """
    is_float = values.dtype.kind == "f"
    values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0).clip(min=0)
    largest = float(values.max(initial=0))
    if is_float and largest <= 1:
        factor, described = 255.0, "0..1"
    else:
        bits = next((bits for bits in BIT_DEPTHS if largest < 2**bits), BIT_DEPTHS[-1])
        factor, described = 256 / 2**bits, f"0..{2**bits - 1}"
    if factor != 1:
        log_first_n(
            logging.INFO,
            f"images of more than 8 bits a pixel: by its largest value, one is scaled from {described} to 0..255",
            name=__name__,
        )
    scaled = values * factor
    return (np.rint(scaled) if is_float else scaled).clip(max=255).astype(np.uint8)


def convert_image_to_rgb(image: np.ndarray | torch.Tensor, format: str) -> np.ndarray:
    """An image (H, W, C) of the given format, values 0-255 (YUV 0-1), as RGB (H, W, 3) uint8."""
    if isinstance(image, torch.Tensor):
        image = image.cpu().numpy()
    image = np.asarray(image)
    if format == "BGR":
        image = image[:, :, ::-1]
    elif format == "YUV-BT.601":
        image = np.dot(image, YUV_TO_RGB.T) * 255.0
    elif format == "L":
        return np.repeat(image.reshape(*image.shape[:2], 1).astype(np.uint8), 3, axis=2)
    elif format != "RGB":
        pixels = np.ascontiguousarray(image.astype(np.uint8))
        picture = Image.frombytes(format, (image.shape[1], image.shape[0]), pixels.tobytes())
        return np.asarray(picture.convert("RGB"))
    return image.astype(np.uint8)


def check_image_size(dataset_dict: dict, image: np.ndarray) -> None:
    """Compares the image's size with the sample's "width" and "height", and sets these where they are missing.

    Raises `SizeMismatchError`.
    """
    height, width = image.shape[:2]
    expected = (dataset_dict.get("width", width), dataset_dict.get("height", height))
    if expected != (width, height):
        raise SizeMismatchError(
            f"image {dataset_dict.get('file_name', '')} is {width} x {height} pixels but annotated as "
            f"{expected[0]} x {expected[1]}; correct width and height in the annotations"
            + (" (the image or its EXIF orientation was turned?)" if expected == (height, width) else "")
        )
    dataset_dict.setdefault("width", width)
    dataset_dict.setdefault("height", height)
