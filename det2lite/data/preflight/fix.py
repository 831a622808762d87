"""A cleaned copy of a data set: what can be put right is, what cannot be used is left out, and every change is told."""

import copy
import os
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pycocotools.mask as mask_util

from det2lite.data.preflight.boxes import EDGE, box_faults, overhang
from det2lite.data.preflight.check import check_box_layout
from det2lite.data.preflight.content import (
    Columns,
    Content,
    box_numbers,
    columns_of,
    file_name_of,
    hashable,
    is_rotated,
    number,
)
from det2lite.data.preflight.findings import Report
from det2lite.data.preflight.keypoints import keypoint_counts
from det2lite.data.preflight.masks import BOX_OVERLAP, outline_of, overlap_with_outline, polygon_points, rle_fault
from det2lite.data.preflight.pixels import name_here
from det2lite.data.preflight.source import area_of
from det2lite.data.preflight.structure import duplicate_rows
from det2lite.data.preflight.turning import box_of_code, fit_to_file
from det2lite.data.rle import MAX_PIXELS

NO_SIZE = "image-size"
OTHER_SIZE = ("exif-turned", "size-differs")
LEAVES_OUT_IMAGE = ("missing-image", "unreadable-image", "truncated-image", "huge-image", *OTHER_SIZE)


@dataclass
class Cleaned:
    """The copy, and what was changed: dicts with `change`, `why`, `image_id`, `annotation_id`."""

    content: Content
    changes: list[dict[str, Any]] = field(default_factory=list)

    def tell(self, change: str, why: str, entry: dict, *, is_image: bool = False) -> None:
        ids = {"image_id": entry.get("id")} if is_image else {"image_id": entry.get("image_id")}
        if not is_image:
            ids["annotation_id"] = entry.get("id")
        self.changes.append({"change": change, "why": why, **ids})


def clean(content: Content, report: Report, image_root: str | None = None) -> Cleaned:
    """A copy of `content` without the faults that `report` names, which is not changed.

    Images whose files cannot be used are left out with their annotations, those of another size than written too unless
    `fit_to_file` knows better. Upright boxes and polygons are clipped; objects that nothing is left of are left out.
    Ids that repeat are numbered anew. image_root: where images lie; names that are a path of another machine are put
    right.
    """
    result = Cleaned(copy.deepcopy(content))
    _clean_categories(result)
    for annotation in result.content.annotations:
        _unquote(annotation, result)
    _convert_layout(result)
    _clean_images(result, report, image_root)
    _clean_annotations(result)
    _number_anew(result)
    return result


def _clean_categories(result: Cleaned) -> None:
    kept, seen = [], set()
    for category in result.content.categories:
        number_of = category.get("id")
        if type(number_of) is int and category.get("name") is not None and number_of not in seen:
            kept.append(category)
            seen.add(number_of)
        else:
            result.changes.append({"change": "category left out", "why": f"no id or name of its own: {category}"[:200]})
    result.content.categories = kept


def _clean_images(result: Cleaned, report: Report, image_root: str | None) -> None:
    """Leaves out images that cannot be used; entries of one file become one; sizes are made those of the files."""
    content = result.content
    broken = {(f.image_id, f.file_name): f.kind for f in report.findings if f.kind in LEAVES_OUT_IMAGE}
    kept: dict[Any, dict] = {}
    by_name: dict[str, Any] = {}
    moved: dict[Any, Any] = {}
    text = {type(image.get("id")) for image in content.images} == {str}
    sized = _annotations_of_other_sizes(content, broken, text) if image_root is not None else {}
    for image in content.images:
        image_id, name = image.get("id"), file_name_of(image)
        why = _image_fault(image, broken, text)
        if why == "missing-image" and image_root is not None and (here := name_here(name, image_root)):
            image["file_name"], why = here, None
            result.tell(f"file name {name!r} put right", "missing-image", image, is_image=True)
            name = here
        if image_id in sized and why in (*OTHER_SIZE, NO_SIZE) and image_id not in kept:
            why = _fit_size(image, name, sized[image_id], why, image_root, result)
        if why is None and image_id in kept:
            why = "duplicate-image-id"
        if why is not None:
            result.tell("image left out", why, image, is_image=True)
        elif name in by_name:
            moved[image_id] = by_name[name]
            result.tell(f"image merged with image {by_name[name]}", "duplicate-file-name", image, is_image=True)
        else:
            image["width"], image["height"] = int(image["width"]), int(image["height"])
            kept[image_id], by_name[name] = image, image_id
    content.images = [*kept.values()]
    for annotation in content.annotations:
        image_id = annotation.get("image_id")
        if hashable(image_id) and image_id in moved:
            annotation["image_id"] = moved[image_id]


def _annotations_of_other_sizes(content: Content, broken: dict, text: bool) -> dict[Any, list[dict]]:
    """The annotations of the images whose files have another size than written, or none is, by image id."""
    faults = ((image.get("id"), _image_fault(image, broken, text)) for image in content.images)
    found: dict[Any, list[dict]] = {image_id: [] for image_id, why in faults if why in (*OTHER_SIZE, NO_SIZE)}
    for annotation in content.annotations if found else ():
        if hashable(annotation.get("image_id")) and annotation["image_id"] in found:
            found[annotation["image_id"]].append(annotation)
    return found


def _fit_size(
    image: dict, name: str, annotations: list[dict], why: str, image_root: str, result: Cleaned
) -> str | None:
    """Makes an entry fit its file, of one entry for the image. Returns why it cannot be kept, or None."""
    change = fit_to_file(image, annotations, os.path.join(image_root, name))
    if change is None:
        return why
    result.tell(change, why, image, is_image=True)
    annotations.clear()  # another entry of the same id must not turn them again
    return None


def _image_fault(image: dict, broken: dict, text: bool) -> str | None:
    """Why an image cannot be kept. text: whether ids are text."""
    if type(image.get("id")) is not (str if text else int) or file_name_of(image) is None:
        return "missing-field"
    if (image["id"], file_name_of(image)) in broken:
        return broken[image["id"], file_name_of(image)]
    size = columns_of(Content([image], [], [], {})).sizes[0]
    return None if (size >= 1).all() and not (size % 1).any() else NO_SIZE


def _clean_annotations(result: Cleaned) -> None:
    content = result.content
    columns = columns_of(content)
    known = {category["id"] for category in content.categories}
    counts = keypoint_counts(content)
    repeated = duplicate_rows(content, columns) >= 0
    sizes = columns.box_sizes
    kept = []
    for row, annotation in enumerate(content.annotations):
        upright = not is_rotated(annotation.get("bbox"))
        if upright and columns.image_rows[row] >= 0:
            _box_from_mask(annotation, sizes[row], result)
        why = _unusable(annotation, columns, row, known)
        why = why or ("duplicate-annotation" if repeated[row] else None)
        why = why or (_repair(annotation, sizes[row], result) if upright else None)
        why = why or _repair_mask(annotation, sizes[row], result)
        if why is not None:
            result.tell("annotation left out", why, annotation)
            continue
        _repair_keypoints(annotation, counts.get(annotation["category_id"], 0), sizes[row], result)
        if upright:
            _repair_area(annotation, result)
        kept.append(annotation)
    content.annotations = kept


def _unquote(annotation: dict, result: Cleaned) -> None:
    """Numbers written as text become numbers."""
    for key in ("bbox", "area"):
        value = annotation.get(key)
        try:
            numbers = [float(v) for v in value] if isinstance(value, list) else float(value)
        except (TypeError, ValueError, OverflowError):
            continue
        texts = any(isinstance(v, str) for v in (value if isinstance(value, list) else [value]))
        if texts and np.isfinite(numbers).all():
            annotation[key] = numbers
            result.tell(f"{key} is numbers", "not-a-number", annotation)


def _convert_layout(result: Cleaned) -> None:
    """Boxes of another layout, all of the data set, become XYWH in pixels."""
    faults, meant = check_box_layout(columns_of(result.content))
    if not faults:
        return
    for annotation, box in zip(result.content.annotations, meant.boxes.tolist(), strict=True):
        if np.isfinite(box).all():
            annotation["bbox"] = box
            result.tell("bbox converted to x, y, width, height in pixels", faults[0].kind, annotation)


def _unusable(annotation: dict, columns: Columns, row: int, known: set) -> str | None:
    if columns.image_rows[row] < 0:
        return "orphan-annotation"
    if not hashable(annotation.get("category_id")) or annotation["category_id"] not in known:
        return "unknown-category"
    if np.isnan(box_numbers(annotation.get("bbox"))).any() and not is_rotated(annotation.get("bbox")):
        return "not-a-number" if annotation.get("bbox") is not None else "missing-field"
    if annotation.get("ignore", 0) not in (0, None):
        return "ignore-flag"
    return "bad-crowd-flag" if annotation.get("iscrowd", 0) not in (0, 1) else None


def _box_from_mask(annotation: dict, size: np.ndarray, result: Cleaned) -> None:
    """Gives an object the box around its mask, where that lies in the image and its own box cannot be used.

    A box beyond the image cannot, where clipping would not make it fit its mask: such as a single one of corners.
    """
    box = np.array([box_numbers(annotation.get("bbox"))])
    faults = box_faults(box, size[None])
    unusable = np.isnan(box).any() or faults.negative[0] or faults.empty[0] or faults.outside[0]
    if not (unusable or faults.beyond[0]):
        return
    segmentation = annotation.get("segmentation")
    around = None
    if isinstance(segmentation, dict) and rle_fault(segmentation, size)[0] is None and size.prod() <= MAX_PIXELS:
        around = box_of_code(segmentation)
    elif isinstance(segmentation, list):
        points = [polygon_points(polygon) for polygon in segmentation]
        outline = outline_of([p for p in points if isinstance(p, np.ndarray)])
        around = None if outline is None else np.concatenate([outline.box[:2], outline.box[2:] - outline.box[:2]])
    if around is None or (around[2:] <= 0).any() or overhang(around[None], size[None])[0] > EDGE:
        return
    around_sides = (*around[:2], *(around[:2] + around[2:]))
    if not unusable and overlap_with_outline(_clipped(box[0], size).tolist(), around_sides) >= BOX_OVERLAP:
        return
    kind = "not-a-number" if np.isnan(box).any() else "box-outside" if faults.outside[0] else "negative-box"
    kind = "empty-box" if faults.empty[0] else "box-beyond-edge" if faults.beyond[0] else kind
    annotation["bbox"] = around.tolist()
    result.tell("bbox taken from the mask", kind, annotation)


def _clipped(box: np.ndarray, size: np.ndarray) -> np.ndarray:
    """The part (4,) XYWH of a box (4,) XYWH that lies in an image of (width, height); no size where none does."""
    start, end = np.clip(box[:2], 0, size), np.clip(box[:2] + box[2:], 0, size)
    return np.concatenate([start, end - start])


def _repair(annotation: dict, size: np.ndarray, result: Cleaned) -> str | None:
    """Clips the box. Returns why the annotation cannot be kept, or None."""
    annotation["bbox"] = [number(value) for value in annotation["bbox"]]
    box = np.array(annotation["bbox"])
    if box[2:].min() < 0:
        return "negative-box"
    if box[2:].min() == 0:
        return "empty-box"
    clipped = _clipped(box, size)
    if clipped[2:].min() <= 0:
        return "box-outside"
    if overhang(box[None], size[None])[0] > 1e-3:  # less is rounding
        annotation["bbox"] = clipped.tolist()
        result.tell("bbox clipped to the image", "box-beyond-edge", annotation)
    return None


def _repair_mask(annotation: dict, size: np.ndarray, result: Cleaned) -> str | None:
    """Drops and clips polygons, makes crowds run lengths. Returns why the annotation cannot be kept, or None."""
    segmentation = annotation.get("segmentation")
    if not segmentation:
        return None
    if isinstance(segmentation, dict):
        fault, _ = rle_fault(segmentation, size)
        return None if fault is None else fault[0]
    if not isinstance(segmentation, list):
        return "bad-segmentation"
    if all(type(value) in (int, float) for value in segmentation):
        segmentation = [segmentation]
        result.tell("polygon put into a list", "bad-segmentation", annotation)
    points = [polygon_points(polygon) for polygon in segmentation]
    usable = [p for p in points if isinstance(p, np.ndarray)]
    if len(usable) < len(points):
        if not usable:
            return "short-polygon" if "short" in points else "odd-polygon" if "odd" in points else "bad-segmentation"
        result.tell(f"{len(points) - len(usable)} polygons left out", "short-polygon", annotation)
    clipped = [p.clip(0, size) for p in usable]
    if any(np.abs(p - c).max() > 1e-3 for p, c in zip(usable, clipped, strict=True)):
        usable = [c for c in clipped if np.ptp(c, axis=0).all()]  # nothing is left of those that lay outside
        if not usable:
            return "polygon-outside"
        result.tell("polygons clipped to the image", "polygon-outside", annotation)
    annotation["segmentation"] = [p.reshape(-1).tolist() for p in usable]
    if annotation.get("iscrowd") == 1 and size.prod() <= MAX_PIXELS:
        height, width = int(size[1]), int(size[0])
        code = mask_util.merge(mask_util.frPyObjects(annotation["segmentation"], height, width))
        annotation["segmentation"] = {"size": [height, width], "counts": code["counts"].decode("ascii")}
        result.tell("polygons of a crowd became a run-length mask", "crowd-polygon", annotation)
    return None


def _repair_keypoints(annotation: dict, count: int, size: np.ndarray, result: Cleaned) -> None:
    keypoints = annotation.get("keypoints")
    if not count or keypoints is None or keypoints == []:
        if keypoints in (None, []) and annotation.get("num_keypoints"):
            annotation["num_keypoints"] = 0
            result.tell("num_keypoints counted again", "keypoint-count", annotation)
        return
    values = [number(value) for value in keypoints] if isinstance(keypoints, list) else []
    if len(values) != 3 * count or np.isnan(values).any():
        annotation["keypoints"], annotation["num_keypoints"] = [0] * (3 * count), 0
        result.tell("keypoints became not labelled", "keypoint-length", annotation)
        return
    points = np.array(values).reshape(-1, 3)
    wrong = ~np.isin(points[:, 2], (0, 1, 2))
    outside = (points[:, 2] > 0) & ((points[:, :2] < -1) | (points[:, :2] > size + 1)).any(axis=1)
    if (wrong | outside).any():
        points[wrong | outside] = 0
        annotation["keypoints"] = points.reshape(-1).tolist()
        result.tell("keypoints became not labelled", "keypoint-outside" if outside.any() else "keypoint-visibility",
                    annotation)  # fmt: skip
    labelled = int((points[:, 2] > 0).sum())
    if annotation.get("num_keypoints") != labelled:
        annotation["num_keypoints"] = labelled
        result.tell("num_keypoints counted again", "keypoint-count", annotation)


def _repair_area(annotation: dict, result: Cleaned) -> None:
    from det2lite.data.preflight.masks import area_fault, outline_of

    segmentation, outline, pixels = annotation.get("segmentation"), None, None
    if isinstance(segmentation, dict):
        pixels = rle_fault(segmentation, np.full(2, np.nan))[1]
    elif segmentation:
        outline = outline_of([np.array(polygon).reshape(-1, 2) for polygon in segmentation])
    fault = area_fault(annotation, np.array(annotation["bbox"]), outline, pixels)
    if fault is not None:
        annotation["area"] = area_of(annotation)
        result.tell("area computed again", fault[0], annotation)


def _number_anew(result: Cleaned) -> None:
    """Gives annotations whose id repeats, or is none, the next free one."""
    ids = [a["id"] for a in result.content.annotations if type(a.get("id")) is int]
    free = max(ids, default=0) + 1
    seen = set()
    for annotation in result.content.annotations:
        number_of = annotation.get("id")
        if hashable(number_of) and number_of not in seen:
            seen.add(number_of)
            continue
        result.tell(f"annotation became number {free}", "duplicate-annotation-id", annotation)
        annotation["id"] = free
        free += 1
