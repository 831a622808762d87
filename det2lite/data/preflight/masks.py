"""Findings about segmentations and areas."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from det2lite.data.preflight.boxes import EDGE, box_faults
from det2lite.data.preflight.content import Columns, Content, number
from det2lite.data.preflight.findings import Finding, finding
from det2lite.data.preflight.structure import place_of
from det2lite.data.rle import run_lengths

MOST_HAVE = 0.5  # share of annotations with a segmentation from which on one without is a finding
AREA_SHARE, AREA_PIXELS = 0.2, 10.0  # how far the area may be off: outlines and pixels differ along the rim
BOX_OVERLAP = 0.5  # IoU of the box with the outline's box below which one of them is wrong
NOT_NUMBERS = "not numbers"
NUMBERS = frozenset((int, float))


class Outline(NamedTuple):
    """What the polygons of an annotation amount to, those that cannot be used left out."""

    least_area: float  # of the largest polygon
    area: float  # of all together; they may overlap
    box: np.ndarray  # (4,) XYXY around all


def polygon_points(polygon: Any) -> np.ndarray | str:
    """A polygon's points (P, 2), or what is wrong with it."""
    if not isinstance(polygon, list):
        return f"a {type(polygon).__name__} where a polygon should be"
    if not NUMBERS.issuperset(map(type, polygon)):
        return NOT_NUMBERS
    try:
        values = np.array(polygon, dtype=np.float64)
    except OverflowError:
        return NOT_NUMBERS
    if not np.isfinite(values).all():
        return NOT_NUMBERS
    if len(values) % 2:
        return "odd"
    return values.reshape(-1, 2) if len(values) >= 6 else "short"


def polygon_area(points: np.ndarray) -> float:
    """Area inside (P, 2) points, by the shoelace formula; moved to the origin first, which keeps digits."""
    x, y = (points - points[0]).T  # so that the edges to and from the first point add nothing
    return abs(float(np.dot(x[:-1], y[1:]) - np.dot(y[:-1], x[1:]))) / 2


def outline_of(polygons: list[np.ndarray]) -> Outline | None:
    if not polygons:
        return None
    areas = [polygon_area(points) for points in polygons]
    points = np.concatenate(polygons)
    return Outline(max(areas), sum(areas), np.concatenate([points.min(axis=0), points.max(axis=0)]))


def check_masks(content: Content, columns: Columns) -> Iterator[Finding]:
    """Polygons, run-length masks, areas, and objects that alone have no mask."""
    from tqdm import tqdm

    having = sum(bool(annotation.get("segmentation")) for annotation in content.annotations)
    expected = having >= max(MOST_HAVE * len(content.annotations), 1)
    sizes = columns.box_sizes
    sound = ~np.any(box_faults(columns.boxes, sizes), axis=0)  # others are no boxes to compare a mask with
    progress = tqdm(content.annotations, disable=None, unit="annotation", desc="masks", leave=False)
    for row, annotation in enumerate(progress):
        place = place_of(annotation, columns, content, row)
        segmentation = annotation.get("segmentation")
        outline, pixels = None, None
        if not segmentation:
            if expected:
                yield finding("missing-segmentation", f"{having} others have a segmentation", **place)
        elif isinstance(segmentation, dict):
            fault, pixels = rle_fault(segmentation, sizes[row])
            if fault is not None:
                yield finding(*fault, **place)
        elif isinstance(segmentation, list):
            box = columns.boxes[row] if sound[row] else np.full(4, np.nan)
            faults, outline = _polygon_faults(segmentation, annotation, sizes[row], box)
            for fault in faults:
                yield finding(*fault, **place)
        else:
            yield finding("bad-segmentation", f"a {type(segmentation).__name__}", **place)
        fault = area_fault(annotation, columns.boxes[row], outline, pixels)
        if fault is not None:
            yield finding(*fault, **place)


def _polygon_faults(
    polygons: list, annotation: dict, size: np.ndarray, box: np.ndarray
) -> tuple[list[tuple[str, str]], Outline | None]:
    """(kind, what) of each fault, one a kind, and the outline of the polygons that can be used."""
    faults: dict[str, str] = {}
    usable = []
    if all(type(value) in (int, float) for value in polygons):
        return [("bad-segmentation", "numbers where a list of polygons should be; put them in a second list")], None
    for position, polygon in enumerate(polygons):
        points = polygon_points(polygon)
        if isinstance(points, np.ndarray):
            usable.append(points)
        elif points == "odd":
            faults.setdefault("odd-polygon", f"polygon {position} has {len(polygon)} numbers, an odd count")
        elif points == "short":
            faults.setdefault("short-polygon", f"polygon {position} has {len(polygon) // 2} points")
        elif points == NOT_NUMBERS:
            faults.setdefault("not-a-number", f"polygon {position} holds what is no finite number")
        else:
            faults.setdefault("bad-segmentation", points)
    outline = outline_of(usable)
    if outline is not None:
        x0, y0, x1, y1 = outline.box.tolist()
        beyond = max(
            0.0, -x0, -y0, *(far - side for far, side in zip((x1, y1), size.tolist(), strict=True) if side > 0)
        )
        if beyond > EDGE:
            faults["polygon-outside"] = f"a polygon reaches {beyond:.1f} pixels beyond the image"
        overlap = overlap_with_outline(box.tolist(), (x0, y0, x1, y1))
        if overlap < BOX_OVERLAP and not faults:
            around = f"[{x0:g}, {y0:g}, {x1 - x0:g}, {y1 - y0:g}]"
            faults["box-unlike-mask"] = f"bbox {annotation.get('bbox')}, but the polygons lie in {around}"
    if annotation.get("iscrowd") == 1:
        faults["crowd-polygon"] = "iscrowd is 1, and the segmentation is polygons"
    return list(faults.items()), outline


def overlap_with_outline(box: Sequence[float], outline: Sequence[float]) -> float:
    """IoU of an XYWH box with an XYXY box; 1 where it is not defined."""
    x, y, width, height = box
    if not (width > 0 and height > 0):
        return 1.0
    x0, y0, x1, y1 = outline
    inner = max(0.0, min(x + width, x1) - max(x, x0)) * max(0.0, min(y + height, y1) - max(y, y0))
    return inner / (width * height + (x1 - x0) * (y1 - y0) - inner)


def rle_fault(rle: dict, size: np.ndarray) -> tuple[tuple[str, str] | None, int | None]:
    """(kind, what) of the fault of a run-length mask or None, and its pixels where it is right. Allocates no mask.

    size: (2,) width and height of the image, NaN where not known.
    """
    sides, counts = rle.get("size"), rle.get("counts")
    if not isinstance(sides, list) or len(sides) != 2 or not all(type(side) is int and side >= 0 for side in sides):
        return ("rle-size", f"a run-length mask of size {str(sides)[:40]}"), None
    if not np.isnan(size).any() and sides != [int(size[1]), int(size[0])]:
        swapped = " (width and height are swapped)" if sides == [int(size[0]), int(size[1])] else ""
        image = f"{size[1]:g} x {size[0]:g}"
        return ("rle-size", f"a run-length mask of {sides[0]} x {sides[1]} on an image of {image}{swapped}"), None
    if isinstance(counts, list) and not all(type(count) is int and count >= 0 for count in counts):
        return ("broken-rle", "run lengths that are no numbers of pixels"), None
    if not isinstance(counts, (list, str)):
        return ("broken-rle", "a run-length mask without counts"), None
    try:
        runs = run_lengths(counts)
        total = sum(runs.tolist())
    except (OverflowError, ValueError) as error:
        return ("broken-rle", f"no run-length code: {error}"), None
    if total != sides[0] * sides[1] or (runs < 0).any():
        return ("broken-rle", f"runs of {total} pixels on an image of {sides[0]} x {sides[1]}"), None
    return None, int(runs[1::2].sum())


def area_fault(annotation: dict, box: np.ndarray, outline: Outline | None, pixels: int | None) -> tuple | None:
    """(kind, what) where `area` is not that of the mask or, as some tools write it, of the box."""
    if annotation.get("iscrowd") == 1:
        return None  # COCO's own crowds are up to a third off
    given = annotation.get("area")
    if given is None:
        return "wrong-area", "the annotation has no area"
    area = number(given)
    if np.isnan(area):
        return "not-a-number", f"area {str(given)[:40]}"
    of_box = float(box[2:].prod()) if (box[2:] > 0).all() else np.nan
    if outline is not None:
        least, most = outline.least_area, outline.area
    elif pixels is not None:
        least = most = float(pixels)
    else:  # no mask that one could measure: anything up to the box is possible
        least, most = 0.0, of_box
    low = least * (1 - AREA_SHARE) - AREA_PIXELS
    high = most * (1 + AREA_SHARE) + AREA_PIXELS
    near_box = abs(area - of_box) <= 0.02 * of_box + 1
    if (area > 0 and low <= area <= high) or near_box or np.isnan(high):
        return None
    return "wrong-area", f"area is {area:g}, the {'box' if outline is pixels is None else 'mask'} has {most:g} pixels"
