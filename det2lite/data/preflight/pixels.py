"""Findings about image files: whether they are there, can be decoded, and have the size that is written."""

import contextlib
import hashlib
import os
import re
import warnings
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import Any, NamedTuple

from PIL import Image, UnidentifiedImageError

from det2lite.data.image_io import EXIF_ORIENTATION
from det2lite.data.preflight.content import Columns, Content, file_name_of
from det2lite.data.preflight.findings import Finding, finding
from det2lite.utils.child_processes import begin_work

CHUNK = 16  # files that a process is given at once
FEW_IMAGES = 200  # are decoded sooner than further processes have started
SWAPS_SIDES = (5, 6, 7, 8)  # EXIF orientations that lie on their side
FEW_FILES = 50  # of a folder, below which asking for each is quicker than listing a folder that may hold millions


class FileFacts(NamedTuple):
    """What was found in one file. fault: (kind, what) or None; size: width, height as stored; digest: of the bytes."""

    fault: tuple[str, str] | None
    size: tuple[int, int] | None = None
    orientation: int = 1
    digest: bytes = b""


def missing_files(paths: Iterable[str]) -> set[str]:
    """Those that are not there. Folders are listed once; paths with `://` are taken to be there."""
    by_folder: dict[str, list[str]] = {}
    for path in paths:
        if "://" not in path:
            by_folder.setdefault(os.path.dirname(path), []).append(path)
    missing = set()
    for folder, inside in by_folder.items():
        if len(inside) < FEW_FILES:
            missing.update(path for path in inside if not os.path.isfile(path))
            continue
        try:
            names = set(os.listdir(folder or "."))
        except OSError:
            names = set()
        absent = (path for path in inside if os.path.basename(path) not in names)
        # a file system that ignores case, or normalises names, lists them in another form
        missing.update(path for path in absent if not os.path.isfile(path))
    return missing


def look_at(path: str) -> FileFacts:
    """Decodes one image file; whatever is in it ends as a fault."""
    try:
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "blake2b").digest()[:16]
            file.seek(0)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # half of what is refused; readers take it
                return _decode(file, digest)
    except OSError as error:
        return FileFacts(("unreadable-image", f"cannot be opened ({error.strerror or error})"))


def _decode(file: Any, digest: bytes) -> FileFacts:
    size, orientation = None, 1
    try:
        with Image.open(file) as image:
            size = image.size
            with contextlib.suppress(Exception):  # broken EXIF is no reason to lose the picture
                orientation = image.getexif().get(EXIF_ORIENTATION, 1)
            image.load()
    except (Image.DecompressionBombError, MemoryError) as error:
        return FileFacts(("huge-image", str(error).split(",")[0] or "does not fit into memory"), size)
    except UnidentifiedImageError:
        return FileFacts(("unreadable-image", "not an image, or of a kind that cannot be read"))
    except Exception as error:  # decoders meet broken data with errors of any kind
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        cut_off = "truncated" in text or "Truncated" in text or isinstance(error, EOFError)
        return FileFacts(("truncated-image" if cut_off else "unreadable-image", text), size)
    return FileFacts(None, size, orientation if orientation in range(1, 9) else 1, digest)


def check_existence(content: Content, image_root: str) -> Iterator[Finding]:
    """Image files that are not there."""
    paths = image_paths(content, image_root)
    missing = missing_files(path for path in paths if path is not None)
    for image, path in zip(content.images, paths, strict=True):
        if path in missing:
            name = file_name_of(image)
            here = name_here(name, image_root)
            what = f"no file {path}" + (f", but there is {here}, which --fix writes" if here else "")
            yield finding("missing-image", what, image_id=image.get("id"), file_name=name)


def name_here(name: str, image_root: str) -> str | None:
    """The name, below `image_root`, of an image that is named by a path of another machine; None where none is."""
    parts = [part for part in re.split(r"[\\/]", name) if part not in ("", ".", "..")]
    tries = ["/".join(parts[start:]) for start in range(len(parts))]
    return next((one for one in tries if one and os.path.isfile(os.path.join(image_root, one))), None)


def image_paths(content: Content, image_root: str) -> list[str | None]:
    """(M,) paths; None where an entry names no file."""
    names = [file_name_of(image) for image in content.images]
    return [None if name is None or "\0" in name else os.path.join(image_root, name) for name in names]


def check_pixels(content: Content, columns: Columns, image_root: str, nproc: int) -> tuple[list[Finding], list]:
    """Decodes every image with `nproc` processes. Returns findings, and FileFacts (None: no file) by image."""
    from tqdm import tqdm

    paths = image_paths(content, image_root)
    there = sorted({path for path in paths if path is not None and os.path.isfile(path)})
    with contextlib.ExitStack() as stack:
        if nproc > 1 and len(there) > FEW_IMAGES:
            pool = ProcessPoolExecutor(nproc, mp_context=get_context("spawn"), initializer=begin_work)
            stack.enter_context(pool)
            looked = pool.map(look_at, there, chunksize=CHUNK)
        else:
            looked = map(look_at, there)
        progress = tqdm(looked, total=len(there), disable=None, unit="image", desc="images")
        facts_of = dict(zip(there, progress, strict=True))
    facts = [facts_of.get(path) for path in paths]
    return list(_findings(content, columns, facts, paths)), facts


def _findings(content: Content, columns: Columns, facts: list, paths: list) -> Iterator[Finding]:
    first_of: dict[bytes, int] = {}
    for row, (image, fact) in enumerate(zip(content.images, facts, strict=True)):
        if fact is None:
            continue
        place = partial(finding, image_id=image.get("id"), file_name=file_name_of(image))
        if fact.fault is not None:
            yield place(*fact.fault)
            continue
        yield from _size_findings(fact, columns.sizes[row], place)
        other = first_of.setdefault(fact.digest, row)
        if paths[other] != paths[row]:
            same = content.images[other]
            yield place("duplicate-image", f"the same content as image {same.get('id')} ({file_name_of(same)})")


def upright_size(fact: FileFacts) -> tuple[int, int]:
    """Width and height of the picture turned as EXIF says."""
    return fact.size[::-1] if fact.orientation in SWAPS_SIDES else fact.size


def _size_findings(fact: FileFacts, written: Any, place: Any) -> Iterator[Finding]:
    if written[0] != written[0]:  # NaN: what is written is a finding of its own
        return
    stored, upright = fact.size, upright_size(fact)
    written = (int(written[0]), int(written[1]))
    turned = f"EXIF orientation {fact.orientation} turns the picture"
    if written == upright:
        if fact.orientation != 1 and upright == stored:
            yield place("exif-orientation", turned)
    elif written == stored:
        yield place("exif-turned", f"{turned} to {upright[0]} x {upright[1]}, but {stored[0]} x {stored[1]} is written")
    else:
        swapped = " (width and height are swapped)" if written == upright[::-1] else ""
        yield place(
            "size-differs", f"the file is {upright[0]} x {upright[1]}, written is {written[0]} x {written[1]}{swapped}"
        )
