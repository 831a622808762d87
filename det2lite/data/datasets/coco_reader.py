"""Reading COCO JSON that may be wrong: every fault is named with its file, annotation and image."""

import json
import os
from collections.abc import Iterable
from typing import Any

from det2lite.data.data_root import missing_hint
from det2lite.utils.errors import BadValue, MissingFile, UserError
from det2lite.utils.file_io import PathManager


class UnknownCategory(UserError, KeyError):
    """An annotation's category is not among the file's categories."""


class DuplicateId(UserError, AssertionError):
    """Two images, or two annotations, have one id."""


def read_json(path: str | os.PathLike) -> Any:
    """The content of a JSON file. Raises `MissingFile`, and `BadValue` for what is not JSON or is cut off."""
    path = os.fspath(path)
    if not PathManager.isfile(path):
        raise MissingFile(f"{path}: no such file; {missing_hint(path)}")
    try:
        with PathManager.open(path, "r", encoding="utf-8") as file:
            return json.load(file)
    except json.JSONDecodeError as error:
        size = os.path.getsize(path) if os.path.exists(path) else 0
        where = "the file is empty" if not size else f"line {error.lineno} column {error.colno}: {error.msg}"
        raise BadValue(f"{path}: not JSON, or cut off ({where}); is the download whole?") from None
    except (UnicodeDecodeError, RecursionError) as error:
        raise BadValue(f"{path}: not JSON ({type(error).__name__}); is it a binary file?") from None
    except ValueError as error:  # a number of thousands of digits
        raise BadValue(f"{path}: a number in it is too long to be read ({str(error).partition(';')[0]})") from None


def _entries(content: dict, key: str, path: str) -> list[dict]:
    entries = content.get(key) or []
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise BadValue(f"{path}: {key!r} must be a list of objects, as in the COCO format")
    return entries


def _require(entries: Iterable[dict], keys: tuple[str, ...], what: str, path: str) -> None:
    for number, entry in enumerate(entries):
        missing = [key for key in keys if key not in entry]
        if missing:
            name = entry.get("id", f"number {number}")
            raise BadValue(f"{path}: {what} {name} has no {' and no '.join(map(repr, missing))}")
        for key in ("id", "image_id", "category_id"):
            if key in entry and not isinstance(entry[key], (int, str)):
                raise BadValue(f"{path}: {what} number {number}: {key!r} must be a number, not {str(entry[key])[:40]}")
        if not isinstance(entry.get("file_name", ""), str):
            raise BadValue(f"{path}: {what} {entry.get('id')}: 'file_name' must be text, not {entry['file_name']!r}")


def _unique(entries: Iterable[dict], what: str, path: str) -> None:
    seen = set()
    for entry in entries:
        if entry["id"] in seen:
            raise DuplicateId(f"{path}: {what} id {entry['id']} occurs twice; ids must be unique")
        seen.add(entry["id"])


class CocoFile:
    """Images, annotations by image, and categories of a COCO JSON file, each checked to have what reading needs.

    unique_annotations: whether two annotations with one id are an error. image_keys: what each image must have.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        *,
        unique_annotations: bool = True,
        image_keys: tuple[str, ...] = ("id", "file_name", "height", "width"),
    ):
        self.path = os.fspath(path)
        content = read_json(path)
        if not isinstance(content, dict) or "images" not in content:
            found = f"the keys {sorted(content)[:8]}" if isinstance(content, dict) else f"a {type(content).__name__}"
            raise BadValue(f"{self.path}: not in the COCO format: expected an object with 'images', found {found}")
        self.images = _entries(content, "images", self.path)
        _require(self.images, image_keys, "image", self.path)
        _unique(self.images, "image", self.path)
        try:
            self.images.sort(key=lambda image: image["id"])
        except TypeError:
            raise BadValue(f"{self.path}: image ids must all be numbers, or all strings") from None
        for image in self.images:
            if not all(type(image[side]) in (int, float) and image[side] > 0 for side in ("height", "width")):
                raise BadValue(
                    f"{self.path}: image {image['id']}: height {image['height']} and width {image['width']} must be "
                    "positive numbers of pixels"
                )
        annotations = _entries(content, "annotations", self.path)
        _require(annotations, ("image_id", "category_id"), "annotation", self.path)
        if unique_annotations:
            _unique((a for a in annotations if "id" in a), "annotation", self.path)
        self.categories = sorted(self._categories(content), key=lambda category: category["id"])
        self._group(annotations)

    def _categories(self, content: dict) -> list[dict]:
        categories = _entries(content, "categories", self.path)
        _require(categories, ("id", "name"), "category", self.path)
        _unique(categories, "category", self.path)
        return categories

    def _group(self, annotations: list[dict]) -> None:
        self.annotations: dict[Any, list[dict]] = {image["id"]: [] for image in self.images}
        for annotation in annotations:
            of_image = self.annotations.get(annotation["image_id"])
            if of_image is None:
                raise BadValue(
                    f"{self.path}: annotation {annotation.get('id')} is of image {annotation['image_id']}, which is "
                    "not in 'images'; remove it or add the image"
                )
            of_image.append(annotation)

    def category_index(self) -> dict[int, int]:
        """Category id -> contiguous index, by ascending id."""
        return {category["id"]: index for index, category in enumerate(self.categories)}

    def where(self, annotation: dict) -> str:
        return f"{self.path}: annotation {annotation.get('id')} of image {annotation['image_id']}"

    def unknown_category(self, annotation: dict) -> UnknownCategory:
        known = [category["id"] for category in self.categories]
        listed = ", ".join(map(str, known[:10])) + (", ..." if len(known) > 10 else "")
        return UnknownCategory(
            f"{self.where(annotation)}: category_id {annotation['category_id']} is not in 'categories' "
            f"({listed or 'none'}); add the category or change the annotation"
        )
