"""Findings about entries: their fields, ids, references, repetitions and frequencies."""

import statistics
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from det2lite.data.preflight.boxes import duplicates
from det2lite.data.preflight.content import LARGEST_SIDE, Columns, Content, file_name_of, hashable, is_rotated, number
from det2lite.data.preflight.findings import Finding, finding

IMBALANCE = 100  # the commonest class has so many times the instances of the rarest
IMAGE_FIELDS = ("id", "file_name", "width", "height")
ANNOTATION_FIELDS = ("id", "image_id", "category_id", "bbox")


def place_of(annotation: dict, columns: Columns, content: Content, row: int) -> dict[str, Any]:
    """Where annotation number `row` stands, as a finding wants it."""
    image_row = int(columns.image_rows[row])
    name = file_name_of(content.images[image_row]) if image_row >= 0 else None
    return {"image_id": annotation.get("image_id"), "file_name": name, "annotation_id": annotation.get("id")}


def check_categories(content: Content) -> Iterator[Finding]:
    for position, category in enumerate(content.categories):
        missing = [key for key in ("id", "name") if category.get(key) is None]
        if missing:
            name = category.get("name", category.get("id", f"number {position}"))
            yield finding("missing-field", f"category {name} has no {' and no '.join(missing)}")
        elif type(category["id"]) is not int:
            yield finding("not-a-number", f"category {category['name']!r}: id {_short(category['id'])}")
    ids = [category.get("id") for category in content.categories]
    for category in _repeated(content.categories, ids):
        yield finding("duplicate-category-id", f"category id {category['id']} ({category.get('name')}) occurs twice")
    for category in _repeated(content.categories, [_text(c.get("name")) for c in content.categories]):
        yield finding("duplicate-category-name", f"two categories are called {category['name']!r}")


def check_images(content: Content) -> Iterator[Finding]:
    for position, image in enumerate(content.images):
        place = {"image_id": image.get("id"), "file_name": file_name_of(image)}
        missing = [key for key in IMAGE_FIELDS if image.get(key) is None]
        if "file_name" in missing and place["file_name"] is not None:
            missing.remove("file_name")
        if missing:
            what = "the entry" if image.get("id") is not None else f"image number {position}"
            yield finding("missing-field", f"{what} has no {' and no '.join(missing)}", **place)
        elif type(image["id"]) not in (int, str):
            yield finding("not-a-number", f"id {_short(image['id'])}", **place)
        if not missing:
            yield from _size_findings(image, place)
    kinds = {type(image.get("id")) for image in content.images if hashable(image.get("id"))}
    if len(kinds) > 1:
        odd = next(image for image in content.images if type(image.get("id")) is str)
        yield finding("not-a-number", f"id {odd['id']!r} is text, other ids are numbers", image_id=odd["id"])
    ids = [image.get("id") for image in content.images]
    for image in _repeated(content.images, ids):
        place = {"image_id": image["id"], "file_name": file_name_of(image)}
        yield finding("duplicate-image-id", f"image id {image['id']} occurs twice", **place)
    first = {}
    for image in content.images:
        name = file_name_of(image)
        if name is None:
            continue
        if name in first and first[name].get("id") != image.get("id"):
            place = {"image_id": image.get("id"), "file_name": name}
            yield finding("duplicate-file-name", f"the same file as image {first[name].get('id')}", **place)
        first.setdefault(name, image)


def _size_findings(image: dict, place: dict) -> Iterator[Finding]:
    sides = [image["width"], image["height"]]
    numbers = [number(side) for side in sides]
    text = " x ".join(_short(side) for side in sides)
    if any(value != value for value in numbers):
        yield finding("not-a-number", f"width x height is {text}", **place)
    elif min(numbers) <= 0 or max(numbers) > LARGEST_SIDE or any(value % 1 for value in numbers):
        yield finding("image-size", f"width x height is {text}", **place)


def check_annotations(content: Content, columns: Columns) -> Iterator[Finding]:
    known = {category["id"] for category in content.categories if hashable(category.get("id"))}
    for row, annotation in enumerate(content.annotations):
        place = place_of(annotation, columns, content, row)
        missing = [key for key in ANNOTATION_FIELDS if annotation.get(key) is None]
        if missing:
            yield finding("missing-field", f"the annotation has no {' and no '.join(missing)}", **place)
        if "image_id" not in missing and columns.image_rows[row] < 0:
            yield finding("orphan-annotation", f"there is no image {_short(annotation['image_id'])}", **place)
        category = annotation.get("category_id")
        if "category_id" not in missing and not (hashable(category) and category in known):
            yield finding("unknown-category", f"category_id {_short(category)} is not in 'categories'", **place)
        if "bbox" not in missing and np.isnan(columns.boxes[row, 0]) and not is_rotated(annotation["bbox"]):
            yield finding("not-a-number", f"bbox {_short(annotation['bbox'])} must be four numbers", **place)
        if annotation.get("ignore", 0) not in (0, None):
            yield finding("ignore-flag", f"ignore is {_short(annotation['ignore'])}, which is not supported", **place)
        if annotation.get("iscrowd", 0) not in (0, 1):
            yield finding("bad-crowd-flag", f"iscrowd is {_short(annotation['iscrowd'])}", **place)
    for row in _repeated(range(len(content.annotations)), [a.get("id") for a in content.annotations]):
        place = place_of(content.annotations[row], columns, content, row)
        yield finding("duplicate-annotation-id", f"annotation id {place['annotation_id']} occurs twice", **place)


def check_duplicate_annotations(content: Content, columns: Columns) -> Iterator[Finding]:
    first = duplicate_rows(content, columns)
    for row in np.flatnonzero(first >= 0).tolist():
        other = content.annotations[int(first[row])]
        place = place_of(content.annotations[row], columns, content, row)
        yield finding("duplicate-annotation", f"the same class and box as annotation {other.get('id')}", **place)


def duplicate_rows(content: Content, columns: Columns) -> np.ndarray:
    """For each annotation that of the same image, class, crowd flag and box that stands before it, else -1. (N,)."""
    codes: dict[Any, int] = {}
    keys = [_text((a.get("category_id"), a.get("iscrowd", 0))) for a in content.annotations]
    category = np.array([codes.setdefault(key, len(codes)) for key in keys], dtype=np.int64)
    first = duplicates(columns.boxes, columns.image_rows, category)
    first[columns.image_rows < 0] = -1
    return first


def check_frequencies(content: Content, columns: Columns) -> Iterator[Finding]:
    """Images without annotations, unused categories, classes of very different frequency."""
    used = np.bincount(columns.image_rows[columns.image_rows >= 0], minlength=len(content.images))
    for row in np.flatnonzero(used == 0).tolist():
        image = content.images[row]
        place = {"image_id": image.get("id"), "file_name": file_name_of(image)}
        yield finding("image-without-annotations", "no annotation", **place)
    if not content.annotations:
        return
    counts = Counter(a["category_id"] for a in content.annotations if hashable(a.get("category_id")))
    named = {c["id"]: c.get("name") for c in content.categories if hashable(c.get("id"))}
    for category, name in named.items():
        if not counts[category]:
            yield finding("unused-category", f"category {category} ({name}) has no annotations")
    present = {category: counts[category] for category in named if counts[category]}
    if len(present) > 1:
        rarest, commonest = min(present, key=present.get), max(present, key=present.get)
        if present[commonest] >= IMBALANCE * present[rarest]:
            yield finding(
                "class-imbalance",
                f"{named[commonest]} has {present[commonest]} annotations, {named[rarest]} {present[rarest]} "
                f"(median of the classes: {statistics.median(present.values()):g})",
            )


def _repeated(entries: Any, keys: list) -> Iterator[Any]:
    """The entries whose key another one had before; keys that are no ids are left out."""
    seen = set()
    for entry, key in zip(entries, keys, strict=True):
        if not hashable(key):
            continue
        if key in seen:
            yield entry
        seen.add(key)


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _short(value: Any) -> str:
    try:
        text = repr(value)
    except ValueError:  # an integer of thousands of digits
        return "a number beyond all sizes"
    return text if len(text) <= 60 else f"{text[:57]}..."


CHECKS: tuple[Callable, ...] = (check_annotations, check_duplicate_annotations, check_frequencies)
