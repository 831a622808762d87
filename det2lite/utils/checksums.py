"""Files that carry a part of their checksum in their name."""

import hashlib
import os
import re
from urllib.parse import urlparse

from det2lite.utils.errors import BadValue

# Detectron2's zoo: model_final_b275ba.pkl, model_0039999_e76410.pkl, the MD5 or the beginning of it
_MD5_NAME = re.compile(r"model_(?:final|\d{7})_([0-9a-f]{6}|[0-9a-f]{32})\.pkl")
# torch.hub: resnet50-0676ba61.pth, the beginning of the SHA-256. Elsewhere such an ending may be a date
_SHA256_NAME = re.compile(r".+-([0-9a-f]{8,64})\.pth")
_SHA256_HOSTS = ("download.pytorch.org",)
_BLOCK = 1 << 20  # bytes read at a time


def expected_digest(name: str, source: str = "") -> tuple[str, str] | None:
    """("md5" or "sha256", the first hexadecimal digits) that a file name promises, if it is of a kind that does.

    source: the URL that the file comes from.
    """
    if match := _MD5_NAME.fullmatch(name):
        return "md5", match[1]
    if urlparse(source).hostname in _SHA256_HOSTS and (match := _SHA256_NAME.fullmatch(name)):
        return "sha256", match[1]
    return None


def check_name(path: str, source: str = "") -> None:
    """Raises `BadValue` for a file whose content is not the one that its name promises. source: URL it comes from.

    `$DET2LITE_SKIP_CHECKSUMS` set to 1 accepts it, for weights of one's own under a published name.
    """
    promise = expected_digest(os.path.basename(path), source)
    if promise is None or os.environ.get("DET2LITE_SKIP_CHECKSUMS") == "1":
        return
    algorithm, digits = promise
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    found = digest.hexdigest()
    if not found.startswith(digits):
        raise BadValue(
            f"{source or path}: wrong checksum, its {algorithm.upper()} is {found[: len(digits)]} and not {digits} as "
            "its name says; it is damaged: fetch it again (a file of your own needs another name, or "
            "DET2LITE_SKIP_CHECKSUMS=1)"
        )
