"""Opening files wherever they are: on disk, behind a URL, or under a name of the model zoo.

`detectron2://X` and `catalog://X` are files of the public model zoo. The folder in `$DET2LITE_MODEL_ZOO`, where one is
set, is looked into first (`detectron2://A/B.pkl` is `A/B.pkl` there), for their `https://` addresses too; what is not
there is downloaded once and cached (`$FVCORE_CACHE`, else `~/.torch/iopath_cache`).
"""

import http.client
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from iopath.common.file_io import HTTPURLHandler, OneDrivePathHandler, PathHandler
from iopath.common.file_io import PathManager as PathManagerBase

from det2lite.utils.checksums import check_name
from det2lite.utils.errors import BadValue, MissingFile, UnknownName, close_names

__all__ = ["PathHandler", "PathManager", "atomic_write"]

MODEL_ZOO_ENV = "DET2LITE_MODEL_ZOO"
_ZOO_URL = "https://dl.fbaipublicfiles.com/detectron2/"
_CATALOG_URL = "https://dl.fbaipublicfiles.com/detectron/"
# catalog://<name> -> file below _CATALOG_URL
_CATALOG = {
    "ImageNetPretrained/MSRA/R-50": "ImageNetPretrained/MSRA/R-50.pkl",
    "ImageNetPretrained/MSRA/R-101": "ImageNetPretrained/MSRA/R-101.pkl",
    "ImageNetPretrained/FAIR/R-50-GN": "ImageNetPretrained/47261647/R-50-GN.pkl",
    "ImageNetPretrained/FAIR/R-101-GN": "ImageNetPretrained/47592356/R-101-GN.pkl",
    "ImageNetPretrained/FAIR/X-101-32x8d": "ImageNetPretrained/20171220/X-101-32x8d.pkl",
    "ImageNetPretrained/FAIR/X-101-64x4d": "ImageNetPretrained/FBResNeXt/X-101-64x4d.pkl",
    "ImageNetPretrained/FAIR/X-152-32x8d-IN5k": "ImageNetPretrained/25093814/X-152-32x8d-IN5k.pkl",
}


class _WebHandler(HTTPURLHandler):
    """Downloads to the cache; a URL that cannot be had is an error that a user understands."""

    def _get_local_path(self, path: str, force: bool = False, cache_dir: str | None = None, **kwargs: Any) -> str:
        if own := _in_local_zoo(path):
            check_name(own)
            return own
        try:
            local = super()._get_local_path(path, force=force, cache_dir=cache_dir, **kwargs)
        except (OSError, EOFError, http.client.HTTPException) as error:  # URLError is an OSError
            raise cannot_download(path, error) from error
        try:
            check_name(local, source=path)
        except BadValue:
            os.unlink(local)  # the next attempt downloads it again
            raise
        return local


def _relative_to_zoo(url: str) -> str | None:
    """Where in the local folder a file of the public zoo lies; None for another URL."""
    return next((url[len(base) :] for base in (_ZOO_URL, _CATALOG_URL) if url.startswith(base)), None)


def _in_local_zoo(url: str) -> str | None:
    relative, folder = _relative_to_zoo(url), os.environ.get(MODEL_ZOO_ENV)
    path = os.path.join(folder, relative) if folder and relative else ""
    return path if os.path.isfile(path) else None


def cannot_download(url: str, error: Exception) -> MissingFile:
    """The error that says why a download failed with `error`, and what to do."""
    reason = getattr(error, "reason", error)  # URLError's text is its repr
    reason = " ".join(str(reason).split()) or type(error).__name__
    code = getattr(error, "code", None)  # of HTTPError
    if "CERTIFICATE_VERIFY_FAILED" in reason:
        remedy = "if you trust that server, set SSL_CERT_FILE to the file of certificates that vouches for it"
    else:
        remedy = "check the address" if code else "check the address and the connection"
    relative = _relative_to_zoo(url)
    place = f"put it at ${MODEL_ZOO_ENV}/{relative}" if relative else "give its path instead"
    why = f"{code} {reason}" if code else reason
    return MissingFile(f"cannot download {url} ({why}); {remedy}, or fetch the file on another machine and {place}")


class _ZooHandler(PathHandler):
    """`detectron2://` names: files of the model zoo."""

    PREFIX = "detectron2://"

    def _get_supported_prefixes(self) -> list[str]:
        return [self.PREFIX]

    def _url(self, path: str) -> str:
        return _ZOO_URL + path[len(self.PREFIX) :].lstrip("/")

    def _get_local_path(self, path: str, force: bool = False, **kwargs: Any) -> str:
        return PathManager.get_local_path(self._url(path), force=force, **kwargs)

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

    def _url(self, path: str) -> str:
        name = path[len(self.PREFIX) :].lstrip("/")
        if name not in _CATALOG:
            hint = close_names(name, _CATALOG) or f"; known: {', '.join(_CATALOG)}"
            raise UnknownName(f"no {name!r} in the model catalog{hint}")
        return _CATALOG_URL + _CATALOG[name]


PathManager = PathManagerBase()
"""The project's own path manager: handlers that are registered elsewhere do not reach it, nor ours others."""

PathManager.register_handler(_WebHandler())
PathManager.register_handler(OneDrivePathHandler())
PathManager.register_handler(_ZooHandler())
PathManager.register_handler(_CatalogHandler())


@contextmanager
def atomic_write(path: str | os.PathLike, mode: str = "w", *, durable: bool = True) -> Iterator[IO]:
    """A file opened for writing that takes the place of `path` only when the block ends well.

    mode: "w" (UTF-8 text) or "wb". The folder is made where it is missing. Behind a URL prefix it is written plainly.
    durable: wait for the disk, so that the file is whole also where the machine loses its power a moment later.
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
            if durable:
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
