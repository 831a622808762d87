"""JPEG files decoded by OpenCV where that gives Pillow's very pixels: one pass from the file to BGR.

Both use libjpeg. Whether they were built with libraries that agree is tried once, on small pictures; a file that is not
of the plain kind, or not whole, is left to Pillow, which names what is wrong with it.
"""

import functools
import io

import numpy as np
from PIL import Image

__all__ = ["decode_plain_jpeg"]

START, END = b"\xff\xd8", b"\xff\xd9"
# horizontal and vertical sampling of luma for chroma of (1, 1); later kinds were decoded differently by older libraries
SAMPLINGS = ((1, 1), (2, 1), (2, 2))
APP1, APP2, APP14 = 0xE1, 0xE2, 0xEE
FRAMES = range(0xC0, 0xC3)  # baseline, extended and progressive, with Huffman codes
SEGMENTS = {0xC4, 0xDB, 0xDD, 0xFE, *range(0xE0, 0xF0)}  # tables, restart interval, comment, application's own


def decode_plain_jpeg(content: bytes, format: str, *, upright: bool = False) -> np.ndarray | None:
    """The pixels (H, W, 3) uint8 of a file in the order of `format`, "BGR" or "RGB"; None for what is no plain JPEG.

    Plain is a whole file of three 8-bit components, of a size that Pillow takes, that is not to be turned. upright:
    this is known; else a file that may say something of it is not plain.
    """
    if not content.startswith(START) or not content.endswith(END):
        return None
    size = _plain_size(content, upright)
    if size is None or not _decoders_agree():
        return None
    if Image.MAX_IMAGE_PIXELS is not None and size[0] * size[1] > Image.MAX_IMAGE_PIXELS:
        return None
    array = _decode(content, format)
    if array is None or array.shape != (*size, 3):
        return None
    return array


def _plain_size(content: bytes, upright: bool) -> tuple[int, int] | None:
    """(height, width) by the header of a plain JPEG; None where it is another kind, or is broken."""
    position = len(START)
    while position + 4 <= len(content) and content[position] == 0xFF:
        marker = content[position + 1]
        end = position + 2 + int.from_bytes(content[position + 2 : position + 4], "big")
        segment = content[position + 4 : end]
        if marker in FRAMES:
            return _frame_size(segment)
        # EXIF and XMP may turn the picture; APP2 may announce further ones; APP14 tells of other colours
        foreign = marker == APP14 or (marker == APP1 and not upright) or (marker == APP2 and segment.startswith(b"MPF"))
        if foreign or marker not in SEGMENTS or end < position + 4:
            return None
        position = end
    return None


def _frame_size(frame: bytes) -> tuple[int, int] | None:
    """Of a frame header: precision, height, width, number of components; id, sampling, table of each."""
    if len(frame) != 15 or frame[0] != 8 or frame[5] != 3:
        return None
    luma, *chroma = (divmod(frame[index], 16) for index in (7, 10, 13))
    if luma not in SAMPLINGS or chroma != [(1, 1), (1, 1)]:
        return None
    return int.from_bytes(frame[1:3], "big"), int.from_bytes(frame[3:5], "big")


def _decode(content: bytes, format: str) -> np.ndarray | None:
    import cv2

    array = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    return array if array is None or format == "BGR" else cv2.cvtColor(array, cv2.COLOR_BGR2RGB, dst=array)


@functools.cache
def _decoders_agree() -> bool:
    """Whether pictures of noise, of each sampling, are the same to both; sides that no block fits."""
    noise = np.random.default_rng(0).integers(0, 256, (37, 45, 3), dtype=np.uint8)
    for subsampling in range(len(SAMPLINGS)):
        file = io.BytesIO()
        Image.fromarray(noise).save(file, "JPEG", quality=85, subsampling=subsampling)
        with Image.open(file) as image:
            if not np.array_equal(np.asarray(image.convert("RGB")), _decode(file.getvalue(), "RGB")):
                return False
    return True
