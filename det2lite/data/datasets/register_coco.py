"""Registering data sets in the COCO format by name; nothing is read until a data set is asked for."""

import os
from collections.abc import Iterable, Sequence
from typing import Any

from det2lite.data.catalog import DatasetCatalog, MetadataCatalog
from det2lite.data.datasets.coco_loader import load_coco_json
from det2lite.data.datasets.coco_panoptic import register_coco_panoptic_separated
from det2lite.utils.errors import BadValue

__all__ = ["register_coco_files", "register_coco_instances", "register_coco_panoptic_separated"]


def register_coco_instances(
    name: str, metadata: dict[str, Any], json_file: str | os.PathLike, image_root: str | os.PathLike
) -> None:
    """Registers `name` as the instances or keypoints of a COCO JSON file.

    metadata: further metadata, may be empty. image_root: folder that the JSON's file names are relative to.
    """
    if not isinstance(name, str):
        raise TypeError(f"the name of a data set is a string, not {name!r}")
    for what, path in (("json_file", json_file), ("image_root", image_root)):
        if not isinstance(path, (str, os.PathLike)):
            raise TypeError(f"data set {name!r}: {what} is a path, not {path!r}")

    DatasetCatalog.register(name, lambda: load_coco_json(json_file, image_root, name))
    MetadataCatalog.get(name).set(json_file=json_file, image_root=image_root, evaluator_type="coco", **metadata)


def register_coco_files(files: Iterable[Sequence[str]]) -> None:
    """Registers what DATASETS.REGISTER lists: [name, JSON file, folder of the images] each. Again is no error.

    Raises `BadValue` for an entry of another form, and for a name that stands for other files already.
    """
    for entry in files:
        if not isinstance(entry, Sequence) or len(entry) != 3 or not all(isinstance(part, str) for part in entry):
            raise BadValue(f"DATASETS.REGISTER: {entry!r} is not a list of name, JSON file and folder of the images")
        name, json_file, image_root = entry
        if name not in DatasetCatalog:
            register_coco_instances(name, {}, json_file, image_root)
            continue
        metadata = MetadataCatalog.get(name)
        if (metadata.get("json_file"), metadata.get("image_root")) != (json_file, image_root):
            raise BadValue(
                f"DATASETS.REGISTER: data set {name!r} is registered with other files already"
                f" ({metadata.get('json_file')}); give this one another name"
            )
