"""A data set in the COCO format as it was written, nothing trusted, and its entries as columns of numbers."""

import math
import os
from dataclasses import dataclass
from typing import Any

import numpy as np

from det2lite.data.datasets.coco_instance import box_mode_of
from det2lite.data.datasets.coco_reader import read_json
from det2lite.structures import BoxMode
from det2lite.utils.errors import BadValue

LARGEST_SIDE = 2**20  # pixels; an image of more is a mistake, and nothing of its size may be allocated


@dataclass
class Content:
    """The three lists of a COCO JSON, and what else stood in it. Entries are dicts, their values are anything."""

    images: list[dict]
    annotations: list[dict]
    categories: list[dict]
    others: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        return {
            **self.others,
            "images": self.images,
            "annotations": self.annotations,
            "categories": self.categories,
        }


def read_content(path: str | os.PathLike) -> Content:
    """The content of a COCO JSON file. Raises a `UserError` where it is no JSON, or of another format."""
    path = os.fspath(path)
    try:
        content = read_json(path)
    except ValueError as error:  # an integer of thousands of digits
        raise error if isinstance(error, BadValue) else BadValue(f"{path}: not a COCO file ({error})") from None
    return content_of(content, path)


def content_of(content: Any, path: str) -> Content:
    """Parsed JSON as `Content`; raises `BadValue` that says which format it has instead."""
    if not isinstance(content, dict) or "images" not in content:
        raise BadValue(f"{path}: not in the COCO format: {_other_format(content)}; `det2lite convert` reads others")
    lists = {key: content.get(key) or [] for key in ("images", "annotations", "categories")}
    for key, entries in lists.items():
        if not isinstance(entries, list):
            raise BadValue(f"{path}: not in the COCO format: {key!r} is a {type(entries).__name__}, not a list")
        wrong = next((i for i, entry in enumerate(entries) if not isinstance(entry, dict)), None)
        if wrong is not None:
            raise BadValue(f"{path}: entry {wrong} of {key!r} is a {type(entries[wrong]).__name__}, not an object")
    if lists["annotations"] and "segments_info" in lists["annotations"][0]:
        raise BadValue(f"{path} is a panoptic file, whose segments lie in PNG maps; check its instances file instead")
    return Content(**lists, others={key: value for key, value in content.items() if key not in lists})


def _other_format(content: Any) -> str:
    if not isinstance(content, dict):
        kind = type(content).__name__
        if isinstance(content, list) and content and isinstance(content[0], dict) and "score" in content[0]:
            return "a list of detections, not a data set"
        return f"expected an object with 'images', found a {kind}"
    if "shapes" in content:
        return "it looks like LabelMe"
    values = list(content.values())
    if "_via_img_metadata" in content or (values and isinstance(values[0], dict) and "regions" in values[0]):
        return "it looks like VIA"
    return f"expected an object with 'images', found the keys {sorted(map(str, content))[:8]}"


def number(value: Any) -> float:
    """The value as float; NaN for what is no finite number, such as text."""
    if type(value) not in (int, float):
        return math.nan
    try:
        value = float(value)
    except OverflowError:
        return math.nan
    return value if math.isfinite(value) else math.nan


def file_name_of(image: dict) -> str | None:
    """The image's file below the image root; LVIS says it by the last two parts of its address."""
    name = image.get("file_name")
    if isinstance(name, str) and name:
        return name
    url = image.get("coco_url")
    return "/".join(url.split("/")[-2:]) if isinstance(url, str) and url else None


def hashable(value: Any) -> bool:
    """Whether an id can be one: a number or text."""
    return type(value) in (int, str, float)


@dataclass
class Columns:
    """Numbers of N annotations and M images; NaN and -1 stand for what is not known.

    boxes: (N, 4) XYWH. sizes: (M, 2) width, height. image_rows: (N,) the image of each annotation.
    """

    boxes: np.ndarray
    sizes: np.ndarray
    image_rows: np.ndarray

    @property
    def box_sizes(self) -> np.ndarray:
        """(N, 2) width and height of the image of each annotation."""
        if not len(self.sizes):
            return np.full((len(self.boxes), 2), np.nan)
        return np.where(self.image_rows[:, None] < 0, np.nan, self.sizes[self.image_rows])


def columns_of(content: Content) -> Columns:
    """The numbers of a data set that can be read."""
    row_of: dict[Any, int] = {}
    for row, image in enumerate(content.images):
        if hashable(image.get("id")):
            row_of.setdefault(image["id"], row)
    sizes = np.array([_size(image) for image in content.images], dtype=np.float64).reshape(-1, 2)
    boxes = np.array([box_numbers(a.get("bbox")) for a in content.annotations], dtype=np.float64).reshape(-1, 4)
    rows = [row_of.get(a["image_id"], -1) if hashable(a.get("image_id")) else -1 for a in content.annotations]
    return Columns(boxes, sizes, np.array(rows, dtype=np.int64))


def _size(image: dict) -> tuple[float, float]:
    size = number(image.get("width")), number(image.get("height"))
    return size if all(0 < side <= LARGEST_SIDE for side in size) else (math.nan, math.nan)


def is_rotated(box: Any) -> bool:
    """Whether it is a rotated box: centre, size and angle, five numbers."""
    return box_mode_of(box) is BoxMode.XYWHA_ABS


def box_numbers(box: Any) -> list[float]:
    """Four numbers, or four NaN, as for rotated boxes."""
    if isinstance(box, list) and len(box) == 4:
        values = [number(value) for value in box]
        if not any(map(math.isnan, values)):
            return values
    return [math.nan] * 4
