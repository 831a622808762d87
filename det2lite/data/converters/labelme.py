"""Reads LabelMe: a JSON file for each image, with polygons, rectangles, circles and masks."""

import math
import os
import re
from typing import Any

from det2lite.data.converters.coco import json_head
from det2lite.data.converters.files import Tree, find_image, finite, image_size, read_json_file, split_of
from det2lite.data.converters.records import Plan, SourceImage, SourceObject, box_of_polygons
from det2lite.data.converters.shapes import box_of_mask, ellipse, encode_mask, mask_of_png, paste
from det2lite.utils.errors import BadValue, MissingFile

TITLE = "LabelMe"
_WITHOUT_AREA = ("point", "points", "line", "linestrip")


def recognise(tree: Tree) -> str | None:
    found = [file for file in tree.sample(".json") if _is_labelme(json_head(tree.path(file)))]
    return f"{len(tree.with_extension('.json'))} JSON files such as {found[0]}" if found else None


def _is_labelme(head: str) -> bool:
    has_shapes = re.search(r'"shapes"\s*:\s*\[', head)
    return bool(has_shapes) and any(f'"{key}"' in head for key in ("imagePath", "flags", "version", "imageData"))


def plan(tree: Tree, class_key: str | None) -> Plan:
    """One job for each JSON file of the folders that have such. Splits are folders named like splits."""
    sampled = [file for file in tree.sample(".json") if _is_labelme(json_head(tree.path(file)))]
    folders = {file.rpartition("/")[0] for file in sampled}
    files = [file for file in tree.with_extension(".json") if file.rpartition("/")[0] in folders]
    if not files:
        raise MissingFile(f"{tree.folder}: no JSON of LabelMe, which has 'shapes' and 'imagePath'")
    jobs: dict[str, list[tuple[str, str]]] = {}
    for file in files:
        jobs.setdefault(split_of(file), []).append((tree.path(file), tree.folder))
    return Plan(jobs, read)


def read(job: tuple[str, str]) -> list[SourceImage]:
    path, top = job
    content = read_json_file(path)
    if not isinstance(content, dict) or not isinstance(content.get("shapes"), list):
        raise BadValue(f"{path}: not of LabelMe: it must have a list of 'shapes'")
    image = _image(path, top, content)
    grouped: dict[Any, SourceObject] = {}
    for number, shape in enumerate(content["shapes"]):
        where = f"{path}: shape {number}"
        if not isinstance(shape, dict) or not isinstance(shape.get("label"), str) or not shape["label"].strip():
            raise BadValue(f"{where}: it must have a 'label'")
        found = _object(shape, image, where)
        if found is None:
            continue
        group = (found.class_name, shape.get("group_id"))
        if isinstance(group[1], int) and isinstance(found.segmentation, list):
            if group in grouped:
                _join(grouped[group], found)
                image.note("shapes of one group, joined to an object", where)
                continue
            grouped[group] = found
        image.objects.append(found)
    return [image]


def _image(path: str, top: str, content: dict) -> SourceImage:
    """The image beside the JSON: as it says, else the one of the same name."""
    here = os.path.dirname(path)
    places = (here, os.path.join(here, "images"), os.path.join(os.path.dirname(here), "images"), top)
    named = content.get("imagePath")
    named = named.replace("\\", "/") if isinstance(named, str) else ""
    stem = os.path.splitext(os.path.basename(path))[0]
    found = (named and find_image(named, places)) or find_image(stem, places)
    image = SourceImage(os.path.normpath(found or os.path.join(here, named or stem)))
    sides = content.get("imageWidth"), content.get("imageHeight")
    if all(type(side) is int and side > 0 for side in sides):
        image.stated = sides
    if found is None and content.get("imageData"):
        image.skip("image inside the JSON only; save it beside it", path)
    return image


def _join(first: SourceObject, other: SourceObject) -> None:
    """Parts of one object, such as those on both sides of a post."""
    first.segmentation += other.segmentation
    boxes = (first.box, other.box)
    first.box = tuple(min(b[i] for b in boxes) for i in (0, 1)) + tuple(max(b[i] for b in boxes) for i in (2, 3))


def _object(shape: dict, image: SourceImage, where: str) -> SourceObject | None:
    """None for what has no area, which the image notes."""
    kind, label = str(shape.get("shape_type") or "polygon"), shape["label"].strip()
    points = shape.get("points")
    if not isinstance(points, list) or not all(isinstance(p, list) and len(p) == 2 for p in points):
        raise BadValue(f"{where}: 'points' must be a list of x, y")
    points = [finite(point, where) for point in points]
    if kind in _WITHOUT_AREA:
        image.skip(f"{kind} (no area)", where)
        return None
    if kind == "circle" and len(points) == 2:
        (x, y), edge = points
        radius = math.dist((x, y), edge)
        polygon, box = ellipse(x, y, radius, radius)
        return SourceObject(label, box, [polygon])
    flat = [v for point in points for v in point]
    if kind == "rectangle" and len(points) >= 2:
        return SourceObject(label, box_of_polygons([flat]))
    if kind == "mask" and len(points) == 2:
        return _mask(shape, flat, image, label, where)
    if kind in ("polygon", "oriented_rectangle"):
        if len(points) < 3:
            image.skip("polygon with fewer than 3 points", where)
            return None
        return SourceObject(label, box_of_polygons([flat]), [flat])
    raise BadValue(f"{where}: a {kind!r} of {len(points)} points is no shape that is read")


def _mask(shape: dict, corners: list[float], image: SourceImage, label: str, where: str) -> SourceObject | None:
    """A mask is a PNG of the pixels from the upper left corner on."""
    try:
        crop = mask_of_png(str(shape.get("mask")))
    except ValueError as error:
        raise BadValue(f"{where}: 'mask': {error}") from None
    left, top = round(min(corners[0::2])), round(min(corners[1::2]))
    try:
        image.size = image.size or image_size(image.path)
    except Exception:  # said where all images are measured
        return SourceObject(label, (left, top, left + crop.shape[1], top + crop.shape[0]))
    rle = encode_mask(paste(crop, left, top, image.size))
    return SourceObject(label, box_of_mask(rle), rle)
