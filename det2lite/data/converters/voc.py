"""Reads Pascal VOC: an XML for each image, with boxes whose corners are pixels that they include, counted from 1."""

import os
import re
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from det2lite.data.converters.files import Tree, find_image, finite, read_names, read_text, split_of
from det2lite.data.converters.records import Event, Plan, SourceImage, SourceObject
from det2lite.data.converters.shapes import encode_mask
from det2lite.data.safe_xml import read_xml
from det2lite.utils.errors import BadValue, MissingFile

TITLE = "Pascal VOC"
_BORDER = 255  # of objects in SegmentationObject
_FLAGS = ("difficult", "truncated", "occluded")
_SIDES = ("xmin", "ymin", "xmax", "ymax")
_SAMPLED = 500  # files that tell from what the pixels are counted


class VocJob(NamedTuple):
    """The XML, the folders that may hold its image, the map of its objects; first_pixel: its number, 1 or 0."""

    xml: str
    places: tuple[str, ...]
    object_map: str
    first_pixel: int


def recognise(tree: Tree) -> str | None:
    found = [file for file in tree.sample(".xml") if xml_root(tree.path(file)) == "annotation"]
    return f"{len(tree.with_extension('.xml'))} XML files such as {found[0]}" if found else None


def xml_root(path: str) -> str | None:
    """Name of the root element, as far as a glance shows."""
    try:
        with open(path, "rb") as file:
            head = file.read(4096).replace(b"\0", b"").decode("utf-8", "ignore")
    except OSError:
        return None
    head = re.sub(r"<\?.*?\?>|<!--.*?-->|<!DOCTYPE[^<>\[]*(?:\[.*?\]\s*)?>", "", head, flags=re.DOTALL)
    match = re.match(r"\W*<([\w.:-]+)[\s>/]", head)
    return match[1] if match else None


def plan(tree: Tree, class_key: str | None) -> Plan:
    """One job for each annotation file. Splits are the lists in ImageSets/Main, else folders named like splits."""
    xml_files = tree.with_extension(".xml")
    if not xml_files:
        raise MissingFile(f"{tree.folder}: no .xml files; Pascal VOC has them in Annotations/")
    classes = next((f for f in ("labels.txt", "labelmap.txt") if f in tree.files), None)
    result = Plan({}, read, _class_list(tree.path(classes)) if classes else None)
    lists, first_pixel = _image_lists(tree), _first_pixel(tree, xml_files, result)
    if lists:
        _add_listed(result, tree, lists, xml_files, first_pixel)
    else:
        for file in xml_files:
            result.jobs.setdefault(split_of(file), []).append(_job(tree, file, first_pixel))
    return result


def _first_pixel(tree: Tree, xml_files: list[str], result: Plan) -> int:
    """1 as in Pascal VOC, or 0, which many tools write: then most corners are fractions, or 0 occurs more than 1."""
    corners = []
    for file in xml_files[:: max(len(xml_files) // _SAMPLED, 1)]:
        corners += _corners(tree.path(file))
    fractions = sum(value != int(value) for corner in corners for value in corner)
    zeros, ones = (sum(corner[:2].count(start) for corner in corners) for start in (0, 1))
    if fractions * 2 > len(corners) * len(_SIDES):
        why = f"{fractions} of {len(corners) * len(_SIDES)} coordinates are fractions"
    elif zeros > ones:
        why = f"xmin or ymin is 0 {zeros} times, 1 {ones} times"
    else:
        return 1
    result.notes.append(Event("boxes counted from 0, not 1, taken as written", why))
    return 0


def _corners(path: str) -> list[tuple[float, ...]]:
    """Boxes of an XML; nothing of one that is broken, which is said where it is read."""
    try:
        nodes = read_xml(path).findall("object/bndbox")
        return [tuple(finite([node.findtext(side) for side in _SIDES], path)) for node in nodes]
    except BadValue:
        return []


def _job(tree: Tree, file: str, first_pixel: int) -> VocJob:
    path = tree.path(file)
    here = os.path.dirname(path)
    beside = [os.path.join(os.path.dirname(here), name) for name in ("JPEGImages", "images", "Images")]
    places = (*(p for p in beside if os.path.isdir(p)), here, tree.folder)
    stem = os.path.splitext(os.path.basename(file))[0]
    return VocJob(path, places, os.path.join(os.path.dirname(here), "SegmentationObject", f"{stem}.png"), first_pixel)


def _class_list(path: str) -> list[str]:
    """labels.txt has a name on each line; the labelmap.txt of CVAT has name:colour:parts:actions, and a background."""
    names = read_names(path)
    if os.path.basename(path) == "labelmap.txt":
        names = [n.split(":")[0] for n in names if not n.startswith("#")]
        names = [n for n in names if n != "background"]
    return names


def _image_lists(tree: Tree) -> dict[str, str]:
    """Lists by split. VOC also has a list for each class and split, which are not splits of their own."""
    lists = {}
    for file in tree.with_extension(".txt"):
        folder, _, name = file.rpartition("/")
        if folder.endswith("ImageSets/Main") or folder.endswith("ImageSets"):
            lists.setdefault(name[:-4], file)
    of_class = {name for name in lists if "_" in name and name.rpartition("_")[2] in lists}
    return {name: file for name, file in lists.items() if name not in of_class}


def _add_listed(result: Plan, tree: Tree, lists: dict[str, str], xml_files: list[str], first_pixel: int) -> None:
    """Adds a job for each annotation file that a list names."""
    file_of = {os.path.splitext(os.path.basename(file))[0]: file for file in xml_files}
    named: dict[str, list[str]] = {}
    for split, list_file in lists.items():
        named[split] = []
        for number, line in enumerate(read_text(tree.path(list_file)).splitlines(), 1):
            name = line.strip()
            if name and name not in file_of:
                name = _name_in(name, file_of)
            if name in file_of:
                named[split].append(name)
            elif name:
                where = f"{list_file} line {number}: {name}"
                result.skipped.append(Event("listed image without annotation file", where))
    for split in list(named):  # such as trainval: the others taken together
        others = [set(names) for other, names in named.items() if other != split and set(names) < set(named[split])]
        if len(others) > 1 and set().union(*others) == set(named[split]):
            result.notes.append(Event("list left out that joins others", lists[split]))
            del named[split]
    listed = {name for names in named.values() for name in names}
    for name, file in file_of.items():
        if name not in listed:
            result.skipped.append(Event("annotation file in no list", file))
    for split, names in named.items():
        result.jobs[split] = [_job(tree, file_of[name], first_pixel) for name in dict.fromkeys(names)]


def _name_in(line: str, known: dict[str, str]) -> str:
    """The image of a line that has more: a column of -1, 0, 1, or an extension, or folders."""
    for text in (line, re.sub(r"\s+-?[01]$", "", line), line.split()[0]):
        last = text.replace("\\", "/").rpartition("/")[2]
        for name in (text, last, os.path.splitext(last)[0]):
            if name in known:
                return name
    return line


def read(job: VocJob) -> list[SourceImage]:
    path, places, map_path, first_pixel = job
    root = read_xml(path)
    if root.tag != "annotation":
        raise BadValue(f"{path}: not an annotation of Pascal VOC: its root is <{root.tag}>, not <annotation>")
    if root.find("object/polygon/pt") is not None and root.find("object/bndbox") is None:
        raise BadValue(f"{path}: XML of the LabelMe of MIT, which is not read; give LabelMe's JSON, or CVAT's XML")
    stem = os.path.splitext(os.path.basename(path))[0]
    named = (root.findtext("filename") or "").strip()
    # a copied annotation often keeps the name of another image: the file's own name is surer where an image has it
    image = SourceImage(find_image(stem, places) or (named and find_image(named, places)) or named or stem)
    image.stated = _stated_size(root)
    masks = _object_map(map_path)
    nodes = root.findall("object")
    for number, node in enumerate(nodes, 1):
        found = _read_object(node, f"{path}: object {number}", image, first_pixel)
        if found is not None:
            if masks is not None and (masks == number).any():
                _add_mask(found, masks == number, image, f"{map_path}: {number}")
            image.objects.append(found)
    for number in () if masks is None else np.unique(masks[masks > len(nodes)]).tolist():
        image.note("mask in SegmentationObject without object, left out", f"{map_path}: {number}")
    return [image]


def _add_mask(found: SourceObject, mask: np.ndarray, image: SourceImage, where: str) -> None:
    """Unless most of the mask (H, W) lies beyond the box: numbers are then not those of the objects."""
    x0, y0, x1, y1 = (max(round(side), 0) for side in found.box)
    if 2 * np.count_nonzero(mask[y0:y1, x0:x1]) < np.count_nonzero(mask):
        image.note("mask in SegmentationObject outside its object's box, left out", where)
    else:
        found.segmentation = encode_mask(mask)


def _stated_size(root: ElementTree.Element) -> tuple[int, int] | None:
    try:
        width, height = (int(float(root.findtext(f"size/{side}"))) for side in ("width", "height"))
    except (TypeError, ValueError, OverflowError):
        return None
    return (width, height) if width > 0 and height > 0 else None


def _read_object(node: ElementTree.Element, where: str, image: SourceImage, first_pixel: int) -> SourceObject | None:
    name = (node.findtext("name") or "").strip()
    if not name:
        raise BadValue(f"{where}: no class in <name>")
    if node.find("bndbox") is None:
        image.skip("object without box", where)
        return None
    sides = [node.findtext(f"bndbox/{side}") for side in _SIDES]
    x0, y0, x1, y1 = finite(sides, f"{where}: bndbox")
    extra = {flag: int(text) for flag in _FLAGS if (text := (node.findtext(flag) or "").strip()) in ("0", "1")}
    return SourceObject(name, (x0 - first_pixel, y0 - first_pixel, x1, y1), extra=extra)


def _object_map(path: str) -> np.ndarray | None:
    """(H, W) numbers of objects, from 1, or None where there is no such file."""
    if not os.path.isfile(path):
        return None
    try:
        with Image.open(path) as picture:
            pixels = np.array(picture if picture.mode in ("P", "L") else picture.convert("RGB"))
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise BadValue(f"{path}: not an image that can be read ({error})") from None
    numbers = pixels if pixels.ndim == 2 else numbers_of_colours(pixels)
    numbers[numbers == _BORDER] = 0
    return numbers


def numbers_of_colours(pixels: np.ndarray) -> np.ndarray:
    """Numbers of objects whose colours in Pascal VOC's palette are given. pixels: (H, W, 3) RGB. Returns (H, W).

    The palette deals the bits of a number out to red, green and blue in turn, the lowest to their highest bits.
    """
    numbers = np.zeros(pixels.shape[:2], dtype=np.int64)
    for channel in range(3):
        for step in range(8):
            numbers |= ((pixels[..., channel].astype(np.int64) >> (7 - step)) & 1) << (3 * step + channel)
    return numbers
