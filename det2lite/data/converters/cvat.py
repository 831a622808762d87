"""Reads CVAT: one XML file with boxes, polygons, ellipses and masks of all images, or with the tracks of a video."""

import math
import os
from typing import NamedTuple
from xml.etree import ElementTree

from det2lite.data.converters.cvat_video import images_of_tracks
from det2lite.data.converters.files import Tree, find_image, finite, image_size, split_of
from det2lite.data.converters.records import Event, Plan, SourceImage, SourceObject, box_of_polygons
from det2lite.data.converters.shapes import box_of_mask, ellipse, encode_mask, mask_of_runs, paste, turned_box
from det2lite.data.converters.voc import xml_root
from det2lite.data.safe_xml import read_xml
from det2lite.utils.errors import BadValue, MissingFile

TITLE = "CVAT"
_WITHOUT_AREA = ("polyline", "points", "cuboid", "skeleton", "tag")


class CvatJob(NamedTuple):
    """An <image>, and the folders that may hold its file. where: the XML and the image's name."""

    node: ElementTree.Element
    places: tuple[str, ...]
    where: str


def recognise(tree: Tree) -> str | None:
    found = _files(tree)
    return f"{', '.join(found[:3])} with <annotations>" if found else None


def _files(tree: Tree) -> list[str]:
    return [file for file in tree.sample(".xml") if xml_root(tree.path(file)) == "annotations"]


def plan(tree: Tree, class_key: str | None) -> Plan:
    """One job for each image. Splits are the subsets of images, else folders and files named like splits."""
    files = _files(tree)
    if not files:
        raise MissingFile(f"{tree.folder}: no XML of CVAT, whose root is <annotations>")
    result = Plan({}, read)
    classes: dict[str, None] = {}
    for file in files:
        path = tree.path(file)
        root = read_xml(path)
        names = [
            (label.findtext("name") or "").strip() for label in root.iter("label") if label.find("name") is not None
        ]
        classes.update(dict.fromkeys(filter(None, names)))
        nodes = root.findall("image")
        if root.find("track") is not None:
            nodes += images_of_tracks(root, path, list(_places(tree, path, "")), result)
        for node in nodes:
            job = _job(tree, file, node)
            subset = (node.get("subset") or "").strip()
            split = subset if subset and subset.lower() != "default" else split_of(f"{file[: -len('.xml')]}/")
            result.jobs.setdefault(split, []).append(job)
    if not result.jobs:
        raise BadValue(f"{tree.path(files[0])}: no <image> in it")
    result.class_names = list(classes) or None
    if not classes:
        result.notes.append(Event("no <labels> in the file, classes by name", files[0]))
    return result


def _job(tree: Tree, file: str, node: ElementTree.Element) -> CvatJob:
    path = tree.path(file)
    name = node.get("name")
    if not name:
        raise BadValue(f"{path}: an <image> without a name")
    return CvatJob(node, _places(tree, path, node.get("subset") or ""), f"{path}: image {name!r}")


def _places(tree: Tree, path: str, subset: str) -> tuple[str, ...]:
    """The folders that may hold the images of an XML."""
    bases = dict.fromkeys([os.path.dirname(path), tree.folder])
    folders = ("images", os.path.join("images", subset), "")
    return tuple(dict.fromkeys(os.path.normpath(os.path.join(base, folder)) for base in bases for folder in folders))


def read(job: CvatJob) -> list[SourceImage]:
    name = job.node.get("name")
    image = SourceImage(find_image(name, job.places) or os.path.join(job.places[0], name))
    if job.node.get("width") and job.node.get("height"):
        sides = finite([job.node.get("width"), job.node.get("height")], job.where)
        image.stated = (int(sides[0]), int(sides[1]))
    parts_of: dict[tuple[str, str], list[SourceObject]] = {}
    for number, node in enumerate(job.node, 1):
        where = f"{job.where}: shape {number}"
        if node.tag in _WITHOUT_AREA:
            image.skip(f"{node.tag} (not converted)", where)
            continue
        found = _object(node, image, where)
        if found is not None:
            found.extra = _attributes(node)
            image.objects.append(found)
            if (group := node.get("group_id") or "0") != "0":
                parts_of.setdefault((found.class_name, group), []).append(found)
    for (_, group), parts in parts_of.items():
        _join(parts, image, f"{job.where}: group {group}")
    return [image]


def _join(parts: list[SourceObject], image: SourceImage, where: str) -> None:
    """Shapes of one class and group are one object: polygons, or polygons or a mask with the box around them."""
    boxes = [part for part in parts if part.segmentation is None]
    shapes = [part for part in parts if part.segmentation is not None]
    outlines = all(isinstance(shape.segmentation, list) for shape in shapes)
    if len(parts) < 2 or not shapes or len(boxes) > 1 or (len(shapes) > 1 and not outlines):
        return
    first = parts[0]
    first.segmentation = [p for s in shapes for p in s.segmentation] if outlines else shapes[0].segmentation
    first.box = boxes[0].box if boxes else box_of_polygons(first.segmentation)
    image.objects = [found for found in image.objects if not any(found is part for part in parts[1:])]
    for _ in parts[1:]:
        image.note("shapes of one group, joined to an object", where)


def _attributes(node: ElementTree.Element) -> dict:
    """Attributes that people defined, whether the object is hidden in part, and the number of its track in a video."""
    given = {a.get("name"): (a.text or "") for a in node.findall("attribute") if a.get("name")}
    extra = {"attributes": given} if given else {}
    if track := node.get("track_id"):
        extra["track_id"] = int(track) if track.isdecimal() and len(track) < 16 else track
    return extra | ({"occluded": 1} if node.get("occluded") == "1" else {})


def _object(node: ElementTree.Element, image: SourceImage, where: str) -> SourceObject | None:
    label = (node.get("label") or "").strip()
    if not label:
        raise BadValue(f"{where}: a <{node.tag}> without a label")

    def numbers(*keys: str) -> list[float]:
        return finite([node.get(key) for key in keys], f"{where}: {node.tag}")

    turn = finite([node.get("rotation") or 0], where)[0]
    if node.tag == "box":
        box = tuple(numbers("xtl", "ytl", "xbr", "ybr"))
        if not turn:
            return SourceObject(label, box)
        polygon = turned_box(box, turn)
        return SourceObject(label, box_of_polygons([polygon]), [polygon])
    if node.tag == "polygon":
        points = [finite(point.split(","), where) for point in (node.get("points") or "").split(";") if point.strip()]
        if any(len(point) != 2 for point in points):
            raise BadValue(f"{where}: the points of a polygon are x,y;x,y;...")
        if len(points) < 3:
            image.skip("polygon with fewer than 3 points", where)
            return None
        flat = [v for point in points for v in point]
        return SourceObject(label, box_of_polygons([flat]), [flat])
    if node.tag == "ellipse":
        polygon, box = ellipse(*numbers("cx", "cy", "rx", "ry"), angle=math.radians(turn))
        return SourceObject(label, box, [polygon])
    if node.tag == "mask":
        return _mask(node, label, numbers("left", "top", "width", "height"), image, where)
    raise BadValue(f"{where}: <{node.tag}> is no shape of CVAT for images 1.1")


def _mask(node: ElementTree.Element, label: str, place: list[float], image: SourceImage, where: str) -> SourceObject:
    """Runs along the rows of the box around the mask."""
    left, top, width, height = map(int, place)
    counts = finite((node.get("rle") or "").split(","), f"{where}: rle")
    try:
        crop = mask_of_runs([int(count) for count in counts], width, height)
    except ValueError as error:
        raise BadValue(f"{where}: {error}") from None
    try:
        image.size = image.size or image_size(image.path)
    except Exception:  # said where all images are measured
        return SourceObject(label, (left, top, left + width, top + height))
    rle = encode_mask(paste(crop, left, top, image.size))
    return SourceObject(label, box_of_mask(rle), rle)
