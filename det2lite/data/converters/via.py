"""Reads the VGG Image Annotator, version 1 and 2: projects, and annotations exported as JSON or CSV."""

import csv
import io
import json
import os
import re
from typing import Any, NamedTuple

from det2lite.data.converters.coco import json_head
from det2lite.data.converters.files import Tree, find_image, finite, read_json_file, read_text, split_of
from det2lite.data.converters.records import OBJECT, Event, Plan, SourceImage, SourceObject, box_of_polygons
from det2lite.data.converters.shapes import ellipse
from det2lite.utils.errors import BadValue, MissingFile, UnknownName, close_names

TITLE = "VIA"
CLASS_KEYS = ("class", "class_name", "name", "label", "type", "category", "object", "species")
"""What people call the attribute that holds the class; looked for in this order where there are several."""
_CSV_HEAD = ("region_shape_attributes", "region_attributes")
_WITHOUT_AREA = ("point", "polyline", "line")


class ViaImage(NamedTuple):
    """An image as a file has it. regions: (shape attributes, region attributes), with where each stands."""

    name: str
    regions: tuple[tuple[dict, dict, str], ...]
    where: str


class ViaJob(NamedTuple):
    """An image, the folders that may hold it, and the attribute that is the class; None where there is none."""

    image: ViaImage
    places: tuple[str, ...]
    class_key: str | None


def recognise(tree: Tree) -> str | None:
    found = _files(tree)
    return f"{', '.join(found[:3])} with regions of VIA" if found else None


def _files(tree: Tree) -> list[str]:
    """JSON before CSV: exports of the same annotations often lie side by side."""
    found = [file for file in tree.sample(".json") if _is_via_json(json_head(tree.path(file)))]
    return found + [f for f in tree.sample(".csv") if all(key in json_head(tree.path(f))[:4096] for key in _CSV_HEAD)]


def _is_via_json(head: str) -> bool:
    if not head.lstrip().startswith("{"):
        return False
    version_3 = '"project"' in head and '"pid"' in head and '"file"' in head
    return '"_via_' in head or version_3 or ('"regions"' in head and '"filename"' in head)


def plan(tree: Tree, class_key: str | None) -> Plan:
    """One job for each image. Splits are folders named like splits. class_key: the region attribute that is the class.

    Without it, the only attribute is taken, or the first of `CLASS_KEYS`. Where regions have no attributes at all, as
    in the well-known balloons, every region is an object of one class.
    """
    files = _files(tree)
    if not files:
        raise MissingFile(f"{tree.folder}: no JSON or CSV of VIA, such as via_region_data.json")
    result = Plan({}, read)
    seen: dict[str, set[str]] = {}
    found: list[tuple[str, ViaImage]] = []
    for file in files:
        images = read_file(tree.path(file))
        known = seen.setdefault(file.rpartition("/")[0], set())
        if images and {image.name for image in images} <= known:
            result.notes.append(Event("file of images that another file has, left out", file))
            continue
        known |= {image.name for image in images}
        found += [(file, image) for image in images]
    key = _class_key([image for _, image in found], class_key)
    result.nameless = key is None
    for file, image in found:
        here = os.path.dirname(tree.path(file))
        places = (here, os.path.join(here, "images"), tree.folder, os.path.join(tree.folder, "images"))
        result.jobs.setdefault(split_of(file), []).append(ViaJob(image, places, key))
    return result


def read_file(path: str) -> list[ViaImage]:
    """The images of one file, in its order."""
    if path.lower().endswith(".csv"):
        return _read_csv(path)
    content = read_json_file(path)
    if isinstance(content, dict) and isinstance(content.get("project"), dict):
        raise BadValue(f"{path}: a project of VIA 3; export it in VIA 2, or as COCO")
    if isinstance(content, dict) and "_via_img_metadata" in content:
        content = content["_via_img_metadata"]
    if not isinstance(content, dict):
        raise BadValue(f"{path}: not of VIA: it must be an object with an entry for each image")
    return [_image(key, entry, path) for key, entry in content.items()]


def _image(key: str, entry: Any, path: str) -> ViaImage:
    where = f"{path}: image {key[:80]!r}"
    if not isinstance(entry, dict) or not isinstance(entry.get("filename"), str):
        raise BadValue(f"{where}: it must have a 'filename' and 'regions'")
    regions = entry.get("regions") or []
    regions = list(regions.values()) if isinstance(regions, dict) else regions  # VIA 1 numbers them
    if not isinstance(regions, list):
        raise BadValue(f"{where}: 'regions' must be a list")
    read_regions = []
    for number, region in enumerate(regions):
        parts = [region.get(k) if isinstance(region, dict) else None for k in ("shape_attributes", "region_attributes")]
        if not isinstance(parts[0], dict) or not isinstance(parts[1] or {}, dict):
            raise BadValue(f"{where}: region {number} has no 'shape_attributes'")
        read_regions.append((parts[0], parts[1] or {}, f"{where}: region {number}"))
    return ViaImage(entry["filename"], tuple(read_regions), where)


def _read_csv(path: str) -> list[ViaImage]:
    text = read_text(path)
    rows = csv.DictReader(io.StringIO(re.sub(r"\A#?\s*", "", text)), strict=True)
    regions: dict[str, list] = {}
    try:
        for row in rows:
            where = f"{path}: line {rows.line_num}"
            name = row.get("filename") or row.get("#filename")
            if not name:
                raise BadValue(f"{where}: no 'filename'")
            shape, attributes = (_json_cell(row.get(key), where, key) for key in _CSV_HEAD)
            regions.setdefault(name, [])
            if shape:  # a row without one stands for an image without regions
                regions[name].append((shape, attributes, where))
    except csv.Error as error:
        raise BadValue(f"{path}: line {rows.line_num}: not CSV ({error})") from None
    return [ViaImage(name, tuple(found), f"{path}: image {name!r}") for name, found in regions.items()]


def _json_cell(text: str | None, where: str, key: str) -> dict:
    try:
        value = json.loads(text or "{}")
    except (json.JSONDecodeError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise BadValue(f"{where}: {key} must be an object in JSON, not {str(text)[:40]!r}")
    return value


def _class_key(images: list[ViaImage], asked: str | None) -> str | None:
    used: dict[str, int] = {}
    for image in images:
        for _, attributes, _ in image.regions:
            for key in attributes:
                used[key] = used.get(key, 0) + 1
    if asked is not None:
        if asked not in used:
            raise UnknownName(
                f"no region has the attribute {asked!r}{close_names(asked, used)}; there are {sorted(used) or 'none'}"
            )
        return asked
    if len(used) < 2:
        return next(iter(used), None)
    usual = next((key for name in CLASS_KEYS for key in used if key.strip().lower() == name), None)
    if usual is None:
        raise BadValue(f"regions have the attributes {sorted(used)}; say which is the class: --class-key")
    return usual


def read(job: ViaJob) -> list[SourceImage]:
    name = job.image.name
    image = SourceImage(find_image(name, job.places) or os.path.join(job.places[0], os.path.basename(name) or name))
    for shape, attributes, where in job.image.regions:
        class_name = OBJECT if job.class_key is None else _class_of(attributes.get(job.class_key))
        if class_name is None:
            image.skip(f"region without one value of {job.class_key!r}", where)
            continue
        kind = str(shape.get("name"))
        found = _object(kind, shape, class_name, where)
        if found is None:
            image.skip(f"{kind} (no area)" if kind in _WITHOUT_AREA else f"{kind} with fewer than 3 points", where)
        else:
            image.objects.append(found)
    return [image]


def _class_of(value: Any) -> str | None:
    """Text, or the one option that is ticked."""
    if isinstance(value, dict):
        ticked = [str(option) for option, on in value.items() if on]
        return ticked[0] if len(ticked) == 1 else None
    text = str(value).strip() if isinstance(value, (str, int, float)) and not isinstance(value, bool) else ""
    return text or None


def _object(kind: str, shape: dict, class_name: str, where: str) -> SourceObject | None:
    """None for what has no area."""

    def numbers(*keys: str) -> list[float]:
        return finite([shape.get(key) for key in keys], f"{where}: {kind}")

    if kind in _WITHOUT_AREA:
        return None
    if kind == "rect":
        x, y, width, height = numbers("x", "y", "width", "height")
        return SourceObject(class_name, (x, y, x + width, y + height))
    if kind in ("circle", "ellipse"):
        x, y = numbers("cx", "cy")
        radii = numbers("r", "r") if kind == "circle" else numbers("rx", "ry")
        polygon, box = ellipse(x, y, *radii, angle=finite([shape.get("theta", 0)], where)[0])
        return SourceObject(class_name, box, [polygon])
    if kind == "polygon":
        xs, ys = shape.get("all_points_x"), shape.get("all_points_y")
        if not isinstance(xs, list) or not isinstance(ys, list) or len(xs) != len(ys):
            raise BadValue(f"{where}: a polygon needs as many 'all_points_x' as 'all_points_y'")
        if len(xs) < 3:
            return None
        polygon = [v for point in zip(finite(xs, where), finite(ys, where), strict=True) for v in point]
        return SourceObject(class_name, box_of_polygons([polygon]), [polygon])
    raise BadValue(f"{where}: {kind!r} is no shape of VIA (rect, circle, ellipse, polygon, polyline, point)")
