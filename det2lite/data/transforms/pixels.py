"""Resampling of images: uint8 through PIL, whose bilinear filter is antialiased, everything else through torch."""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

# of cv2.flip, by whether rows and whether columns are reversed
FLIP_CODES = {(True, False): 0, (False, True): 1, (True, True): -1}
TORCH_MODES = {Image.NEAREST: "nearest", Image.BILINEAR: "bilinear", Image.BICUBIC: "bicubic"}


def to_pil(image: np.ndarray) -> Image.Image:
    """A uint8 (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) array as a PIL image."""
    return Image.fromarray(image[:, :, 0] if image.ndim == 3 and image.shape[2] == 1 else image)


def through_pil(image: np.ndarray, operation: Callable[[Image.Image], Image.Image]) -> np.ndarray:
    """`operation` on PIL images, applied to a uint8 image (H, W) or (H, W, C). Returns the same number of dimensions.

    A view with reversed channels, as BGR images read from files are, is worked on in memory order: each channel is
    treated alike, and reversing the result is free where reversing the input is a copy.
    """
    if image.ndim == 3 and image.shape[2] == 3 and image.strides[2] < 0:
        return through_pil(image[:, :, ::-1], operation)[:, :, ::-1]
    channels = 1 if image.ndim == 2 else image.shape[2]
    if channels not in (1, 3, 4):
        planes = [np.asarray(operation(to_pil(plane))) for plane in np.moveaxis(image, -1, 0)]
        return np.stack(planes, axis=-1)
    result = np.asarray(operation(to_pil(image)))
    return result[:, :, None] if image.ndim == 3 and channels == 1 else result


def as_planes(image: np.ndarray) -> np.ndarray:
    """The image (H, W) or (H, W, C) as a new contiguous array (C, H, W)."""
    image = image if image.ndim == 3 else image[:, :, None]
    if image.dtype != np.uint8 or image.shape[2] != 3 or image.size == 0:
        return np.array(image.transpose(2, 0, 1), order="C")
    import cv2

    # views that are reversed, as mirrored images and those in BGR order are, are read in the order of memory
    reversed_axes = tuple(axis for axis in range(3) if image.strides[axis] < 0)
    image = np.flip(image, reversed_axes)
    if 1 in reversed_axes or 0 in reversed_axes:
        image = cv2.flip(np.ascontiguousarray(image), FLIP_CODES[0 in reversed_axes, 1 in reversed_axes])
    planes = np.empty((3, *image.shape[:2]), dtype=np.uint8)
    cv2.split(image, list(planes[::-1] if 2 in reversed_axes else planes))
    return planes


def resize(image: np.ndarray, height: int, width: int, interp: int) -> np.ndarray:
    """The image (H, W), (H, W, C) or (H, W, C, D) as (height, width, ...), of the same dtype."""
    channels = image.shape[2:]
    if image.dtype == np.uint8:
        flat = image.reshape(*image.shape[:2], -1) if image.ndim > 3 else image
        resized = through_pil(flat, lambda picture: picture.resize((width, height), interp))
        return resized.reshape(height, width, *channels) if image.ndim > 3 else resized
    if not np.issubdtype(image.dtype, np.floating):
        return _resize_integers(image, height, width, interp)
    tensor = torch.from_numpy(np.ascontiguousarray(image))
    tensor = tensor.reshape(1, *image.shape[:2], -1).permute(0, 3, 1, 2)  # (1, C, H, W)
    mode = TORCH_MODES[interp]
    tensor = F.interpolate(tensor, (height, width), mode=mode, align_corners=None if mode == "nearest" else False)
    return tensor[0].permute(1, 2, 0).reshape(height, width, *channels).numpy()


def _resize_integers(image: np.ndarray, height: int, width: int, interp: int) -> np.ndarray:
    """Labels and masks, whose values mean nothing between each other: the nearest pixel's centre."""
    if interp != Image.NEAREST:
        raise TypeError(f"images of dtype {image.dtype} can be resized only by the nearest pixel; convert to float32")
    rows = ((np.arange(height) + 0.5) * (image.shape[0] / height)).astype(np.int64)
    columns = ((np.arange(width) + 0.5) * (image.shape[1] / width)).astype(np.int64)
    return image[rows[:, None], columns]
