"""Data sets in the Pascal VOC layout: one XML of boxes for each image, and lists of image names for each split."""

import os
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from typing import NamedTuple

from det2lite.data.catalog import DatasetCatalog, MetadataCatalog
from det2lite.data.data_root import missing_hint
from det2lite.data.safe_xml import read_xml
from det2lite.structures import BoxMode
from det2lite.utils.errors import BadValue, MissingFile, UnknownName, close_names
from det2lite.utils.file_io import PathManager

__all__ = [
    "VocObject",
    "load_voc_instances",
    "read_voc_file",
    "read_voc_image_names",
    "read_voc_list",
    "read_voc_objects",
    "register_pascal_voc",
]

CLASS_NAMES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip


_EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".JPG", ".JPEG", ".PNG")


class VocObject(NamedTuple):
    """An object as an annotation file has it. corners: xmin, ymin, xmax, ymax; pixels that the box includes, from 1."""

    name: str | None
    corners: tuple[float, float, float, float]
    difficult: bool


def load_voc_instances(dirname: str, split: str, class_names: Sequence[str]) -> list[dict]:
    """Images and boxes of one split in the standard format; objects marked difficult are among them.

    dirname: folder with `Annotations/`, `ImageSets/Main/<split>.txt` and `JPEGImages/`. Corners count pixels from 1 and
    lie inside the box; they become XYXY coordinates by moving the upper left one by a pixel.
    """
    dirname = os.fspath(dirname)
    index_of = {name: i for i, name in enumerate(class_names)}
    return [_sample(dirname, name, index_of) for name in read_voc_image_names(dirname, split)]


def read_voc_image_names(dirname: str, split: str) -> list[str]:
    """Names of the images of a split, without folder and extension.

    A line may go on with a number, as the lists of single classes do. Names may have spaces.
    """
    return read_voc_list(os.path.join(dirname, "ImageSets", "Main", f"{split}.txt"))


def read_voc_list(path: str) -> list[str]:
    """The image names in a list; see `read_voc_image_names`."""
    with _open(path) as file:
        return [re.sub(r"\s+-?[01]$", "", line.strip()) for line in file if line.strip()]


def read_voc_objects(dirname: str, image_name: str) -> list[VocObject]:
    """The objects of an image, of whatever class."""
    return read_voc_file(_annotation_file(dirname, image_name))


def read_voc_file(path: str) -> list[VocObject]:
    """The objects in an annotation file, of whatever class."""
    return [_object(node, f"{path}: object {i}") for i, node in enumerate(_read_xml(path).findall("object"), 1)]


def _annotation_file(dirname: str, image_name: str) -> str:
    return os.path.join(dirname, "Annotations", f"{image_name}.xml")


def _read_xml(path: str) -> ElementTree.Element:
    if not PathManager.isfile(path):
        raise MissingFile(f"{path}: no such file; {missing_hint(path)}")
    return read_xml(PathManager.get_local_path(path))


def _open(path: str):
    if not PathManager.isfile(path):
        raise MissingFile(f"{path}: no such file; {missing_hint(path)}")
    return PathManager.open(path, "r", encoding="utf-8")


def _sample(dirname: str, name: str, index_of: dict[str, int]) -> dict:
    path = _annotation_file(dirname, name)
    root = _read_xml(path)
    instances = [_instance(node, number, path, index_of) for number, node in enumerate(root.findall("object"), 1)]
    return {
        "file_name": _image_file(dirname, name),
        "image_id": name,
        "height": int(_number(root, "size/height", path)),
        "width": int(_number(root, "size/width", path)),
        "annotations": instances,
    }


def _image_file(dirname: str, name: str) -> str:
    """The image of a name: .jpg, unless only one of another kind is there."""
    usual, *others = (os.path.join(dirname, "JPEGImages", name + extension) for extension in _EXTENSIONS)
    if PathManager.isfile(usual):
        return usual
    return next((path for path in others if PathManager.isfile(path)), usual)


def _instance(node: ElementTree.Element, number: int, path: str, index_of: dict[str, int]) -> dict:
    where = f"{path}: object {number}"
    class_name = node.findtext("name")
    if class_name not in index_of:
        raise UnknownName(f"{where}: class {class_name!r} is not registered{close_names(class_name, index_of)}")
    x0, y0, x1, y1 = _object(node, where).corners
    return {
        "category_id": index_of[class_name],
        "bbox": [x0 - 1.0, y0 - 1.0, x1, y1],
        "bbox_mode": BoxMode.XYXY_ABS,
    }


def _object(node: ElementTree.Element, where: str) -> VocObject:
    corners = tuple(_number(node, f"bndbox/{side}", where) for side in ("xmin", "ymin", "xmax", "ymax"))
    difficult = node.find("difficult") is not None and _number(node, "difficult", where) != 0
    return VocObject(node.findtext("name"), corners, difficult)


def _number(node: ElementTree.Element, tag: str, where: str) -> float:
    text = node.findtext(tag)
    try:
        return float(text)
    except (TypeError, ValueError):
        raise BadValue(f"{where}: <{tag}> must be a number, not {text!r}") from None


def register_pascal_voc(
    name: str, dirname: str | os.PathLike, split: str, year: int, class_names: Sequence[str] = CLASS_NAMES
) -> None:
    """Registers `name` as one split of a data set in the Pascal VOC layout. year: 2007 or 2012; evaluation differs."""
    DatasetCatalog.register(name, lambda: load_voc_instances(dirname, split, class_names))
    MetadataCatalog.get(name).set(thing_classes=list(class_names), dirname=dirname, year=year, split=split)
