"""Samples that stay on disk: rows of bytes in one memory-mapped file, read one at a time, shared by all processes.

A list of dicts of a large data set takes long to make, and is copied page by page into every worker process, because
reading a Python object writes its reference count. A `SampleStore` holds the same samples as rows that become dicts
only when they are asked for, and columns with what has to be known of all samples at once.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, BinaryIO, NamedTuple, Protocol

import numpy as np
import torch

__all__ = ["SampleRows", "SampleStore", "StoredSamples", "stored_rows"]

SAMPLE_COLUMNS = ("file_name", "height", "width", "usable", "labelled")  # (N,) of each sample
ANNOTATION_COLUMNS = ("bbox", "category", "crowd", "has_mask", "keypoints")  # (A,) of each annotation, sample by sample
INDEX_COLUMNS = ("row_end", "annotation_end")  # (N,) where a sample's bytes and annotations end


class SampleStore:
    """N samples as bytes, and columns of numbers.

    Columns of samples: file_name (UTF-8), height, width in pixels, usable (how many annotations are no crowds),
    labelled (how many keypoints its annotations have); of annotations: bbox (A, 4) XYWH, category, crowd, has_mask,
    keypoints (how many numbers); and where the bytes and the annotations of each sample end. meta: bytes that whoever
    writes and whoever reads a store agree on.
    """

    def __init__(self, columns: dict[str, np.ndarray], meta: bytes, rows: torch.Tensor | np.ndarray, path: str | None):
        self.columns = columns
        self.meta = meta
        self._rows = rows
        self._path = path

    def __len__(self) -> int:
        return len(self.columns["row_end"])

    def row(self, index: int) -> bytes:
        ends = self.columns["row_end"]
        return np.asarray(self._rows[int(ends[index - 1]) if index else 0 : int(ends[index])]).tobytes()

    def annotations_of(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where in the annotation columns the samples' annotations are, in order, and how many each sample has."""
        ends = self.columns["annotation_end"]
        counts = np.diff(ends, prepend=0)[indices]
        starts = ends[indices] - counts
        return np.repeat(starts - (counts.cumsum() - counts), counts) + np.arange(counts.sum()), counts

    @classmethod
    def open(cls, path: str | os.PathLike) -> "SampleStore":
        """A store that `write` has written. Raises `ValueError`, `OSError` or `EOFError` where it is broken."""
        path = os.fspath(path)
        with open(path, "rb") as file:
            columns = {name: np.load(file, allow_pickle=False) for name in _COLUMNS}
            meta = np.load(file, allow_pickle=False).tobytes()
            np.lib.format.read_magic(file)
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
            offset = file.tell()
        _check(columns, shape, dtype, os.path.getsize(path) - offset)
        rows = np.memmap(path, mode="r", dtype=np.uint8, offset=offset, shape=shape) if shape[0] else np.zeros(0, "u1")
        return cls(columns, meta, rows.view(np.ndarray), path)

    @staticmethod
    def write(file: BinaryIO, columns: dict[str, np.ndarray], meta: bytes, rows: Iterator[bytes]) -> None:
        """Writes a store. rows: pieces of the samples' bytes, which `columns` tell the ends of."""
        for name in _COLUMNS:
            np.save(file, columns[name], allow_pickle=False)
        np.save(file, np.frombuffer(meta, dtype=np.uint8), allow_pickle=False)
        size = int(columns["row_end"][-1]) if len(columns["row_end"]) else 0
        header = {"descr": "|u1", "fortran_order": False, "shape": (size,)}
        np.lib.format.write_array_header_1_0(file, header)
        file.writelines(rows)

    @classmethod
    def in_memory(cls, columns: dict[str, np.ndarray], meta: bytes, rows: Iterator[bytes]) -> "SampleStore":
        """The same without a file."""
        return cls(columns, meta, torch.frombuffer(bytearray(b"".join(rows)) or bytearray(1), dtype=torch.uint8), None)

    def __getstate__(self) -> dict:
        # another process maps the file itself; torch shares a tensor
        return self.__dict__ | ({"_rows": None} if self._path else {})

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        if self._path:
            self._rows = SampleStore.open(self._path)._rows


_COLUMNS = (*INDEX_COLUMNS, *SAMPLE_COLUMNS, *ANNOTATION_COLUMNS)


def _check(columns: dict[str, np.ndarray], shape: tuple, dtype: np.dtype, size: int) -> None:
    """Raises `ValueError` where the parts of a store do not fit each other."""
    count = len(columns["row_end"])
    for what, total in (("row_end", size), ("annotation_end", len(columns["category"]))):
        ends = columns[what]
        if (np.diff(ends, prepend=0) < 0).any() or (ends[-1] if count else 0) != total:
            raise ValueError(f"{what} does not end with its data")
    if any(columns[name].shape != (count,) for name in (*INDEX_COLUMNS, *SAMPLE_COLUMNS)):
        raise ValueError("columns of different lengths")
    if any(len(columns[name]) != len(columns["category"]) for name in ANNOTATION_COLUMNS):
        raise ValueError("columns of different lengths")
    if dtype != np.uint8 or shape != (size,):
        raise ValueError("its data are cut off")


class AnnotationColumns(NamedTuple):
    """Annotations of many samples: index of the sample, class, box XYWH (A, 4), has_mask, count of keypoint numbers."""

    sample: np.ndarray
    label: np.ndarray
    bbox: np.ndarray
    has_mask: np.ndarray
    keypoints: np.ndarray


class Reader(Protocol):
    """What a store's rows mean."""

    def __call__(self, row: bytes) -> dict: ...

    def class_of(self, categories: np.ndarray) -> np.ndarray: ...

    def path_of(self, file_name: str) -> str: ...


class SampleRows(Sequence):
    """Samples of one or several stores in some order. Each access makes a new dict from what all processes share."""

    def __init__(self, stores: Sequence[SampleStore], readers: Sequence[Reader], which: np.ndarray, row: np.ndarray):
        """readers: of each store. which, row: (N,) the store and the row in it of each sample."""
        self._stores, self._readers = tuple(stores), tuple(readers)
        self._which, self._row = which, row

    @classmethod
    def whole(cls, store: SampleStore, reader: Reader) -> "SampleRows":
        return cls([store], [reader], np.zeros(len(store), np.uint8), np.arange(len(store)))

    @classmethod
    def joined(cls, parts: Sequence["SampleRows"]) -> "SampleRows":
        """One after the other."""
        starts = np.cumsum([0, *(len(part._stores) for part in parts)])
        which = [part._which.astype(np.int64) + start for part, start in zip(parts, starts[:-1], strict=True)]
        stores = [store for part in parts for store in part._stores]
        readers = [reader for part in parts for reader in part._readers]
        return cls(stores, readers, np.concatenate(which), np.concatenate([part._row for part in parts]))

    def __len__(self) -> int:
        return len(self._row)

    def __getitem__(self, index: int) -> dict:
        index = range(len(self))[index]  # negative indices and IndexError as in a list
        which, row = self._which[index], int(self._row[index])
        return self._readers[which](self._stores[which].row(row))

    def selected(self, keep: np.ndarray) -> "SampleRows":
        """keep: (N,) bool, or indices."""
        return SampleRows(self._stores, self._readers, self._which[keep], self._row[keep])

    def column(self, name: str) -> np.ndarray:
        """(N,) numbers, by sample; see `SampleStore`."""
        values = np.zeros(len(self), dtype=np.result_type(*(store.columns[name] for store in self._stores)))
        for number, store in enumerate(self._stores):
            mine = self._which == number
            values[mine] = store.columns[name][self._row[mine]]
        return values

    def file_names(self) -> list[str]:
        """The path of each sample's image."""
        names: list[str] = [""] * len(self)
        for number, (store, reader) in enumerate(zip(self._stores, self._readers, strict=True)):
            mine = np.flatnonzero(self._which == number)
            for index, name in zip(mine.tolist(), store.columns["file_name"][self._row[mine]].tolist(), strict=True):
                names[index] = reader.path_of(name.decode())
        return names

    def annotations(self, crowds: bool = False) -> "AnnotationColumns":
        """What is known of all annotations. crowds: also of those that are crowds."""
        parts = []
        for number, (store, reader) in enumerate(zip(self._stores, self._readers, strict=True)):
            mine = np.flatnonzero(self._which == number)
            positions, counts = store.annotations_of(self._row[mine])
            kept = crowds | ~store.columns["crowd"][positions]
            positions, sample = positions[kept], np.repeat(mine, counts)[kept]
            columns = (store.columns[name][positions] for name in ("bbox", "has_mask", "keypoints"))
            parts.append((sample, reader.class_of(store.columns["category"][positions]), *columns))
        joined = [np.concatenate(column) for column in zip(*parts, strict=True)]
        order = np.argsort(joined[0], kind="stable")
        return AnnotationColumns(*(column[order] for column in joined))


class StoredSamples(list):
    """A list of dicts that are made when they are first asked for, and are then kept, so that changes to them stay.

    It is as any list: what changes it, or looks at all of it, makes it one.
    """

    def __init__(self, rows: SampleRows):
        super().__init__([None] * len(rows))
        self._rows: SampleRows | None = rows
        self._untouched = True

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        item = super().__getitem__(index)
        if item is None and self._rows is not None:
            item = self._rows[index]
            self._untouched = False
            super().__setitem__(index, item)
        return item

    def __iter__(self) -> Iterator[Any]:
        index = 0
        while index < len(self):  # as of a list, which may grow meanwhile
            yield self[index]
            index += 1

    def __reduce_ex__(self, protocol: Any) -> tuple:
        return list, (list(self),)

    def make_all(self) -> None:
        """Makes every dict that is not made yet."""
        if self._rows is not None:
            for index in range(len(self)):
                self[index]
            self._rows, self._untouched = None, False


def _of_whole_list(name: str) -> Callable:
    method = getattr(list, name)

    def whole(self: StoredSamples, *args: Any, **kwargs: Any) -> Any:
        self.make_all()
        for other in args:
            if isinstance(other, StoredSamples):
                other.make_all()
        return method(self, *args, **kwargs)

    whole.__name__ = name
    return whole


for _name in (
    "append clear copy count extend index insert pop remove reverse sort __add__ __contains__ __delitem__ __eq__ "
    "__ge__ __gt__ __iadd__ __imul__ __le__ __lt__ __mul__ __ne__ __repr__ __reversed__ __rmul__ __setitem__"
).split():
    setattr(StoredSamples, _name, _of_whole_list(_name))
StoredSamples.__radd__ = lambda self, other: [*other, *self]
StoredSamples.__hash__ = None


def stored_rows(samples: Any) -> SampleRows | None:
    """The rows behind samples that nobody has looked at or changed yet; None for all others."""
    if isinstance(samples, StoredSamples) and samples._untouched:
        return samples._rows
    return None
