"""Two global tables: how a data set's name becomes its samples, and what is known about the data set."""

import logging
import os
import types
from collections import UserDict
from collections.abc import Callable
from typing import Any

import numpy as np

from det2lite.data.data_root import DataPath
from det2lite.utils.errors import BadValue, UnknownName, UserError, WrongKind, close_names

logger = logging.getLogger(__name__)

__all__ = ["DatasetCatalog", "MetadataCatalog", "Metadata"]


class MetadataConflict(UserError, AssertionError):
    """A metadata attribute is given a second, different value."""


class NameTaken(UserError, AssertionError):
    """A data set is registered under a name that is in use."""


class _DatasetCatalog(UserDict):
    """Names of data sets and the functions that load them: `name -> () -> samples`.

    A function returns a list of dicts in the standard format, or a torch dataset; it must give the same samples in the
    same order every time. It runs when the data set is asked for, so registering costs nothing.
    """

    def register(self, name: str, func: Callable[[], Any]) -> None:
        if not callable(func):
            raise WrongKind(f"data set {name!r}: register a function, not {type(func).__name__}")
        if name in self.data:
            raise NameTaken(f"data set {name!r} is registered already; remove it first or take another name")
        self[name] = func

    def get(self, name: str) -> Any:
        """The samples of the data set `name`, loaded now."""
        return self[name]()

    def __missing__(self, name: str):
        hint = close_names(name, self.data) or f"; registered are: {', '.join(sorted(self.data)) or 'none'}"
        raise UnknownName(f"no data set {name!r} is registered{hint}")

    def list(self) -> list[str]:
        return list(self.data)

    def remove(self, name: str) -> None:
        self.pop(name)

    def pop(self, name: str, *default):
        if name not in self.data and not default:
            self.__missing__(name)
        return self.data.pop(name, *default)

    def __str__(self) -> str:
        return f"DatasetCatalog(registered datasets: {', '.join(self.data)})"

    __repr__ = __str__


DatasetCatalog = _DatasetCatalog()
"""How to load each data set; global."""


def _same(old: Any, new: Any) -> bool:
    if isinstance(old, np.ndarray) or isinstance(new, np.ndarray):
        return np.array_equal(old, new)
    return bool(old == new)


_LEGACY_NAMES = {
    "class_names": "thing_classes",
    "stuff_class_names": "stuff_classes",
    "dataset_id_to_contiguous_id": "thing_dataset_id_to_contiguous_id",
}


class Metadata(types.SimpleNamespace):
    """What is known about one data set, as attributes that are set once: `thing_classes`, `evaluator_type`, ...

    Setting an attribute again to another value raises: two parts of a program would disagree about the data.
    """

    name: str = "N/A"

    def __getattribute__(self, key: str) -> Any:
        value = super().__getattribute__(key)
        return os.fspath(value) if isinstance(value, DataPath) else value

    def __getattr__(self, key: str) -> Any:
        if key in _LEGACY_NAMES:
            logger.warning("metadata %r is now called %r", key, _LEGACY_NAMES[key])
            return getattr(self, _LEGACY_NAMES[key])
        known = [k for k in self.__dict__ if k != "name"]
        if not known:
            raise AttributeError(
                f"no {key!r} in the metadata of data set {self.name!r}: it is empty. Is the data set registered, "
                "and is this its exact name?"
            )
        raise AttributeError(
            f"no {key!r} in the metadata of data set {self.name!r}{close_names(key, known)}; it has: {', '.join(known)}"
        )

    def __setattr__(self, key: str, value: Any) -> None:
        if key in _LEGACY_NAMES:
            logger.warning("metadata %r is now called %r", key, _LEGACY_NAMES[key])
            key = _LEGACY_NAMES[key]
        if key in self.__dict__ and not _same(self.__dict__[key], value):
            raise MetadataConflict(
                f"metadata {key!r} of data set {self.name!r} is {_short(self.__dict__[key])} and cannot become "
                f"{_short(value)}; remove the name from MetadataCatalog first, or take another name"
            )
        super().__setattr__(key, value)

    def as_dict(self) -> dict[str, Any]:
        return {key: getattr(self, key) for key in self.__dict__}

    def set(self, **kwargs: Any) -> "Metadata":
        """Sets several attributes; returns itself."""
        for key, value in kwargs.items():
            setattr(self, key, value)
        return self

    def get(self, key: str, default: Any = None) -> Any:
        """The attribute, or `default` where there is none."""
        try:
            return getattr(self, key)
        except AttributeError:
            return default


def _short(value: Any, limit: int = 120) -> str:
    text = repr(value)
    return text if len(text) <= limit else f"{text[:limit]}..."


class _MetadataCatalog(UserDict):
    """Names of data sets and their `Metadata`, which is created empty when first asked for."""

    def get(self, name: str) -> Metadata:
        if not isinstance(name, str) or not name:
            raise BadValue(f"metadata is kept by the name of a data set, not by {name!r}")
        if name not in self.data:
            self[name] = Metadata(name=name)
        return self[name]

    def __missing__(self, name: str):
        raise UnknownName(f"no metadata of a data set {name!r}{close_names(name, self.data)}")

    def list(self) -> list[str]:
        return list(self.data)

    def remove(self, name: str) -> None:
        self.pop(name)

    def pop(self, name: str, *default):
        if name not in self.data and not default:
            self.__missing__(name)
        return self.data.pop(name, *default)

    def __str__(self) -> str:
        return f"MetadataCatalog(registered metadata: {', '.join(self.data)})"

    __repr__ = __str__


MetadataCatalog = _MetadataCatalog()
"""What is known about each data set; global."""
