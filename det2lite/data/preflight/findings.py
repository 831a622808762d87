"""What a check finds: kinds of faults, single findings, and the report of all of them."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from tabulate import tabulate

from det2lite.utils.errors import shortened

SEVERITIES = ("error", "warning", "info")


class Kind(NamedTuple):
    """A kind of finding. error: the data is wrong there; warning: it probably is; info: worth knowing.

    remedy: half a sentence for the message.
    """

    severity: str
    remedy: str


KINDS: dict[str, Kind] = {
    # entries and ids
    "missing-field": Kind("error", "add it or remove the entry"),
    "not-a-number": Kind("error", "write finite numbers, without quotes"),
    "duplicate-image-id": Kind("error", "give every image an id of its own"),
    "duplicate-annotation-id": Kind("error", "give every annotation an id of its own"),
    "duplicate-category-id": Kind("error", "give every category an id of its own"),
    "duplicate-category-name": Kind("warning", "merge the categories or rename one"),
    "unknown-category": Kind("error", "add the category or change the annotation"),
    "unused-category": Kind("info", "remove it where the model shall not know it"),
    "orphan-annotation": Kind("error", "add the image or remove the annotation"),
    "ignore-flag": Kind("error", "use iscrowd, or remove the annotation"),
    "bad-crowd-flag": Kind("error", "iscrowd is 0 or 1"),
    "image-size": Kind("error", "write the image's width and height in pixels"),
    "duplicate-file-name": Kind("warning", "merge the entries: one image may be in train and be counted twice"),
    "duplicate-annotation": Kind("warning", "remove one of them"),
    "image-without-annotations": Kind("info", "right for a picture of nothing, else label it"),
    "class-imbalance": Kind("info", "DATALOADER.SAMPLER_TRAIN RepeatFactorTrainingSampler evens it out"),
    "broken-annotation-file": Kind("error", "correct it; `det2lite convert --skip-broken` leaves it out"),
    "conversion": Kind("warning", "see `det2lite convert`, which leaves it out too"),
    # boxes
    "xyxy-boxes": Kind("error", "write x, y, width, height; `--fix` converts them"),
    "relative-boxes": Kind("error", "write pixels; `--fix` multiplies by the image's size"),
    "negative-box": Kind("error", "boxes are x, y, width, height; was it x0, y0, x1, y1?"),
    "empty-box": Kind("warning", "training leaves it out; draw it again or remove it"),
    "box-outside": Kind("error", "training leaves it out; was the image cropped or resized after labelling?"),
    "box-beyond-edge": Kind("warning", "training clips it; clip it, or check the image's size"),
    "box-unlike-mask": Kind("warning", "draw box or mask again"),
    # masks
    "bad-segmentation": Kind("error", "write a list of polygons or a run-length mask"),
    "short-polygon": Kind("warning", "a polygon needs 3 points; loading leaves it out"),
    "odd-polygon": Kind("error", "a polygon is x0, y0, x1, y1, ...; loading leaves it out"),
    "polygon-outside": Kind("warning", "clip it, or check the image's size"),
    "rle-size": Kind("error", "the size of a run-length mask is [height, width] of its image"),
    "broken-rle": Kind("error", "encode the mask again"),
    "crowd-polygon": Kind("warning", "crowds are run-length masks in COCO; is it a crowd?"),
    "missing-segmentation": Kind("warning", "training with masks needs one for every object; add it"),
    "wrong-area": Kind("warning", "write the mask's pixels: small, medium and large go by it"),
    # keypoints
    "keypoint-length": Kind("error", "write x, y, visibility for each keypoint of the category"),
    "keypoint-count": Kind("warning", "num_keypoints is the number of keypoints with visibility above 0"),
    "keypoint-visibility": Kind("warning", "visibility is 0 not labelled, 1 hidden, 2 visible"),
    "keypoint-outside": Kind("warning", "training takes it as not labelled; correct it"),
    # image files
    "missing-image": Kind("error", "check the image folder and the file name"),
    "unreadable-image": Kind("error", "replace the file or leave the image out"),
    "truncated-image": Kind("error", "copy the file again or leave the image out"),
    "huge-image": Kind("error", "scale it down, or leave it out: decoding it could take all memory"),
    "size-differs": Kind("error", "write the file's size, and check that the boxes fit it"),
    "exif-turned": Kind(
        "error", "turn the annotations too, as `--fix` does, or save the file without EXIF orientation"
    ),
    "exif-orientation": Kind("info", "images are read upright: were the annotations drawn so?"),
    "duplicate-image": Kind("warning", "keep one of them: training and validation may share it"),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault; `message` is one line with the remedy. Ids are the data set's own, None where not about one."""

    kind: str
    message: str
    image_id: Any = None
    file_name: str | None = None
    annotation_id: Any = None

    @property
    def severity(self) -> str:
        return KINDS[self.kind].severity

    def __str__(self) -> str:
        parts = []
        if self.annotation_id is not None:
            parts.append(f"annotation {self.annotation_id}")
        if self.image_id is not None:
            parts.append(f"image {self.image_id}")
        place = " of ".join(parts)
        if self.file_name is not None:
            place += f" ({self.file_name})" if place else self.file_name
        return shortened(f"{place}: {self.message}" if place else self.message)


def finding(kind: str, what: str, **place: Any) -> Finding:
    """A finding whose message is `what`, followed by the remedy of its kind."""
    return Finding(kind, shortened(f"{what}; {KINDS[kind].remedy}"), **place)


@dataclass
class Report:
    """All findings of one data set. `seen`: how many images, annotations and categories were looked at."""

    name: str
    findings: list[Finding] = field(default_factory=list)
    seen: dict[str, int] = field(default_factory=dict)

    def add(self, findings: Iterable[Finding]) -> None:
        self.findings.extend(findings)

    def of(self, severity: str) -> list[Finding]:
        return [one for one in self.findings if one.severity == severity]

    def by_kind(self) -> dict[str, list[Finding]]:
        """Findings of each kind, errors first, then in the order of KINDS."""
        groups: dict[str, list[Finding]] = {}
        for one in self.findings:
            groups.setdefault(one.kind, []).append(one)
        order = list(KINDS)
        return {
            kind: groups[kind]
            for kind in sorted(groups, key=lambda k: (SEVERITIES.index(KINDS[k].severity), order.index(k)))
        }

    def counts(self) -> dict[str, int]:
        return {severity: len(self.of(severity)) for severity in SEVERITIES}

    def table(self) -> str:
        """The kinds found, with counts and the first places."""
        rows = [
            (KINDS[kind].severity, kind, len(found), ", ".join(_places(found)))
            for kind, found in self.by_kind().items()
        ]
        return tabulate(rows, headers=("severity", "kind", "count", "first places"), disable_numparse=True)

    def lines(self, per_kind: int) -> Iterator[str]:
        """The first `per_kind` findings of each kind, each in a line."""
        for kind, found in self.by_kind().items():
            for one in found[:per_kind]:
                yield f"{one.severity}: {kind}: {one}"
            if len(found) > per_kind:
                yield f"  ... and {len(found) - per_kind} more of {kind}"

    def summary(self) -> str:
        """One line: what was looked at, and how many findings of each severity."""
        seen = ", ".join(f"{count} {what}" for what, count in self.seen.items())
        counts = zip(("errors", "warnings", "notes"), self.counts().values(), strict=True)
        return f"{shortened(self.name)}: {seen}: {', '.join(f'{count} {what}' for what, count in counts)}"

    def as_dict(self) -> dict[str, Any]:
        """Plain types, for JSON."""
        return {
            "data": self.name,
            "seen": self.seen,
            "counts": self.counts(),
            "kinds": {kind: len(found) for kind, found in self.by_kind().items()},
            "findings": [{"severity": one.severity, **asdict(one)} for one in self.findings],
        }


def _places(found: list[Finding], count: int = 3) -> list[str]:
    places = []
    for one in found[:count]:
        if one.annotation_id is not None:
            places.append(f"annotation {one.annotation_id}")
        elif one.image_id is not None:
            places.append(f"image {one.image_id}")
        elif one.file_name is not None:
            places.append(one.file_name)
    places = [*map(shortened, places)]
    return places + ["..."] if len(found) > count and places else places
