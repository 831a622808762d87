"""Checkpoint files of every kind as one: a dict whose "model" holds tensors by name. Nothing in a file is executed."""

import logging
import os
import pickle
import re
import warnings
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from det2lite.checkpoint.key_maps import torchvision
from det2lite.utils.checksums import check_name
from det2lite.utils.errors import BadValue, MissingFile, UserError
from det2lite.utils.file_io import PathManager
from det2lite.utils.safe_pickle import load_pickle, torch_globals, without_placeholders

logger = logging.getLogger(__name__)


class MissingCheckpoint(MissingFile, AssertionError):
    """A checkpoint file that is not there; callers of Detectron2 expect a failed assertion."""


_ZIP_MAGIC = b"PK\x03\x04"  # what torch.save has written since 1.6
_WRAPPER_PREFIXES = ("module.", "_orig_mod.")  # DistributedDataParallel and torch.compile


def local_file(path: str, path_manager: Any = PathManager) -> str:
    """A file on this disk for a path, URL or `detectron2://` name.

    Raises `MissingFile`, and `BadValue` where the name of a published file promises another checksum.
    """
    if os.path.isfile(path):
        check_name(path)
        return path
    local = path_manager.get_local_path(path)
    if not os.path.isfile(local):
        raise MissingCheckpoint(f"no checkpoint file {path}; check MODEL.WEIGHTS")
    return local


def read_checkpoint(path: str, *, mmap: bool = False) -> dict[str, Any]:
    """A local checkpoint file as {"model": name -> tensor, ...}, tensors on the CPU.

    "matching_heuristics" is True where names lack the model's prefixes, and "__author__" tells where a foreign file is
    from. mmap: read tensors from disk only when they are used. Raises `BadValue` for a file that is broken, of other
    content, or that asks for more than plain data.
    """
    content = _load(path, mmap)
    if not isinstance(content, dict):
        raise BadValue(f"{path} is no checkpoint: it holds a {type(content).__name__}, not a dict of tensors")
    checkpoint = _normalised(content, path)
    checkpoint["model"] = _tensors(checkpoint["model"], path)
    if torchvision.is_torchvision_resnet(checkpoint["model"]):
        logger.info("%s: %s", path, torchvision.PREPROCESSING)
        checkpoint["model"] = torchvision.convert_weights(checkpoint["model"])
        checkpoint |= {"__author__": "torchvision", "matching_heuristics": True}
    return checkpoint


def _load(path: str, mmap: bool) -> Any:
    try:
        with open(path, "rb") as file:
            is_zip = file.read(len(_ZIP_MAGIC)) == _ZIP_MAGIC
        if path.endswith(".pkl") and not is_zip:
            return load_pickle(path)
        with warnings.catch_warnings(), torch.serialization.safe_globals(torch_globals()):
            warnings.filterwarnings("ignore", message="Detected pickle protocol")  # a plain pickle; the error says so
            loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap and is_zip)
        return without_placeholders(loaded)
    except UserError:
        raise
    except pickle.UnpicklingError as error:
        raise BadValue(_refusal(path, str(error))) from error
    except OSError as error:
        raise BadValue(f"cannot read the checkpoint {path}: {error.strerror or error}") from error
    except (RuntimeError, EOFError, ValueError, TypeError, KeyError, IndexError, AttributeError, MemoryError) as error:
        # a broken file fails in the middle of the unpickler, in any way
        reason = str(error).split(". ")[0].splitlines()[0] if str(error) else ""
        if len(reason.split()) < 2:  # a key of the unpickler's, or nothing: EOFError has no text
            reason = "its content is not what torch.save writes"
        raise BadValue(f"{path} is no checkpoint or is broken ({reason}); was it copied completely?") from error


def _refusal(path: str, reason: str) -> str:
    # torch explains over many lines how to switch the safety off; the name of what was refused is what matters
    if match := re.search(r"GLOBAL (\S+)", reason):
        return f"{path} asks for {match[1]}, which could run code; only weights and plain data are loaded"
    if match := re.search(r"[^.:\n]* (are not read|as data|without size|without a dtype)\b", reason):
        return f"{path}: {match[0].strip()}; only weights and plain data are loaded"
    return f"{path} is no checkpoint: it was written neither by torch.save nor as a .pkl of arrays"


def _normalised(content: dict[str, Any], path: str) -> dict[str, Any]:
    """A new dict with "model", from the layouts of our own, Detectron2's, Caffe2's, pycls' and plain state dicts."""
    if isinstance(content.get("model"), dict):
        return dict(content)
    if isinstance(content.get("model_state"), dict):
        return {"model": content["model_state"], "__author__": "pycls", "matching_heuristics": True}
    if isinstance(content.get("state_dict"), dict):
        others = {key: value for key, value in content.items() if key != "state_dict"}
        return {**others, "model": content["state_dict"]}
    if path.endswith(".pkl"):
        blobs = content["blobs"] if isinstance(content.get("blobs"), dict) else content
        blobs = {name: blob for name, blob in blobs.items() if not str(name).endswith("_momentum")}
        return {"model": blobs, "__author__": "Caffe2", "matching_heuristics": True}
    return {"model": content}


def _tensors(weights: Mapping[str, Any], path: str) -> "OrderedDict[str, torch.Tensor]":
    tensors = OrderedDict()
    if hasattr(weights, "_metadata"):  # versions of modules, which tell how to read old weights
        tensors._metadata = weights._metadata
    for name, value in weights.items():
        if _is_numeric(value):
            value = _from_numpy(value)
        if not isinstance(name, str) or not isinstance(value, torch.Tensor):
            raise BadValue(f"{path} is no checkpoint of a model: {name!r} is a {type(value).__name__}, not a tensor")
        tensors[name] = value
    for prefix in _WRAPPER_PREFIXES:
        if tensors and all(name.startswith(prefix) for name in tensors):
            tensors = _without_prefix(tensors, prefix)
    return tensors


def _is_numeric(value: Any) -> bool:
    return isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind in "biuf" and value.dtype.itemsize <= 8


def _from_numpy(value: np.ndarray | np.generic) -> torch.Tensor:
    array = np.asarray(value, dtype=value.dtype.newbyteorder("="))  # a file of half a gigabyte is not copied
    return torch.from_numpy(array if array.flags.writeable and min(array.strides, default=0) >= 0 else array.copy())


def _without_prefix(tensors: "OrderedDict[str, torch.Tensor]", prefix: str) -> "OrderedDict[str, torch.Tensor]":
    stripped = OrderedDict((name[len(prefix) :], value) for name, value in tensors.items())
    if hasattr(tensors, "_metadata"):
        modules = ((f"{name}.", version) for name, version in tensors._metadata.items())
        stripped._metadata = {name[len(prefix) : -1]: v for name, v in modules if name.startswith(prefix)}
    return stripped


def to_plain(value: Any, where: str) -> Any:
    """`value` as types that `read_checkpoint` reads back: numbers and tensors for numpy's, base classes for subclasses.

    Objects of other classes stay, with a warning that names them by `where`.
    """
    if value is None or type(value) in (bool, int, float, complex, str, bytes) or isinstance(value, torch.Tensor):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if _is_numeric(value):
        return _from_numpy(value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, OrderedDict) and hasattr(value, "_metadata"):
        return value  # the state dict of a module
    if isinstance(value, Mapping):
        return {to_plain(k, where): to_plain(v, f"{where}[{k!r}]") for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)) and not isinstance(value, torch.Size):
        items = [to_plain(item, f"{where}[{i}]") for i, item in enumerate(value)]
        return items if isinstance(value, list) else (tuple if isinstance(value, tuple) else set)(items)
    for base in (int, float, str):
        if isinstance(value, base):
            return base(value)
    if not isinstance(value, (torch.Size, torch.dtype, torch.device)):
        logger.warning("%s is a %s: a checkpoint with it cannot be loaded safely", where, type(value).__name__)
    return value
