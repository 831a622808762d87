"""Writing predictions, millions of small objects, without a step of Python for each."""

import gc
import io
import itertools
import json
import os
import pickle
import zipfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, BinaryIO

import msgspec
import torch

from det2lite.evaluation.detections import Detections, ImageDetections
from det2lite.utils.file_io import atomic_write

__all__ = ["FileSaver", "no_garbage_collection", "results_as_json", "save_predictions", "write_results"]


class _NotPlain(Exception):
    """An object that is more than numbers, strings, lists and dicts of them."""


class _PlainPickler(pickle.Pickler):
    def reducer_override(self, obj: Any) -> Any:
        raise _NotPlain  # asked only for what is not built in


def save_predictions(predictions: list[dict], file: BinaryIO) -> None:
    """A file for `torch.load`.

    `torch.save` asks of every number whether it is a tensor. Where there are none the archive holds nothing but a
    pickle, and is written here. `ImageDetections` are written as lists of dicts.
    """
    parts = _pickled_parts(predictions)
    if parts is None:
        predictions = [{key: _plain(value) for key, value in prediction.items()} for prediction in predictions]
        buffer = io.BytesIO()
        try:
            _PlainPickler(buffer, protocol=2).dump(predictions)
        except _NotPlain:
            torch.save(predictions, file)
            return
        parts = [buffer.getbuffer()]
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        with archive.open("predictions/data.pkl", "w", force_zip64=sum(map(len, parts)) >= _ZIP64_BYTES) as member:
            member.writelines(parts)
        archive.writestr("predictions/byteorder", "little")
        archive.writestr("predictions/version", "3\n")


def _plain(value: Any) -> Any:
    return value.entries() if isinstance(value, ImageDetections) else value


def _pickled_parts(predictions: list[dict]) -> list[bytes] | None:
    """The pickle of predictions put together from those of each image's detections; None where there are none.

    A pickle is a program for a stack machine, and programs that each leave an object on the stack can follow each
    other: what one of them has noted for itself is overwritten by the next, which reads only its own notes.
    """
    if not all(prediction.keys() == {"image_id", "instances"} for prediction in predictions):
        return None
    if not any(isinstance(prediction["instances"], ImageDetections) for prediction in predictions):
        return None
    parts = [pickle.PROTO + b"\x02" + pickle.EMPTY_LIST]
    for batch in _batches(predictions, 1000):
        parts.append(pickle.MARK)
        for prediction in batch:
            found = prediction["instances"]
            instances = _program(found.pickled) if isinstance(found, ImageDetections) else _pickled(found)
            parts += [_EMPTY, _ID, _pickled(prediction["image_id"]), _INSTANCES, instances, pickle.SETITEMS]
        parts.append(pickle.APPENDS)
    parts.append(pickle.STOP)
    return parts


def _batches(items: list, size: int) -> Iterable[list]:
    return (items[start : start + size] for start in range(0, len(items), size))


def _program(pickled: bytes) -> bytes:
    """A pickle of protocol 2 without its first two bytes, which name the protocol, and its last, which ends it."""
    return pickled[2:-1]


def _pickled(value: Any) -> bytes:
    return _program(pickle.dumps(value, protocol=2))


_EMPTY = pickle.EMPTY_DICT + pickle.MARK
_ID, _INSTANCES = _pickled("image_id"), _pickled("instances")
_ZIP64_BYTES = 2**31 - 2**20  # from here on sizes do not fit the fields of a plain archive


def results_as_json(results: list[dict]) -> bytes:
    """The text of a result file. Numbers that are not finite are `NaN` and `Infinity`, as Python's json reads them."""
    text = msgspec.json.encode(results)
    return json.dumps(results).encode() if b"null" in text else text


def write_results(results: list[dict] | Detections, file: BinaryIO) -> None:
    """A result file, as `results_as_json`; of `Detections` from the texts that they have."""
    if not isinstance(results, Detections) or any(text is None for text in results.texts()):
        file.write(results_as_json(list(results)))
        return
    separators = itertools.chain([b"["], itertools.repeat(b","))
    file.writelines(itertools.chain.from_iterable(zip(separators, results.texts(), strict=False)))
    file.write(b"]" if len(results) else b"[]")


class FileSaver:
    """Writes files, whole or not at all, in a thread beside the computation. Leaving the context waits for them.

    What goes wrong with a file is raised at the end, unless something else has been raised inside.
    """

    def __enter__(self) -> "FileSaver":
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._files: list[Future] = []
        return self

    def save(self, path: str | os.PathLike, write: Callable[[BinaryIO], None]) -> None:
        """write: called with the open file."""
        self._files.append(self._thread.submit(self._save, path, write))

    @staticmethod
    def _save(path: str | os.PathLike, write: Callable[[BinaryIO], None]) -> None:
        with atomic_write(path, "wb", durable=False) as file:  # can be made again, and disks are slow
            write(file)

    def __exit__(self, kind: Any, *_: Any) -> None:
        self._thread.shutdown()
        if kind is None:
            for file in self._files:
                file.result()


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Inside, reference cycles are not looked for: with millions of live objects each search takes seconds."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
