"""Writing predictions, millions of small objects, without a step of Python for each."""

import gc
import io
import json
import pickle
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import msgspec
import torch

__all__ = ["no_garbage_collection", "results_as_json", "save_predictions"]


class _NotPlain(Exception):
    """An object that is more than numbers, strings, lists and dicts of them."""


class _PlainPickler(pickle.Pickler):
    def reducer_override(self, obj: Any) -> Any:
        raise _NotPlain  # asked only for what is not built in


def save_predictions(predictions: list[dict], file: BinaryIO) -> None:
    """A file for `torch.load`.

    `torch.save` asks of every number whether it is a tensor. Where there are none the archive holds nothing but a
    pickle, and is written here.
    """
    buffer = io.BytesIO()
    try:
        _PlainPickler(buffer, protocol=2).dump(predictions)
    except _NotPlain:
        torch.save(predictions, file)
        return
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("predictions/data.pkl", buffer.getbuffer())
        archive.writestr("predictions/byteorder", "little")
        archive.writestr("predictions/version", "3\n")


def results_as_json(results: list[dict]) -> bytes:
    """The text of a result file. Numbers that are not finite are `NaN` and `Infinity`, as Python's json reads them."""
    text = msgspec.json.encode(results)
    return json.dumps(results).encode() if b"null" in text else text


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
