"""Images in every form that people have them, as arrays (H, W, 3) BGR."""

import http.client
import io
import os
import urllib.parse
import urllib.request
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from det2lite.data.image_io import BadImage, convert_PIL_to_numpy, decode_image, read_image, turn_upright
from det2lite.utils.errors import BadValue
from det2lite.utils.file_io import cannot_download

MAX_DOWNLOAD = 256 << 20  # bytes of one image
TIMEOUT = 30  # seconds that a server may be silent
Source = str | os.PathLike | Image.Image | np.ndarray | torch.Tensor


def load_image(source: Source) -> np.ndarray:
    """One image as array (H, W, 3) BGR, contiguous; uint8, but for arrays and tensors that hold fractions.

    source: a path; an address http(s):// or file://; a PIL image; an array (H, W), (H, W, 1), (H, W, 3) BGR or
    (H, W, 4) BGRA; a tensor (3, H, W) or (1, H, W), channels in BGR order like the model's input. Values are 0..255.
    Files and PIL images are turned upright as their EXIF says. Raises a `UserError` for what is missing, broken or no
    image.
    """
    if isinstance(source, (str, os.PathLike)):
        image = _read(os.fspath(source))
    elif isinstance(source, Image.Image):
        image = _from_pil(source)
    elif isinstance(source, torch.Tensor):
        image = _from_array(_channels_last(source.detach().cpu()), "tensor")
    elif isinstance(source, np.ndarray):
        image = _from_array(source, "array")
    else:
        raise BadValue(
            f"an image is a path, an address, a PIL image, an array or a tensor, not {type(source).__name__}"
        )
    return np.ascontiguousarray(image)


def as_list(images: Source | Iterable[Source]) -> tuple[Sequence[Source], bool]:
    """The images as a sequence, and whether they were one alone. A 4-dimensional array or tensor is several."""
    if isinstance(images, (np.ndarray, torch.Tensor)):
        return (images, False) if images.ndim == 4 else ([images], True)
    if isinstance(images, (str, os.PathLike, Image.Image)):
        return [images], True
    if not isinstance(images, Iterable):
        return [images], True  # refused when it is loaded
    return (images if isinstance(images, Sequence) else list(images)), False


def source_name(source: Source) -> str | None:
    """The path or address that an image came from, None where it has none."""
    if isinstance(source, (str, os.PathLike)):
        return os.fspath(source)
    return getattr(source, "filename", None) or None  # of PIL images that were opened


def is_address(text: Any) -> bool:
    """Whether this is http://, https:// or file:// rather than a path."""
    return isinstance(text, str) and text.lower().startswith(("http://", "https://", "file://"))


def _read(name: str) -> np.ndarray:
    if not is_address(name):
        return read_image(name, format="BGR")
    if name.lower().startswith("file:"):
        return read_image(local_path(name), format="BGR")
    return decode_image(io.BytesIO(_download(name)), name, format="BGR")


def local_path(address: str) -> str:
    """The path that a file:// address means. Raises `BadValue` for one of another machine."""
    parts = urllib.parse.urlsplit(address)
    if parts.netloc not in ("", "localhost"):
        raise BadValue(f"{address}: a file address has three slashes, as in file:///folder/image.jpg")
    return urllib.request.url2pathname(parts.path)


def _download(address: str) -> bytes:
    request = urllib.request.Request(_quoted(address), headers={"User-Agent": "det2lite"})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
            content = response.read(MAX_DOWNLOAD + 1)
    except (OSError, ValueError, http.client.HTTPException) as error:  # URLError and HTTPError are OSErrors
        raise cannot_download(address, error) from error
    if len(content) > MAX_DOWNLOAD:
        raise BadImage(f"{address} is larger than {MAX_DOWNLOAD >> 20} MiB; download it yourself if you trust it")
    return content


def _quoted(address: str) -> str:
    """The address with spaces and letters of all scripts encoded, as they are often copied without."""
    return urllib.parse.quote(address, safe="%/:=&?~#+!$,;'@()*[]")


def _from_pil(image: Image.Image) -> np.ndarray:
    name = source_name(image) or "PIL image"
    try:
        return convert_PIL_to_numpy(turn_upright(image), "BGR")
    except (OSError, SyntaxError, ValueError, IndexError) as error:  # its file is read only now
        raise BadImage(f"{name} is broken ({type(error).__name__}: {error}); replace it or leave it out") from error


def _channels_last(tensor: torch.Tensor) -> np.ndarray:
    if tensor.ndim != 3 or tensor.shape[0] not in (1, 3):
        raise BadValue(f"an image as tensor has shape (3, H, W) or (1, H, W), not {tuple(tensor.shape)}")
    if tensor.is_floating_point():
        tensor = tensor.float()
    return tensor.permute(1, 2, 0).numpy()


def _from_array(image: np.ndarray, kind: str) -> np.ndarray:
    shape = image.shape
    if image.ndim == 2:
        image = image[:, :, None]
    if image.ndim != 3 or image.shape[2] not in (1, 3, 4) or 0 in shape:
        raise BadValue(f"an image as {kind} has shape (H, W, 3) in BGR, (H, W) or (H, W, 4) in BGRA, not {shape}")
    image = np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image[:, :, :3]
    if image.dtype == np.uint8:
        return image
    if image.dtype.kind not in "iuf":
        raise BadValue(f"an image as {kind} has numbers 0..255, not {image.dtype}")
    low, high = float(image.min()), float(image.max())
    if not (low >= 0 and high <= 255):  # also false for NaN
        raise BadValue(f"an image as {kind} has values 0..255, not {low:g}..{high:g}; scale it")
    if image.dtype.kind == "f":
        if 0 < high <= 1:
            raise BadValue(f"an image as {kind} has values 0..255, and this one ends at {high:g}: multiply it by 255")
        whole = image.astype(np.uint8)
        return whole if (whole == image).all() else image.astype(np.float32)  # resized as the same picture is of a file
    return image.astype(np.uint8)
