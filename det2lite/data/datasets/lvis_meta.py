"""What LVIS (arXiv 1908.03195) publishes about its categories: names, WordNet synsets, how often they occur."""

import functools
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from det2lite.data.datasets.coco_reader import read_json
from det2lite.utils.errors import UnknownName

LVIS_VERSIONS = ("v0.5", "v1")


class LvisCategory(NamedTuple):
    """frequency: "r" rare, in at most 10 training images; "c" common, at most 100; "f" frequent."""

    id: int
    name: str
    synset: str
    frequency: str


@functools.lru_cache
def lvis_categories(version: str) -> tuple[LvisCategory, ...]:
    """All categories of a version, by ascending id, which counts from 1."""
    if version not in LVIS_VERSIONS:
        raise UnknownName(f"LVIS has no version {version!r}; known: {', '.join(LVIS_VERSIONS)}")
    lines = Path(__file__).with_name(f"lvis_{version}.txt").read_text(encoding="utf-8").splitlines()
    return tuple(LvisCategory(number, *line.split("|")) for number, line in enumerate(lines, 1))


def lvis_category_dicts(version: str) -> list[dict[str, Any]]:
    """`lvis_categories` as Detectron2 keeps them: id, synset, frequency, name, and of the synonyms the first alone."""
    return [{**category._asdict(), "synonyms": [category.name]} for category in lvis_categories(version)]


class ClassImageCounts(Sequence):
    """In how many training images each class occurs: `{"id": 1, "image_count": 64}`, ... by ascending id.

    The numbers are those of the training annotations, which are read when the first one is asked for. path: LVIS JSON.
    """

    def __init__(self, path: str | os.PathLike, length: int):
        self.path = path
        self._length = length

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: Any) -> Any:
        return _read_image_counts(os.fspath(self.path))[index]

    def __iter__(self) -> Iterator[dict[str, int]]:
        return iter(self[:])

    def __eq__(self, other: object) -> bool:
        if isinstance(other, ClassImageCounts):
            return os.fspath(self.path) == os.fspath(other.path)
        return isinstance(other, Sequence) and len(other) == len(self) and list(self) == list(other)

    __hash__ = None

    def __reduce__(self) -> tuple[Callable, tuple]:
        return ClassImageCounts, (self.path, self._length)

    def __repr__(self) -> str:
        return f"<images of each of {self._length} classes, in {os.fspath(self.path)}>"


@functools.lru_cache
def _read_image_counts(path: str) -> list[dict[str, int]]:
    content = read_json(path)
    categories = sorted(content["categories"], key=lambda category: category["id"])
    if all("image_count" in category for category in categories):
        return [{"id": category["id"], "image_count": category["image_count"]} for category in categories]
    pairs = {(annotation["image_id"], annotation["category_id"]) for annotation in content["annotations"]}
    counts = Counter(category for _, category in pairs)
    return [{"id": category["id"], "image_count": counts[category["id"]]} for category in categories]
