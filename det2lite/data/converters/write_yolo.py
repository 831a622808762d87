"""Writes YOLO's layout: `images/<split>/`, `labels/<split>/` and `data.yaml`."""

import os

import yaml

from det2lite.data.converters import targets
from det2lite.data.converters.output import whole_folder
from det2lite.data.converters.records import Event
from det2lite.data.converters.report import ConversionReport, tally
from det2lite.data.converters.shapes import joined, outlines_of_mask

ROLES = ("train", "val", "test")


def write_yolo(
    contents: dict, report: ConversionReport, folder: str, *, polygons: bool, images: str, overwrite: bool
) -> None:
    """contents: `CocoContent` by split. polygons: lines of polygons rather than boxes. images: one of `IMAGE_MODES`."""
    targets.require_names(report.class_names)
    number_of = {c["id"]: i for content, _ in contents.values() for i, c in enumerate(content["categories"])}
    with whole_folder(folder, overwrite) as aside:
        for split, of_split in targets.target_images(contents, report, flat=False):
            for image in of_split:
                written = []
                lines = []
                for annotation in image.annotations:
                    numbers = _numbers(annotation, image, polygons, report)
                    if numbers:
                        lines.append(" ".join([str(number_of[annotation["category_id"]]), *map(_share, numbers)]))
                        written.append(annotation if polygons else {**annotation, "segmentation": None})
                targets.place_image(
                    image.source, os.path.join(aside, "images", split, image.stem + image.extension), images
                )
                label = os.path.join(aside, "labels", split, f"{image.stem}.txt")
                targets.write_text(label, "".join(line + "\n" for line in lines))
                targets.add_to_counts(report, split, written)
        content = {**_places(list(contents)), "names": dict(enumerate(report.class_names))}
        targets.write_text(
            os.path.join(aside, "data.yaml"), yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
        )
        targets.require_images(report)
        targets.write_mark(aside, report)


def _places(splits: list[str]) -> dict[str, str]:
    """The keys of data.yaml: train, val and test where a split is called like that; a single one is for training."""
    places = {}
    for split in splits:
        role = next((role for role in ROLES if split.lower().startswith(role) and role not in places), split)
        places[role if len(splits) > 1 or role in ROLES else "train"] = f"images/{split}"
    return places


def _numbers(
    annotation: dict, image: targets.TargetImage, polygons: bool, report: ConversionReport
) -> list[float] | None:
    """Shares of width and height: centre and size of the box, or the corners of the polygon."""
    box = targets.clipped_box(annotation, image, report)
    if box is None:
        return None
    width, height = image.size
    where = f"annotation {annotation.get('id')} of {image.source}"
    if polygons:
        polygon = _polygon(annotation, where, report)
        if polygon:
            shares = [v / (height if i % 2 else width) for i, v in enumerate(polygon)]
            return [min(max(share, 0.0), 1.0) for share in shares]
        tally(report.notes, [Event("object without polygon, written as a box", where)])
    elif annotation.get("segmentation"):
        tally(report.notes, [Event("mask left out, box written (--polygons keeps masks)", where)])
    x0, y0, x1, y1 = box
    return [(x0 + x1) / 2 / width, (y0 + y1) / 2 / height, (x1 - x0) / width, (y1 - y0) / height]


def _polygon(annotation: dict, where: str, report: ConversionReport) -> list[float] | None:
    segmentation = annotation.get("segmentation")
    if isinstance(segmentation, dict):
        segmentation, has_holes = outlines_of_mask(_compressed(segmentation))
        what = "mask written as its outline, holes filled" if has_holes else "mask written as its outline"
        tally(report.notes, [Event(what, where)])
    pieces = [piece for piece in segmentation or [] if len(piece) >= 6 and len(piece) % 2 == 0]
    if len(pieces) > 1:
        tally(report.notes, [Event("several polygons joined to one", where)])
    return joined(pieces) if pieces else None


def _compressed(rle: dict) -> dict:
    import pycocotools.mask as mask_util

    return mask_util.frPyObjects(rle, *rle["size"]) if isinstance(rle["counts"], list) else rle


def _share(value: float) -> str:
    return f"{value:.10g}"
