"""What a conversion did, for people and for programs."""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from det2lite.data.converters.records import Event
from det2lite.utils.errors import BadValue, shortened

SHOWN = 3  # places of each kind in tables
KEPT = 1000  # places of each kind that are remembered
WIDTHS = [40, None, 70]  # of columns, in characters


class CocoSplit(NamedTuple):
    """A COCO JSON file, and the folder that its file names are relative to."""

    json_path: str
    image_root: str


@dataclass
class SplitCounts:
    """Images and annotations of a split; of the annotations, how many have polygons and how many run-length masks."""

    images: int = 0
    annotations: int = 0
    polygons: int = 0
    masks: int = 0


def count_annotation(counts: SplitCounts, annotation: dict) -> None:
    segmentation = annotation.get("segmentation")
    counts.annotations += 1
    counts.polygons += bool(segmentation) and isinstance(segmentation, list)
    counts.masks += isinstance(segmentation, dict)


@dataclass
class Tally:
    """How often something happened, and the first places."""

    count: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, where: str) -> None:
        self.count += 1
        where = shortened(where)
        if len(self.examples) < KEPT and where not in self.examples:
            self.examples.append(where)


def tally(tallies: dict[str, Tally], events: Iterable[Event]) -> None:
    """Counts events by kind."""
    for event in events:
        tallies.setdefault(event.kind, Tally()).add(event.where)


@dataclass
class ConversionReport:
    """source: what was converted; folder: where it lies. splits: the COCO files, empty where none were written.

    skipped: by kind, objects and images that are not in the result. notes: what is in it but deserves a look.
    """

    source: str
    folder: str
    class_names: list[str] = field(default_factory=list)
    counts: dict[str, SplitCounts] = field(default_factory=dict)
    skipped: dict[str, Tally] = field(default_factory=dict)
    notes: dict[str, Tally] = field(default_factory=dict)
    splits: dict[str, CocoSplit] = field(default_factory=dict)

    def table(self) -> str:
        """Splits, what was skipped and what to look at, as text."""
        from tabulate import tabulate

        rows = [(name, c.images, c.annotations, c.polygons, c.masks) for name, c in self.counts.items()]
        text = tabulate(rows, headers=["split", "images", "annotations", "with polygons", "with masks"])
        for title, tallies in (("skipped", self.skipped), ("to look at", self.notes)):
            rows = [(kind, entry.count, self._shown(entry)) for kind, entry in tallies.items()]
            headers = [title, "count", "first of them"]
            listed = tabulate(rows, headers, maxcolwidths=WIDTHS) if rows else f"{title}: nothing"
            text += f"\n\n{listed}"
        return text

    def nothing(self) -> BadValue:
        """The error where no image is left."""
        reasons = "; ".join(f"{kind}: {entry.count} ({entry.examples[0]})" for kind, entry in self.skipped.items())
        return BadValue(f"{self.folder}: nothing to convert. {reasons or 'No image is annotated'}")

    def as_dict(self) -> dict:
        """For a JSON file."""
        counts = {name: vars(count) for name, count in self.counts.items()}
        tallies = {"skipped": self.skipped, "notes": self.notes}
        listed = {
            key: {kind: {"count": entry.count, "examples": entry.examples[:SHOWN]} for kind, entry in value.items()}
            for key, value in tallies.items()
        }
        return {"source": self.source, "classes": self.class_names, "counts": counts, **listed}

    def _shown(self, entry: Tally) -> str:
        """The examples, paths being relative to the data set's folder."""
        examples = [example.replace(f"{self.folder}{os.sep}", "") for example in entry.examples[:SHOWN]]
        return ", ".join(examples) + (", ..." if entry.count > len(examples) else "")
