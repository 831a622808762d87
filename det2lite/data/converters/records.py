"""What readers of foreign formats hand over: images with objects, and what was left out and why."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

NO_AREA = "shape without area"
"""Points, lines and boxes of no width or height."""
OBJECT = "object"
"""The class of all objects where the source names none."""


class Event(NamedTuple):
    """Something left out, or worth a note. kind: a few words, the same for all of its kind. where: file and object."""

    kind: str
    where: str


@dataclass
class SourceObject:
    """One object as its format has it. box: XYXY pixels.

    class_name: a number where the format numbers its classes and names none. segmentation: polygons
    [[x0, y0, ...], ...], a run-length mask of COCO, or None. extra: further keys of the COCO annotation.
    """

    class_name: str | int
    box: tuple[float, float, float, float]
    segmentation: list[list[float]] | dict | None = None
    iscrowd: int = 0
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass
class SourceImage:
    """An image and its objects.

    size: (width, height) as det2lite reads the file, None until it has been read. stated: the size that the annotation
    claims. skipped, notes: what befell its objects.
    """

    path: str
    objects: list[SourceObject] = field(default_factory=list)
    size: tuple[int, int] | None = None
    stated: tuple[int, int] | None = None
    skipped: list[Event] = field(default_factory=list)
    notes: list[Event] = field(default_factory=list)

    def skip(self, kind: str, what: str, count: int = 1) -> None:
        self.skipped += [Event(kind, what)] * count

    def note(self, kind: str, what: str) -> None:
        self.notes.append(Event(kind, what))


@dataclass
class Plan:
    """What a data set has to be read. jobs: by split; each goes through `read` in a process of its own, perhaps.

    class_names: in the order of the source, None where it keeps no list. nameless: the source names no classes at all,
    and every object is an `OBJECT`. skipped, notes: about the data set as a whole.
    """

    jobs: dict[str, list[Any]]
    read: Callable[[Any], list[SourceImage]]
    class_names: list[str] | None = None
    nameless: bool = False
    skipped: list[Event] = field(default_factory=list)
    notes: list[Event] = field(default_factory=list)


def box_of_polygons(polygons: list[list[float]]) -> tuple[float, float, float, float]:
    """The smallest box, XYXY, around flat polygons."""
    xs = [x for polygon in polygons for x in polygon[0::2]]
    ys = [y for polygon in polygons for y in polygon[1::2]]
    return min(xs), min(ys), max(xs), max(ys)
