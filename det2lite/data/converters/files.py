"""Finding and reading the files of a data set that somebody else laid out."""

import functools
import json
import math
import os
import re
import unicodedata
from collections.abc import Iterable
from typing import Any, NamedTuple

from PIL import Image

from det2lite.data.image_io import EXIF_ORIENTATION
from det2lite.utils.errors import BadValue, MissingFile

IMAGE_EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".jp2")
SPLIT_NAME = re.compile(
    r"(train|training|trainval|val|valid|validation|minival|dev|test|testing)([\W\d_]\S*)?", re.IGNORECASE
)
WHOLE = "all"
"""The split of a data set without splits."""


class Tree:
    """The files below a folder, hidden ones aside. files: paths relative to it, with "/", sorted."""

    def __init__(self, folder: str | os.PathLike):
        self.folder = os.path.abspath(os.fspath(folder))
        if not os.path.isdir(self.folder):
            if os.path.exists(self.folder):
                raise BadValue(f"{folder} is a file; give the folder that holds annotations and images")
            raise MissingFile(f"{folder}: no such folder; check the path")
        listing.cache_clear()
        self.files = sorted(self._walk())
        if not self.files:
            raise MissingFile(f"{folder}: the folder is empty, or may not be read")

    def _walk(self) -> Iterable[str]:
        seen = set()
        for here, folders, names in os.walk(self.folder, followlinks=True):
            real = os.path.realpath(here)
            if real in seen:  # a link that leads round
                folders.clear()
                continue
            seen.add(real)
            folders[:] = [f for f in folders if not f.startswith(".") and f != "__MACOSX"]
            relative = os.path.relpath(here, self.folder).replace(os.sep, "/")
            prefix = "" if relative == "." else relative + "/"
            yield from (prefix + name for name in names if not name.startswith("."))

    def with_extension(self, *extensions: str) -> list[str]:
        return [file for file in self.files if file.lower().endswith(extensions)]

    @functools.cached_property
    def images(self) -> list[str]:
        return self.with_extension(*IMAGE_EXTENSIONS)

    def path(self, relative: str) -> str:
        return os.path.join(self.folder, *relative.split("/"))

    def is_dir(self, relative: str) -> bool:
        return os.path.isdir(self.path(relative))

    def sample(self, *extensions: str, count: int = 20) -> list[str]:
        """Of each folder the first files with such an extension."""
        of_folder: dict[str, list[str]] = {}
        for file in self.with_extension(*extensions):
            of_folder.setdefault(file.rpartition("/")[0], []).append(file)
        return [file for files in of_folder.values() for file in files[:count]]


def split_of(relative: str) -> str:
    """The first folder of a path that is named like a split, else `WHOLE`."""
    return next((part for part in relative.split("/")[:-1] if SPLIT_NAME.fullmatch(part)), WHOLE)


@functools.lru_cache(maxsize=4096)
def listing(folder: str) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Files of a folder by name, and images by name without extension; names in one Unicode form and in lower case."""
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return {}, {}
    by_stem: dict[str, list[str]] = {}
    for name in names:
        stem, extension = os.path.splitext(_same(name))
        if extension in IMAGE_EXTENSIONS:
            by_stem.setdefault(stem, []).append(name)
    return {_same(name): name for name in names}, by_stem


def _same(name: str) -> str:
    return unicodedata.normalize("NFC", name).lower()


def find_image(name: str, folders: Iterable[str]) -> str | None:
    """The file of an image: by its name in one of the folders, else by its name with another extension.

    The name may have folders of its own, of which other machines had the first ones, or all.
    """
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
    if not parts:
        return None
    wanted = [parts] if ".." in parts else [parts[start:] for start in range(len(parts))]
    places = [(os.path.join(folder, *w[:-1]), w[-1]) for w in wanted for folder in folders]
    for folder, last in places:
        exact = os.path.join(folder, last)
        if os.path.isfile(exact):
            return exact
        found = listing(folder)[0].get(_same(last))
        if found and os.path.isfile(os.path.join(folder, found)):
            return os.path.join(folder, found)
    for folder, last in places:
        stem = os.path.splitext(last)[0] if last.lower().endswith(IMAGE_EXTENSIONS) else last
        if found := listing(folder)[1].get(_same(stem)):
            return os.path.join(folder, found[0])
    return None


class ImageHeader(NamedTuple):
    """Of an image as det2lite reads it, turned as its EXIF says. channels: 1, 3, 4."""

    width: int
    height: int
    channels: int


def image_header(path: str) -> ImageHeader:
    """Nothing is decoded. Raises OSError, or what a decoder raises, for what is no image."""
    if os.path.exists(path) and not os.path.isfile(path):  # a pipe would be waited for
        raise OSError(f"{path} is no file")
    with Image.open(path) as image:
        width, height = image.size
        try:
            turned = image.getexif().get(EXIF_ORIENTATION) in (5, 6, 7, 8)
        except Exception:  # broken EXIF is no reason to lose the picture
            turned = False
        channels = 3 if image.mode == "P" else len(image.getbands())
    return ImageHeader(height, width, channels) if turned else ImageHeader(width, height, channels)


def image_size(path: str) -> tuple[int, int]:
    """(width, height) of an image as det2lite reads it; see `image_header`."""
    return image_header(path)[:2]


def read_bytes(path: str) -> bytes:
    try:
        if os.path.exists(path) and not os.path.isfile(path):  # a pipe would be waited for
            raise BadValue(f"{path}: no file that can be read")
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        raise MissingFile(f"{path}: no such file; check the path") from None
    except OSError as error:
        raise BadValue(f"{path}: cannot be read ({error.strerror})") from None


def read_text(path: str) -> str:
    """Raises `BadValue` for what is not UTF-8."""
    try:
        return read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadValue(f"{path}: not UTF-8 text (byte {error.start}); is it of another format?") from None


def read_json_file(path: str) -> Any:
    """Raises `BadValue`, with the line, for what is not JSON."""
    content = read_bytes(path)
    try:
        return json.loads(content)
    except json.JSONDecodeError as error:
        raise BadValue(f"{path}: line {error.lineno} column {error.colno}: not JSON ({error.msg})") from None
    except (UnicodeDecodeError, RecursionError, ValueError) as error:
        raise BadValue(f"{path}: not JSON that can be read ({type(error).__name__})") from None


def read_names(path: str) -> list[str]:
    """A class list: a name on each line; empty lines are left out. Raises `BadValue` for none, or one twice."""
    names = [line.strip() for line in read_text(path).splitlines() if line.strip()]
    twice = {name for name in names if names.count(name) > 1}
    if not names or twice:
        what = f"class {sorted(twice)[0]!r} occurs twice" if twice else "no class names in it"
        raise BadValue(f"{path}: {what}; it must have a name on each line")
    return names


def finite(values: Iterable[Any], where: str) -> list[float]:
    """Numbers, or text of numbers, as finite floats. Raises `BadValue`."""
    numbers = []
    for value in values:
        try:
            number = math.nan if isinstance(value, bool) else float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not math.isfinite(number):
            raise BadValue(f"{where}: {str(value)[:40]!r} must be a number")
        numbers.append(number)
    return numbers
