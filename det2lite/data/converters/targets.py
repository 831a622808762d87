"""What writers of foreign formats share: images with their annotations, under names that a folder can hold."""

import json
import os
import shutil
from collections.abc import Iterator
from typing import NamedTuple

from det2lite.data.converters.files import ImageHeader, find_image, image_header
from det2lite.data.converters.output import MARK
from det2lite.data.converters.records import NO_AREA, Event
from det2lite.data.converters.report import ConversionReport, SplitCounts, count_annotation, tally
from det2lite.data.datasets.coco_instance import box_mode_of
from det2lite.structures import BoxMode
from det2lite.utils.errors import BadValue

CROWD = "crowd, which the format has no word for"
IMAGE_MODES = ("link", "copy")


class TargetImage(NamedTuple):
    """An image that is to be written. source: its file. stem: its name in the result, without extension; may have "/".

    size: (width, height) that the annotations refer to. annotations: as in COCO JSON; crowds are left out already.
    """

    source: str
    stem: str
    extension: str
    size: tuple[int, int]
    header: ImageHeader
    annotations: list[dict]


def target_images(contents: dict, report: ConversionReport, flat: bool) -> Iterator[tuple[str, list[TargetImage]]]:
    """The images of each split; what is left out, and new counts, go to the report.

    contents: `CocoContent` by split. flat: whether all images of all splits go into one folder.
    """
    from tqdm import tqdm

    taken: dict[str, str] = {}
    for split, (content, root) in contents.items():
        if not flat:
            taken = {}
        of_image: dict = {}
        for annotation in content["annotations"]:
            of_image.setdefault(annotation["image_id"], []).append(annotation)
        images, report.counts[split] = [], SplitCounts()
        for entry in tqdm(content["images"], desc=split, unit="image", disable=None):
            source = _source_of(entry["file_name"], root)
            annotations = of_image.get(entry["id"], [])
            try:
                header = image_header(source)
            except Exception as error:  # decoders meet broken headers with errors of any kind
                missing = isinstance(error, (FileNotFoundError, NotADirectoryError))
                what = "image file missing" if missing else "image file cannot be read"
                tally(
                    report.skipped, [Event(what, source)] + [Event(f"object of an {what}", source)] * len(annotations)
                )
                continue
            size = (int(entry["width"]), int(entry["height"]))
            if size != header[:2]:
                tally(report.notes, [Event("size in the annotation is not that of the image", source)])
            stem, extension = os.path.splitext(_inside(entry["file_name"]))
            stem = stem.replace("/", "_") if flat else _without_images_folder(stem)
            stem = _free_name(stem, split, source, taken, report)
            images.append(TargetImage(source, stem, extension, size, header, _kept(annotations, source, report)))
        yield split, images


def _source_of(file_name: str, root: str) -> str:
    """The file of an image: as it is named, else without the folders, or with the `/`, that another machine had."""
    path = os.path.normpath(os.path.join(root, file_name))
    if os.path.isfile(path):
        return path
    return find_image(file_name, [root]) or path


def _inside(file_name: str) -> str:
    """A file name as a path below a folder, whatever it was."""
    parts = os.path.splitdrive(str(file_name))[1].replace("\\", "/").split("/")
    return "/".join(part for part in parts if part not in ("", ".", "..")) or "image"


def _without_images_folder(stem: str) -> str:
    """Readers of YOLO find labels by the last folder `images` of a path, so there may be none below that."""
    *folders, name = stem.split("/")
    return "/".join([*(folder for folder in folders if folder != "images"), name])


def _free_name(stem: str, split: str, source: str, taken: dict[str, str], report: ConversionReport) -> str:
    """A name that no other image has; images differ in their folder or extension only, perhaps."""
    name, number = stem, 1
    while taken.setdefault(name.lower(), source) != source:
        number += 1
        name = f"{stem}_{split}" if number == 2 else f"{stem}_{split}_{number}"
    if name != stem:
        tally(report.notes, [Event("image renamed, its name was taken", f"{source} -> {name}")])
    return name


def _kept(annotations: list[dict], source: str, report: ConversionReport) -> list[dict]:
    kept = []
    for annotation in annotations:
        box = annotation.get("bbox")
        where = f"annotation {annotation.get('id')} of {source}"
        if annotation.get("iscrowd"):
            tally(report.skipped, [Event(CROWD, where)])
        elif box_mode_of(box) is BoxMode.XYWHA_ABS:
            tally(report.skipped, [Event("rotated box", where)])
        elif box_mode_of(box) is None:
            tally(report.skipped, [Event("annotation without box", where)])
        elif not (box[2] > 0 and box[3] > 0):
            tally(report.skipped, [Event(NO_AREA, where)])
        else:
            kept.append(annotation)
    return kept


def clipped_box(
    annotation: dict, image: TargetImage, report: ConversionReport
) -> tuple[float, float, float, float] | None:
    """The box, XYXY, within the image; None where nothing of it is inside."""
    x, y, width, height = annotation["bbox"]
    box = (max(x, 0), max(y, 0), min(x + width, image.size[0]), min(y + height, image.size[1]))
    where = f"annotation {annotation.get('id')} of {image.source}"
    if box[2] <= box[0] or box[3] <= box[1]:
        tally(report.skipped, [Event("box outside of the image", where)])
        return None
    if max(abs(a - b) for a, b in zip(box, (x, y, x + width, y + height), strict=True)) > 1e-3:
        tally(report.notes, [Event("box cut at the image's edge", where)])
    return box


def add_to_counts(report: ConversionReport, split: str, annotations: list[dict]) -> None:
    """One image more, with the annotations that were written."""
    report.counts[split].images += 1
    for annotation in annotations:
        count_annotation(report.counts[split], annotation)


def place_image(source: str, target: str, mode: str) -> None:
    """mode: "link", which copies where links cannot be made, or "copy"."""
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if mode == "link":
        try:
            os.symlink(os.path.abspath(source), target)
            return
        except OSError:  # systems without links, or without the right to make them
            pass
    shutil.copyfile(source, target)


def write_text(path: str, text: str) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        file.write(text)


def require_images(report: ConversionReport) -> None:
    """Raises `BadValue` where not one image was written."""
    if not any(counts.images for counts in report.counts.values()):
        raise report.nothing()


def write_mark(folder: str, report: ConversionReport) -> None:
    write_text(os.path.join(folder, MARK), json.dumps(report.as_dict(), indent=1, ensure_ascii=False) + "\n")


def require_names(names: list[str]) -> None:
    """Raises `BadValue` for class names that lists of lines cannot hold."""
    for name in names:
        if not name.strip() or "\n" in name:
            raise BadValue(f"class {name!r} cannot stand in a list of names; rename it")
