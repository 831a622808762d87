"""JPEG files decoded by OpenCV where that gives Pillow's very pixels: one pass from the file to BGR.

Both use libjpeg. Whether they were built with libraries that agree is tried once, on small pictures; a file that is not
of the plain kind, or not whole, is left to Pillow, which names what is wrong with it.
"""

import functools
import io

import numpy as np
from PIL import Image

__all__ = ["decode_plain_jpeg"]

END = b"\xff\xd9"
# horizontal and vertical sampling of luma for chroma of (1, 1); later kinds were decoded differently by older libraries
SAMPLINGS = ((1, 1), (2, 1), (2, 2))


def decode_plain_jpeg(image: Image.Image, content: bytes, format: str) -> np.ndarray | None:
    """The pixels (H, W, 3) uint8 of a file that Pillow has opened, in the order of `format`, "BGR" or "RGB".

    image: opened, not loaded. content: the file. None for what is no plain JPEG.
    """
    if image.format != "JPEG" or image.mode != "RGB" or not content.endswith(END) or not _is_plain(image):
        return None
    if not _decoders_agree():
        return None
    array = _decode(content, format)
    if array is None or array.shape != (image.height, image.width, 3):
        return None
    return array


def _is_plain(image: Image.Image) -> bool:
    layers = getattr(image, "layer", ())
    if len(layers) != 3:
        return False
    luma, *chroma = (tuple(layer[1:3]) for layer in layers)
    return luma in SAMPLINGS and chroma == [(1, 1), (1, 1)]


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
