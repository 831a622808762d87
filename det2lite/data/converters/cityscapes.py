"""Reads Cityscapes (arXiv 1604.01685): its maps of instance ids, or its polygons where there are no maps."""

import os

import numpy as np

from det2lite.data.converters.files import Tree
from det2lite.data.converters.records import Plan, SourceImage, SourceObject
from det2lite.data.converters.shapes import box_of_mask, encode_mask
from det2lite.data.datasets.cityscapes_classes import CATEGORIES
from det2lite.data.datasets.cityscapes_files import CityscapesFiles, read_annotation
from det2lite.data.datasets.cityscapes_masks import instances_of_polygons
from det2lite.data.image_io import read_image
from det2lite.utils.errors import BadValue, MissingFile

TITLE = "Cityscapes"
_THINGS = {label: name for label, name, is_thing, _ in CATEGORIES if is_thing}
_IMAGE, _MAP, _POLYGONS = "_leftImg8bit.png", "_gtFine_instanceIds.png", "_gtFine_polygons.json"


def recognise(tree: Tree) -> str | None:
    found = _images(tree)
    return f"{len(found)} images such as {next(iter(found))}" if found else None


def _images(tree: Tree) -> dict[str, CityscapesFiles]:
    """The images that have annotations, and these: `leftImg8bit/<split>/<city>/` and `gtFine/<split>/<city>/`."""
    there, found = set(tree.files), {}
    for file in tree.files:
        if file.endswith(_IMAGE) and "leftImg8bit/" in file:
            stem = file[: -len(_IMAGE)].replace("leftImg8bit/", "gtFine/")
            if stem + _MAP in there or stem + _POLYGONS in there:
                maps = [tree.path(f"{stem}_gtFine_{end}") for end in ("instanceIds.png", "labelIds.png")]
                found[file] = CityscapesFiles(tree.path(file), *maps, tree.path(stem + _POLYGONS))
    return found


def plan(tree: Tree, class_key: str | None) -> Plan:
    """One job for each image that is annotated."""
    found = _images(tree)
    if not found:
        raise MissingFile(
            f"{tree.folder}: no images of Cityscapes; it has leftImg8bit/ and gtFine/ with a folder a city"
        )
    jobs: dict[str, list[CityscapesFiles]] = {}
    for file, files in found.items():
        jobs.setdefault(file.split("leftImg8bit/")[-1].split("/")[0], []).append(files)
    return Plan(jobs, read, list(_THINGS.values()))


def read(files: CityscapesFiles) -> list[SourceImage]:
    return [_read_map(files) if os.path.isfile(files.instances) else _read_polygons(files)]


def _read_map(files: CityscapesFiles) -> SourceImage:
    """An id is 1000 times the label plus a number; the label alone where it is a group of things."""
    ids = read_image(files.instances)  # (H, W)
    if ids.ndim != 2 or not np.issubdtype(ids.dtype, np.integer):
        raise BadValue(f"{files.instances}: not a map of instance ids: it must be grey, of 16 bits")
    image = SourceImage(files.image, stated=(ids.shape[1], ids.shape[0]))
    for number in np.unique(ids).tolist():
        name = _THINGS.get(number // 1000 if number >= 1000 else number)
        if name is not None:
            rle = encode_mask(ids == number)
            image.objects.append(SourceObject(name, box_of_mask(rle), rle, iscrowd=int(number < 1000)))
    return image


def _read_polygons(files: CityscapesFiles) -> SourceImage:
    """Of each polygon what no later one paints over, holes being filled."""
    sample = instances_of_polygons(files)
    names = list(_THINGS.values())
    image = SourceImage(files.image, stated=(sample["width"], sample["height"]))
    for found in sample["annotations"]:
        name = names[found["category_id"]]
        box = tuple(map(float, found["bbox"]))
        image.objects.append(SourceObject(name, box, found["segmentation"], iscrowd=int(found["iscrowd"])))
    labels = [
        str(entry.get("label")) for entry in read_annotation(files.polygons)["objects"] if not entry.get("deleted")
    ]
    things = sum(label in names or label.removesuffix("group") in names for label in labels)
    hidden = things - len(image.objects)
    if hidden > 0:
        image.skip("polygon painted over entirely", files.polygons, hidden)
    return image
