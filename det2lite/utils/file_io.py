"""Opening files wherever they are: on disk, behind a URL, or under a name of the model zoo.

`detectron2://X` and `catalog://X` are files of the public model zoo. The folder in `$DET2LITE_MODEL_ZOO`, where one is
set, is looked into first (`detectron2://A/B.pkl` is `A/B.pkl` there); what is not there is downloaded once and cached
(`$FVCORE_CACHE`, else `~/.torch/iopath_cache`).
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from iopath.common.file_io import HTTPURLHandler, OneDrivePathHandler, PathHandler
from iopath.common.file_io import PathManager as PathManagerBase

from det2lite.utils.errors import MissingFile, UnknownName, close_names

__all__ = ["PathHandler", "PathManager", "atomic_write"]

MODEL_ZOO_ENV = "DET2LITE_MODEL_ZOO"
_ZOO_URL = "https://dl.fbaipublicfiles.com/detectron2/"
_BACKBONES = "ImageNetPretrained/"
# catalog://ImageNetPretrained/<name> -> file of the zoo
_CATALOG = {
    "MSRA/R-50": "MSRA/R-50.pkl",
    "MSRA/R-101": "MSRA/R-101.pkl",
    "FAIR/R-50-GN": "FAIR/R-50-GN.pkl",
    "FAIR/R-101-GN": "FAIR/R-101-GN.pkl",
    "FAIR/X-101-32x8d": "FAIR/X-101-32x8d.pkl",
    "FAIR/X-101-64x4d": "FAIR/X-101-64x4d.pkl",
    "FAIR/X-152-32x8d-IN5k": "FAIR/X-152-32x8d-IN5k.pkl",
    "FAIR/R-50": "MSRA/R-50.pkl",
    "FAIR/R-101": "MSRA/R-101.pkl",
}


class _WebHandler(HTTPURLHandler):
    """Downloads to the cache; a URL that cannot be had is an error that a user understands."""

    def _get_local_path(self, path: str, force: bool = False, cache_dir: str | None = None, **kwargs: Any) -> str:
        try:
            return super()._get_local_path(path, force=force, cache_dir=cache_dir, **kwargs)
        except (OSError, EOFError) as error:  # URLError is an OSError
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise MissingFile(f"cannot download {path} ({reason}); check the address and the connection") from error


class _ZooHandler(PathHandler):
    """`detectron2://` names: files of the model zoo, from the local folder if they are there."""

    PREFIX = "detectron2://"

    def _get_supported_prefixes(self) -> list[str]:
        return [self.PREFIX]

    def _relative(self, path: str) -> str:
        return path[len(self.PREFIX) :].lstrip("/")

    def _get_local_path(self, path: str, force: bool = False, **kwargs: Any) -> str:
        relative = self._relative(path)
        folder = os.environ.get(MODEL_ZOO_ENV)
        if folder and os.path.isfile(os.path.join(folder, relative)):
            return os.path.join(folder, relative)
        try:
            return PathManager.get_local_path(_ZOO_URL + relative, force=force, **kwargs)
        except MissingFile as error:
            raise MissingFile(f"{path}: {error}, or put the file at ${MODEL_ZOO_ENV}/{relative}") from error

    def _open(self, path: str, mode: str = "r", buffering: int = -1, **kwargs: Any) -> IO:
        if mode not in ("r", "rb"):
            raise ValueError(f"{path}: the model zoo can only be read, not opened as {mode!r}")
        return PathManager.open(self._get_local_path(path), mode, buffering=buffering, **kwargs)

    def _exists(self, path: str, **kwargs: Any) -> bool:
        try:
            return os.path.isfile(self._get_local_path(path))
        except FileNotFoundError:
            return False

    _isfile = _exists

    def _isdir(self, path: str, **kwargs: Any) -> bool:
        return False


class _CatalogHandler(_ZooHandler):
    """`catalog://ImageNetPretrained/MSRA/R-50`: short names of pre-trained backbones."""

    PREFIX = "catalog://"

    def _relative(self, path: str) -> str:
        name = super()._relative(path)
        known = [_BACKBONES + backbone for backbone in _CATALOG]
        if name not in known:
            raise UnknownName(f"no {name!r} in the model catalog{close_names(name, known) or '; known: ' + str(known)}")
        return _BACKBONES + _CATALOG[name[len(_BACKBONES) :]]


PathManager = PathManagerBase()
"""The project's own path manager: handlers that are registered elsewhere do not reach it, nor ours others."""

PathManager.register_handler(_WebHandler())
PathManager.register_handler(OneDrivePathHandler())
PathManager.register_handler(_ZooHandler())
PathManager.register_handler(_CatalogHandler())


@contextmanager
def atomic_write(path: str | os.PathLike, mode: str = "w") -> Iterator[IO]:
    """A file opened for writing that takes the place of `path` only when the block ends well.

    mode: "w" (UTF-8 text) or "wb". The folder is made where it is missing. Behind a URL prefix it is written plainly.
    """
    path = os.fspath(path)
    encoding = None if "b" in mode else "utf-8"
    if "://" in path:
        with PathManager.open(path, mode) as file:
            yield file
        return
    folder = os.path.dirname(os.path.abspath(path))
    os.makedirs(folder, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=folder, prefix=f".{os.path.basename(path)}.")
    try:
        with os.fdopen(handle, mode, encoding=encoding) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())  # mkstemp makes files for their owner alone
        os.replace(temporary, path)
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
