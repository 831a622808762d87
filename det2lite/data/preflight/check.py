"""All checks of a data set in the COCO format."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from det2lite.data.preflight.boxes import box_faults, looks_like_xyxy, looks_relative, overhang
from det2lite.data.preflight.content import Columns, Content, columns_of
from det2lite.data.preflight.findings import Finding, Report, finding
from det2lite.data.preflight.keypoints import check_keypoints
from det2lite.data.preflight.masks import check_masks
from det2lite.data.preflight.pixels import check_existence, check_pixels
from det2lite.data.preflight.structure import CHECKS, check_categories, check_images, place_of

BOX_TEXTS = {
    "negative": ("negative-box", "bbox {box} has a negative side"),
    "empty": ("empty-box", "bbox {box} has no area"),
    "outside": ("box-outside", "bbox {box} lies outside the image of {size}"),
    "beyond": ("box-beyond-edge", "bbox {box} reaches {far} pixels beyond the image of {size}"),
}


def check_content(
    content: Content, image_root: str | None, *, name: str = "data", quick: bool = False, nproc: int = 1
) -> Report:
    """Every finding of a data set.

    image_root: folder of the images; None: files are not looked for. quick: open no image file. nproc: processes that
    decode images. Entries are not changed.
    """
    columns = columns_of(content)
    seen = {"images": len(content.images), "annotations": len(content.annotations)}
    report = Report(name, seen=seen | {"categories": len(content.categories)})
    report.add(check_categories(content))
    report.add(check_images(content))
    for check in CHECKS:
        report.add(check(content, columns))
    faults, columns = check_box_layout(columns)
    report.add(faults)
    report.add(check_boxes(content, columns))
    report.add(check_masks(content, columns))
    report.add(check_keypoints(content, columns))
    if image_root is not None:
        report.add(check_existence(content, image_root))
        if not quick:
            report.add(check_pixels(content, columns, image_root, nproc)[0])
    return report


def check_box_layout(columns: Columns) -> tuple[list[Finding], Columns]:
    """Whether all boxes are written in another way. Returns findings, and the columns with boxes as they were meant."""
    boxes, sizes = columns.boxes, columns.box_sizes
    if evidence := looks_like_xyxy(boxes, sizes):
        meant = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
        return [finding("xyxy-boxes", evidence)], replace(columns, boxes=meant)
    if evidence := looks_relative(boxes, sizes):
        return [finding("relative-boxes", evidence)], replace(columns, boxes=boxes * np.tile(sizes, 2))
    return [], columns


def _short(value: float) -> str:
    return f"{value:.1f}" if value < 1e6 else f"{value:.3g}"


def check_boxes(content: Content, columns: Columns) -> Iterator[Finding]:
    """Boxes without area, outside, or beyond the edge of their images."""
    sizes = columns.box_sizes
    far = overhang(columns.boxes, sizes)
    for field, rows in box_faults(columns.boxes, sizes)._asdict().items():
        kind, text = BOX_TEXTS[field]
        for row in np.flatnonzero(rows).tolist():
            box = "[" + ", ".join(f"{value:g}" for value in columns.boxes[row]) + "]"
            size = " x ".join(f"{value:g}" for value in sizes[row])
            place = place_of(content.annotations[row], columns, content, row)
            yield finding(kind, text.format(box=box, size=size, far=_short(far[row])), **place)
