"""A folder for what is slow to make again: files named by the content that they were made of.

The folder is `$DET2LITE_CACHE`, or `det2lite` in the user's cache folder (`$XDG_CACHE_HOME`, else `~/.cache`). An empty
`$DET2LITE_CACHE` means that nothing is kept. Nothing in it is needed: it may be deleted at any time.
"""

import hashlib
import json
import os
import time

from det2lite.utils.file_io import atomic_write

__all__ = ["CACHE_ENV", "cache_folder", "known_digest", "remember_digest"]

CACHE_ENV = "DET2LITE_CACHE"
SETTLED_SECONDS = 2.0  # a file changed later than this may change again within one tick of the file system's clock


def cache_folder() -> str | None:
    """The folder, which need not exist yet; None where nothing is to be kept."""
    folder = os.environ.get(CACHE_ENV)
    if folder is None:
        base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
        folder = os.path.join(base, "det2lite")
    return folder or None


def _state(path: str) -> list[int]:
    """Numbers that change with a file's content; the time of a change can be set back, that of its status cannot."""
    status = os.stat(path)
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def _record(folder: str, path: str) -> str:
    return os.path.join(folder, hashlib.sha256(os.path.realpath(path).encode()).hexdigest()[:32] + ".source")


def known_digest(folder: str, path: str) -> str | None:
    """The digest of a file's content that `remember_digest` noted, where the file has not changed since."""
    try:
        with open(_record(folder, path), encoding="utf-8") as file:
            record = json.load(file)
        return str(record["digest"]) if record["state"] == _state(path) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def remember_digest(folder: str, path: str, digest: str) -> str | None:
    """Notes the digest of a file's content; returns the one that was noted before, if it was another one."""
    state = _state(path)
    record = _record(folder, path)
    previous = None
    try:
        with open(record, encoding="utf-8") as file:
            previous = json.load(file)["digest"]
    except (OSError, ValueError, KeyError, TypeError):
        pass
    if time.time() - max(state[1], state[2]) / 1e9 > SETTLED_SECONDS:
        with atomic_write(record) as file:
            json.dump({"path": os.path.realpath(path), "digest": digest, "state": state}, file)
    return previous if previous != digest else None
