"""Where data sets lie: paths under `$DETECTRON2_DATASETS` that are resolved when they are read, not at import."""

import os

ROOT_VARIABLE = "DETECTRON2_DATASETS"
DEFAULT_ROOT = "datasets"


def data_root() -> str:
    """The folder that holds `coco/`, `VOC2007/`, ...: `$DETECTRON2_DATASETS`, else `./datasets`."""
    return os.path.expanduser(os.environ.get(ROOT_VARIABLE) or DEFAULT_ROOT)


class DataPath(os.PathLike):
    """A path below the data root of the moment."""

    def __init__(self, relative: str):
        self.relative = relative

    def __fspath__(self) -> str:
        return os.path.join(data_root(), self.relative)

    def __str__(self) -> str:
        return self.__fspath__()

    def __repr__(self) -> str:
        return f"DataPath({self.relative!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DataPath) and other.relative == self.relative

    def __hash__(self) -> int:
        return hash(self.relative)


def join_root(root: str | None, relative: str) -> str | DataPath:
    """`relative` below `root`; without a root, below the data root of the moment."""
    return DataPath(relative) if root is None else os.path.join(root, relative)


def missing_hint(path: str) -> str:
    """What to do about a missing `path`; for one below the data root, how that root is chosen and what it holds."""
    if os.path.isdir(path):
        return "it is a folder; give the file"
    root = data_root()
    relative = os.path.relpath(path, root)
    if relative.startswith(os.pardir) or os.path.isabs(relative):
        return "check the path"
    chosen = f"is {root!r}" if os.environ.get(ROOT_VARIABLE) else f"is not set, so {DEFAULT_ROOT!r} is used"
    return f"${ROOT_VARIABLE} {chosen}: it must name the folder that holds {relative} (layout: datasets/README.md)"
