"""Writes the Pascal VOC layout: `Annotations/`, `JPEGImages/`, `ImageSets/Main/` and `labels.txt`."""

import math
import os
from xml.etree import ElementTree

from det2lite.data.converters import targets
from det2lite.data.converters.output import whole_folder
from det2lite.data.converters.records import Event
from det2lite.data.converters.report import ConversionReport, tally

_FLAGS = ("truncated", "occluded", "difficult")


def write_voc(contents: dict, report: ConversionReport, folder: str, *, images: str, overwrite: bool) -> None:
    """contents: `CocoContent` by split. images: one of `IMAGE_MODES`. Corners become whole pixels, from 1."""
    targets.require_names(report.class_names)
    name_of = {c["id"]: c["name"] for content, _ in contents.values() for c in content["categories"]}
    with whole_folder(folder, overwrite) as aside:
        for split, of_split in targets.target_images(contents, report, flat=True):
            for image in of_split:
                root, written = _annotation(image, name_of, report)
                ElementTree.indent(root)
                text = ElementTree.tostring(root, encoding="unicode") + "\n"
                targets.write_text(os.path.join(aside, "Annotations", f"{image.stem}.xml"), text)
                target = os.path.join(aside, "JPEGImages", image.stem + image.extension)
                if not os.path.lexists(target):  # an image of two splits
                    targets.place_image(image.source, target, images)
                targets.add_to_counts(report, split, written)
            names = "".join(f"{image.stem}\n" for image in of_split)
            targets.write_text(os.path.join(aside, "ImageSets", "Main", f"{split}.txt"), names)
        targets.write_text(os.path.join(aside, "labels.txt"), "".join(f"{name}\n" for name in report.class_names))
        targets.require_images(report)
        targets.write_mark(aside, report)


def _annotation(
    image: targets.TargetImage, name_of: dict, report: ConversionReport
) -> tuple[ElementTree.Element, list[dict]]:
    """The XML of an image, and the annotations that are in it."""
    root = ElementTree.Element("annotation")
    _add(root, "folder", "JPEGImages")
    _add(root, "filename", image.stem + image.extension)
    size = ElementTree.SubElement(root, "size")
    for tag, value in zip(("width", "height", "depth"), (*image.size, image.header.channels), strict=True):
        _add(size, tag, value)
    _add(root, "segmented", 0)
    written = []
    for annotation in image.annotations:
        box = targets.clipped_box(annotation, image, report)
        if box is None:
            continue
        where = f"annotation {annotation.get('id')} of {image.source}"
        if annotation.get("segmentation"):
            tally(report.notes, [Event("mask left out, box written", where)])
        node = ElementTree.SubElement(root, "object")
        _add(node, "name", name_of[annotation["category_id"]])
        _add(node, "pose", "Unspecified")
        for flag in _FLAGS:
            if flag != "occluded" or flag in annotation:
                _add(node, flag, 1 if annotation.get(flag) else 0)
        corners = ElementTree.SubElement(node, "bndbox")
        for tag, value in zip(("xmin", "ymin", "xmax", "ymax"), _whole_pixels(box, where, report), strict=True):
            _add(corners, tag, value)
        written.append({**annotation, "segmentation": None})
    return root, written


def _whole_pixels(
    box: tuple[float, float, float, float], where: str, report: ConversionReport
) -> tuple[int, int, int, int]:
    """The first and last pixel in each direction, counted from 1; at least one pixel."""
    x0, y0, x1, y1 = (math.floor(v + 0.5) for v in box)
    if max(abs(a - b) for a, b in zip(box, (x0, y0, x1, y1), strict=True)) > 1e-3:
        tally(report.notes, [Event("corners moved to whole pixels", where)])
    if x1 <= x0:
        x0 = math.floor(box[0])
    if y1 <= y0:
        y0 = math.floor(box[1])
    return x0 + 1, y0 + 1, max(x1, x0 + 1), max(y1, y0 + 1)


def _add(node: ElementTree.Element, tag: str, value: object) -> None:
    ElementTree.SubElement(node, tag).text = str(value)
