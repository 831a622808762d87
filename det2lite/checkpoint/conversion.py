"""Checkpoints of other sources written as Detectron2's `.pkl`, which Detectron2 and det2lite load."""

import os
import pickle

from det2lite.checkpoint.files import local_file, read_checkpoint
from det2lite.utils.errors import BadValue, UserError
from det2lite.utils.file_io import atomic_write

__all__ = ["TORCHVISION_SETTINGS", "convert_torchvision"]

TORCHVISION_SETTINGS = """MODEL:
  WEIGHTS: "{path}"
  PIXEL_MEAN: [123.675, 116.28, 103.53]
  PIXEL_STD: [58.395, 57.12, 57.375]
  RESNETS:
    STRIDE_IN_1X1: False
INPUT:
  FORMAT: "RGB"
"""
"""What a config needs for the file that `convert_torchvision` writes."""


class FileExists(UserError, FileExistsError):
    """A file that is there and was not asked to be replaced."""


def convert_torchvision(source: str | os.PathLike, target: str | os.PathLike, *, overwrite: bool = False) -> list[str]:
    """Writes the ResNet or ResNeXt in `source`, a file or URL with torchvision's names, to the `.pkl` `target`.

    Returns the names written: those of a det2lite ResNet below the backbone's prefix, which is found when the file is
    loaded. Raises `BadValue` for a file of another architecture.
    """
    source, target = os.fspath(source), os.fspath(target)
    if not target.endswith(".pkl"):
        raise BadValue(f"{target}: the converted file must be named .pkl, by which Detectron2 knows its format")
    if os.path.exists(target) and not overwrite:
        raise FileExists(
            f"{target} is there already; remove it, give another name, or overwrite it (--overwrite, overwrite=True)"
        )
    checkpoint = read_checkpoint(local_file(source))
    if checkpoint.get("__author__") != "torchvision":
        names = ", ".join(list(checkpoint["model"])[:3])
        raise BadValue(f"{source} is no ResNet or ResNeXt of torchvision: its parameters are {names}, ...")
    arrays = {name: tensor.numpy() for name, tensor in checkpoint["model"].items()}
    with atomic_write(target, "wb") as file:
        pickle.dump({"model": arrays, "__author__": "torchvision", "matching_heuristics": True}, file)
    return list(arrays)
