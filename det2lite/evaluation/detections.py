"""Detections as evaluators keep them from one forward pass to the next: columns of numbers, and pieces of result files.

A dict for each detection would be more memory than its numbers by far, and a step of Python each time it is looked at.
What files hold of an image is written when the image is processed, so that after the last one nothing is to be encoded.
"""

import json
import pickle
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

__all__ = ["Detections", "ImageDetections", "packed"]

_NEEDED = {"image_id", "category_id", "bbox", "score"}
_KEYS = _NEEDED | {"segmentation", "keypoints"}


class ImageDetections(Sequence):
    """The detections of one image, which reads as the list of dicts that it was made of.

    boxes: (N, 4) or (N, 5) float64, as in the dicts. scores: (N,) float64. categories: (N,) int64, the data set's own.
    segmentations: N run-length codes, or None; their areas: (N,) pixels. keys: of the dicts. pickled: the dicts.
    text: their JSON with the data set's categories, between the brackets of a list; None where it was not asked for.
    """

    __slots__ = ("image_id", "boxes", "scores", "categories", "segmentations", "areas", "keys", "pickled", "text")

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, index: Any) -> Any:
        return self.entries()[index]

    def __iter__(self) -> Iterator[dict]:
        return iter(self.entries())

    def __eq__(self, other: object) -> bool:
        return self.entries() == (other.entries() if isinstance(other, ImageDetections) else other)

    __hash__ = None  # as a list

    def entries(self) -> list[dict]:
        """New dicts, with contiguous categories."""
        return pickle.loads(self.pickled)

    def original_entries(self) -> list[dict]:
        """New dicts, with the data set's categories."""
        entries = self.entries()
        for entry, category in zip(entries, self.categories.tolist(), strict=True):
            entry["category_id"] = category
        return entries


def packed(entries: list[dict], original: Mapping[int, int] | None, *, with_text: bool) -> ImageDetections | list[dict]:
    """The detections of one image made small; as they are where they are not what `instances_to_coco_json` gives.

    original: the data set's category of each contiguous one, None where they are the same. with_text: for a file.
    """
    if not entries or type(entries) is not list:
        return entries
    keys = entries[0].keys()
    if not _KEYS >= keys >= _NEEDED or any(entry.keys() != keys for entry in entries):
        return entries
    if len({len(entry["bbox"]) for entry in entries}) > 1:
        return entries
    categories = [entry["category_id"] for entry in entries]
    if original is not None:
        if not all(category in original for category in categories):
            return entries
        categories = [original[category] for category in categories]
    found = ImageDetections()
    found.image_id, found.keys = entries[0]["image_id"], tuple(keys)
    found.boxes = np.array([entry["bbox"] for entry in entries], dtype=np.float64)
    found.scores = np.array([entry["score"] for entry in entries], dtype=np.float64)
    found.categories = np.array(categories, dtype=np.int64)
    found.segmentations = found.areas = None
    if "segmentation" in keys:
        import hotcoco

        found.segmentations = [entry["segmentation"] for entry in entries]
        found.areas = np.asarray(hotcoco.mask.area(found.segmentations), dtype=np.float64)
    found.pickled = pickle.dumps(entries, protocol=2)
    found.text = _text(entries, categories) if with_text else None
    return found


def _text(entries: list[dict], categories: list[int]) -> bytes:
    changed = [entry | {"category_id": category} for entry, category in zip(entries, categories, strict=True)]
    text = msgspec.json.encode(changed)
    if b"null" in text:  # for numbers that are not finite; Python's json reads NaN and Infinity
        text = json.dumps(changed).encode()
    return text[1:-1]


class Detections(Sequence):
    """The detections of all images, which reads as one list of dicts with the data set's categories."""

    def __init__(self, images: Sequence[ImageDetections]):
        self.images = [image for image in images if len(image)]
        self._counts = [len(image) for image in self.images]

    def __len__(self) -> int:
        return sum(self._counts)

    def __getitem__(self, index: Any) -> Any:
        return self.entries()[index]

    def __iter__(self) -> Iterator[dict]:
        return (entry for image in self.images for entry in image.original_entries())

    def entries(self) -> list[dict]:
        """New dicts."""
        return list(self)

    def keys(self) -> set[str]:
        """Of any of the dicts."""
        return {key for image in self.images for key in image.keys}

    def column(self, name: str) -> np.ndarray:
        """boxes (N, 4), scores (N,), categories (N,) or areas (N,) of all images."""
        return np.concatenate([getattr(image, name) for image in self.images])

    def image_ids(self) -> list[tuple[Any, int]]:
        """Each image's id, and how many of the detections are its."""
        return [(image.image_id, count) for image, count in zip(self.images, self._counts, strict=True)]

    def segmentations(self) -> list[dict]:
        """The run-length code of each detection."""
        return [code for image in self.images for code in image.segmentations]

    def texts(self) -> list[bytes]:
        """JSON of each image's detections, between the brackets of a list."""
        return [image.text for image in self.images]
