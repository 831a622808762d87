"""Writing results so that they are there whole or not at all, and never over something of the user's."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from det2lite.data.converters.coco import is_below, was_converted
from det2lite.utils.errors import BadValue

MARK = "conversion.json"
"""The file by which a folder that a conversion wrote is known again; what was converted and what not."""


class Occupied(BadValue, FileExistsError):
    """There is something at the place of a result."""


def require_free(paths: Iterable[str], overwrite: bool) -> None:
    """Raises `Occupied` where a file is there already, `BadValue` where none can be written."""
    paths = list(paths)
    for path in paths:
        require_writable(path)
    there = [path for path in paths if os.path.lexists(path)]
    if there and not overwrite:
        raise Occupied(f"{there[0]} is there already; give --overwrite to replace it, or another --output")
    for path in there:
        if os.path.isdir(path):
            raise Occupied(f"{path} is a folder; give another --output")


def require_no_source(paths: Iterable[str], folder: str) -> None:
    """Raises `Occupied` where a JSON file is to be replaced that is part of the data set in `folder` itself."""
    for path in paths:
        if os.path.lexists(path) and _leads_into(path, folder) and not was_converted(path):
            raise Occupied(f"{path} is part of the data set that is converted, and stays; give another --output")


def require_apart(path: str, folder: str) -> None:
    """Raises `BadValue` where the folder of a result lies in that of its source, or the other way round.

    The source would be two data sets from then on, or be replaced together with the folder around it.
    """
    if _leads_into(path, folder):
        same = _leads_into(folder, path)
        where = "is the data set's own folder" if same else f"lies in the data set's folder {folder}"
        raise BadValue(f"--output {path} {where}; give a folder outside of it")
    if _leads_into(folder, path):
        raise BadValue(f"--output {path} is around the data set's folder {folder}; give another folder")


def _leads_into(path: str, folder: str) -> bool:
    return is_below(os.path.realpath(path), os.path.realpath(folder))


def require_writable(path: str, other: str = "another --output") -> None:
    """Raises `BadValue` where nothing can be written at `path`, before anything is read, which takes long.

    other: what the message tells to give.
    """
    above = os.path.dirname(os.path.abspath(path))
    while not os.path.lexists(above):
        above = os.path.dirname(above)
    if not os.path.isdir(above) or not os.access(above, os.W_OK | os.X_OK):
        raise BadValue(f"{path}: cannot be written ({above} is no folder that one may write to); give {other}")


def write_jsons(contents: dict[str, Any]) -> None:
    """Writes JSON files: all of them are written aside before the first takes its place."""
    written: list[tuple[str, str]] = []
    try:
        for path, content in contents.items():
            folder = os.path.dirname(os.path.abspath(path))
            with _named_remedy(path):
                os.makedirs(folder, exist_ok=True)
                handle, aside = tempfile.mkstemp(dir=folder, prefix=".", suffix=".part")
                written.append((aside, path))
                with os.fdopen(handle, "w", encoding="utf-8") as file:
                    json.dump(content, file, ensure_ascii=False)
                    file.flush()
                    os.fsync(file.fileno())
                os.chmod(aside, 0o666 & ~_umask())  # mkstemp makes files for their owner alone
        for aside, path in written:
            with _named_remedy(path):
                os.replace(aside, path)
    finally:
        for aside, _ in written:
            if os.path.exists(aside):
                os.unlink(aside)


@contextmanager
def whole_folder(path: str, overwrite: bool) -> Iterator[str]:
    """A folder to write into, which takes the place of `path` when the block ends well.

    What is there is replaced only when asked, and only if a conversion wrote it (`MARK`) or it is empty.
    """
    path = os.path.abspath(path)
    require_free_folder(path, overwrite)
    with _named_remedy(path):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        aside = tempfile.mkdtemp(dir=os.path.dirname(path), prefix=f".{os.path.basename(path)}.", suffix=".part")
    try:
        with _named_remedy(path):
            yield aside
            os.chmod(aside, 0o777 & ~_umask())
            old = None
            if os.path.isdir(path):
                old = tempfile.mkdtemp(dir=os.path.dirname(path), prefix=f".{os.path.basename(path)}.", suffix=".old")
                os.replace(path, old)
            os.replace(aside, path)
            if old:
                shutil.rmtree(old, ignore_errors=True)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise


def require_free_folder(path: str, overwrite: bool) -> None:
    """Raises `Occupied` where a folder holds something that a conversion may not replace; see `require_free`."""
    require_writable(path)
    if not os.path.lexists(path):
        return
    if not os.path.isdir(path) or os.path.islink(path):
        raise Occupied(f"{path} is there already and no folder; give another --output")
    names = names_in(path)
    if names and not overwrite:
        raise Occupied(f"{path} is there already and not empty; give --overwrite to replace it, or another --output")
    if names and MARK not in names:
        raise Occupied(f"{path} was not written by a conversion (no {MARK}), so it stays; give another --output")


def names_in(folder: str) -> list[str]:
    """What a folder for results holds already. Raises `BadValue` where one may not look into it."""
    try:
        return os.listdir(folder)
    except OSError as error:
        raise BadValue(f"{folder}: cannot be used ({error.strerror}); choose another folder") from None


@contextmanager
def _named_remedy(path: str) -> Iterator[None]:
    """An error of the file system becomes one that says where."""
    try:
        yield
    except OSError as error:
        if isinstance(error, BadValue) or error.errno is None:
            raise
        raise BadValue(f"{path}: cannot be written ({error.strerror}); give another --output") from None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
