"""Which files are meant by what a user typed, and what their results are called."""

import glob
import os
import tempfile
import urllib.parse
from collections.abc import Sequence
from pathlib import Path, PurePath, PurePosixPath
from typing import Any

from det2lite.apis.inputs import is_address, local_path
from det2lite.utils.errors import BadValue, MissingFile, UserError

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".gif")
WRITABLE_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")


class FileExists(UserError, FileExistsError):
    """A file that would be overwritten without having been asked to."""


class CannotWriteFolder(UserError, OSError):
    """A folder that cannot be made or written into."""


def find_files(inputs: Sequence[str], endings: Sequence[str] = IMAGE_ENDINGS) -> list[Path | str]:
    """The files meant by files, folders, patterns such as `photos/**/*.jpg`, addresses, and lists `@names.txt`.

    endings: of the files that a folder gives. A list has one of all these a line; its relative names are looked for in
    the current folder, then beside the list. Files keep the order of `inputs`; an address stays a string. A single file
    may be missing: whether it can be read turns out in its turn.
    """
    found: list[Path | str] = []
    for text in inputs:
        path = Path(os.path.expanduser(text))
        if is_address(text):
            found.append(Path(local_path(text)) if text.lower().startswith("file:") else text)
        elif text.startswith("@") and not path.exists():
            found += find_files(_read_list(Path(os.path.expanduser(text[1:]))), endings)
        elif path.is_dir():
            found += _in_folder(path, endings)
        elif not path.exists() and glob.has_magic(text):
            found += _matching(text)
        else:
            found.append(path)
    return found


def _in_folder(folder: Path, endings: Sequence[str]) -> list[Path]:
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise MissingFile(f"{folder}: this folder cannot be read: {error.strerror}") from None
    files = [p for p in entries if p.suffix.lower() in endings and not p.name.startswith(".") and p.is_file()]
    if not files:
        hint = "; take a pattern such as '**/*.jpg' for folders in it" if any(p.is_dir() for p in entries) else ""
        raise MissingFile(f"{folder}: no images in this folder ({' '.join(endings)}){hint}")
    return files


def _matching(pattern: str) -> list[Path]:
    names = sorted(glob.glob(os.path.expanduser(pattern), recursive=True))
    files = [Path(name) for name in names if os.path.isfile(name)]
    if not files:
        raise MissingFile(f"no file matches the pattern {pattern!r}")
    return files


def _read_list(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise MissingFile(f"{path}: no such list of images") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadValue(
            f"{path}: this list of images cannot be read ({error}); it has a name a line, in UTF-8"
        ) from None
    names = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not names:
        raise BadValue(f"{path}: this list of images is empty")
    for name in names:
        if name.startswith("@"):
            raise BadValue(f"{path}: a list cannot name another list, as {name!r} does")
    beside = [
        name if _is_found(name) or not _is_found(path.parent / name) else str(path.parent / name) for name in names
    ]
    return beside


def _is_found(name: str | Path) -> bool:
    return is_address(name) or os.path.exists(os.path.expanduser(name))


def output_paths(
    inputs: Sequence[Path | str], output: str, endings: Sequence[str] = WRITABLE_ENDINGS, default: str = ".jpg"
) -> list[Path]:
    """A path for each result: `output` itself where it names a file, else files of the inputs' names in that folder.

    endings: that can be written; another becomes `default`. No two paths are the same, and none is one of the inputs: a
    name that is taken gets a number.
    """
    folder = Path(os.path.expanduser(output))
    if len(inputs) == 1 and is_file_name(output, endings):
        if _key(folder) == _key(inputs[0]):
            raise BadValue(f"--output {output} is the input itself; name another file or a folder")
        return [folder]
    if folder.is_file() or is_file_name(output, endings):
        raise BadValue(f"--output {output} is one file, but there are {len(inputs)} inputs; name a folder")
    taken = {_key(path) for path in inputs}
    numbers: dict[str, int] = {}  # the last number that a name got
    paths = []
    for source in inputs:
        name = _name_of(source)
        stem = name.stem or "image"
        ending = name.suffix if name.suffix.lower() in endings else default
        path, number = folder / f"{stem}{ending}", numbers.get(f"{stem}{ending}", 1)
        while _key(path) in taken:
            number += 1
            path = folder / f"{stem}_{number}{ending}"
        numbers[f"{stem}{ending}"] = number
        taken.add(_key(path))
        paths.append(path)
    return paths


def _name_of(source: Path | str) -> PurePath:
    """The name of the file, of an address without its folders."""
    if not is_address(source):
        return Path(source)
    return PurePosixPath(urllib.parse.unquote(urllib.parse.urlsplit(source).path).rpartition("/")[2])


def ending_of(source: Path | str) -> str:
    """The ending of a path's or address's name, in small letters, with its dot."""
    return _name_of(source).suffix.lower()


def is_file_name(output: str, endings: Any) -> bool:
    """Whether `output` names a file with one of these endings, rather than a folder."""
    return not output.endswith(("/", os.sep)) and not os.path.isdir(output) and Path(output).suffix.lower() in endings


def check_new(paths: Sequence[Path], *, overwrite: bool) -> None:
    """Raises `FileExists` where one of the paths is there, unless it may be overwritten."""
    there = [] if overwrite else [path for path in paths if path.exists()]
    if there:
        more = f" and {len(there) - 1} more" if len(there) > 1 else ""
        raise FileExists(f"{there[0]}{more} would be overwritten; name another --output, or add --overwrite")


def make_folders(paths: Sequence[Path]) -> None:
    """Makes the folders of these files. Raises `CannotWriteFolder` where that, or writing into one, is not possible."""
    for folder in sorted({path.parent for path in paths}):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise CannotWriteFolder(
                f"cannot write into the folder {folder}: {error.strerror}; choose another --output"
            ) from None


def _key(path: Path | str) -> str:
    return str(path) if is_address(path) else os.path.realpath(path).lower()  # some file systems ignore case
