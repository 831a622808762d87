"""The quick part of the checks: samples as a data set's loader gives them, before a training or an evaluation.

Nothing is read but folder listings, and every question is asked of all annotations at once. What a training would crash
on, or learn wrongly from, stops it; the rest is a warning in the log.
"""

import itertools
import logging
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from det2lite.data.catalog import MetadataCatalog
from det2lite.data.preflight.boxes import XYXY_SHARE, box_faults, fit_as_corners, looks_like_xyxy, looks_relative
from det2lite.data.preflight.findings import Finding, finding
from det2lite.data.preflight.pixels import missing_files
from det2lite.data.sample_store import SampleRows, stored_rows
from det2lite.structures import BoxMode
from det2lite.utils.errors import UserError

logger = logging.getLogger(__name__)

_BOX_KINDS = {"negative": "negative-box", "empty": "empty-box", "outside": "box-outside", "beyond": "box-beyond-edge"}
_already_logged: set[str] = set()
MOST = 2**62  # numbers above become it
MANY_SAMPLES = 2000  # from which on a look at the first ones saves time


class FaultyDataset(UserError, ValueError):
    """A data set that a training would crash on, or learn wrongly from."""


class Found(NamedTuple):
    """The first finding of a kind, how many there are, and whether the run cannot go on."""

    first: Finding
    count: int
    stops: bool


@dataclass
class SampleColumns:
    """Samples in the standard format as columns: M images, N annotations; crowds, which are not learnt, left out."""

    samples: Sequence[dict]
    masks_are_checked = False

    @cached_property
    def _flat(self) -> tuple[list[dict], np.ndarray]:
        given = [sample.get("annotations") for sample in self.samples]
        lists = [entries if isinstance(entries, (list, tuple)) else () for entries in given]
        flat = [*itertools.chain.from_iterable(lists)]
        kept = [isinstance(a, dict) and not a.get("iscrowd", 0) for a in flat]
        rows = np.repeat(np.arange(len(lists)), [*map(len, lists)])
        return [*itertools.compress(flat, kept)], rows[np.array(kept, dtype=bool)]

    @property
    def annotations(self) -> list[dict]:
        return self._flat[0]

    @property
    def rows(self) -> np.ndarray:
        """(N,) image of each annotation."""
        return self._flat[1]

    @cached_property
    def modes(self) -> np.ndarray:
        """(N,) bbox_mode; -1 where there is none."""
        modes = [a.get("bbox_mode", -1) for a in self.annotations]
        if len({*map(id, modes)}) == 1:  # as nearly always; members of an enum are slow to convert and to compare
            return np.full(len(modes), _integer(modes[0]))
        return np.array([*map(_integer, modes)], dtype=np.int64)

    @cached_property
    def boxes(self) -> np.ndarray:
        """(N, 4) XYWH as given (XYXY converted); NaN for boxes of other kinds."""
        boxes = [a.get("bbox") for a in self.annotations]
        try:
            if set(map(len, boxes)) - {4}:
                raise ValueError
            numbers = np.fromiter(itertools.chain.from_iterable(boxes), np.float64, 4 * len(boxes)).reshape(-1, 4)
        except (TypeError, ValueError):
            numbers = np.array([_four(box) for box in boxes], dtype=np.float64).reshape(-1, 4)
        corners = self.modes == int(BoxMode.XYXY_ABS)
        if corners.any():
            numbers[corners, 2:] -= numbers[corners, :2]
        numbers[~corners & (self.modes != int(BoxMode.XYWH_ABS))] = np.nan
        return numbers

    @cached_property
    def sizes(self) -> np.ndarray:
        """(N, 2) width and height of each annotation's image; NaN where the sample does not say."""
        sizes = [(_side(sample.get("width")), _side(sample.get("height"))) for sample in self.samples]
        return np.array(sizes, dtype=np.float64).reshape(-1, 2)[self.rows]

    @cached_property
    def labels(self) -> np.ndarray:
        """(N,) category_id; -1 for what is no number."""
        labels = [a.get("category_id") for a in self.annotations]
        if {*map(type, labels)} != {int}:
            labels = map(_integer, labels)
        try:
            return np.fromiter(labels, np.int64, len(self.annotations))
        except OverflowError:  # numbers that are no model's classes
            return np.array([min(_integer(a.get("category_id")), MOST) for a in self.annotations], dtype=np.int64)

    @cached_property
    def segmentations(self) -> list:
        return [a.get("segmentation") for a in self.annotations]

    @cached_property
    def lacks_mask(self) -> np.ndarray:
        """(N,) whether there is no segmentation."""
        return np.array([segmentation is None for segmentation in self.segmentations], dtype=bool)

    @cached_property
    def keypoint_lengths(self) -> np.ndarray:
        """(N,) how many numbers the keypoints are."""
        keypoints = [a.get("keypoints", ()) for a in self.annotations]
        return np.array([len(k) if isinstance(k, (list, tuple)) else np.size(k) for k in keypoints])

    def found(self, kind: str, what: str, rows: np.ndarray, stops: bool) -> Iterator[Found]:
        """At most one `Found`: the first of the annotations `rows`, (F,) indices or (N,) bool."""
        rows = np.flatnonzero(rows) if rows.dtype == bool else rows
        if len(rows):
            annotation, sample = self.annotations[rows[0]], self.samples[self.rows[rows[0]]]
            what = what.format(box=str(annotation.get("bbox"))[:60], category=annotation.get("category_id"))
            place = {"image_id": sample.get("image_id"), "file_name": str(sample.get("file_name"))}
            yield Found(finding(kind, what, annotation_id=annotation.get("id"), **place), len(rows), stops)


class StoredColumns(SampleColumns):
    """The same of samples that stay on disk, of which none is made into a dict until it is found to be wrong."""

    masks_are_checked = True  # by whoever stored them

    def __init__(self, samples: SampleRows):
        super().__init__(samples)
        self._columns = columns = samples.annotations()
        self.rows, self.labels, self.boxes = columns.sample, columns.label, columns.bbox.copy()
        self.modes = np.full(len(columns.sample), int(BoxMode.XYWH_ABS))
        self.lacks_mask, self.keypoint_lengths = ~columns.has_mask, columns.keypoints
        self.sizes = np.stack([samples.column("width"), samples.column("height")], axis=1)[self.rows]

    rows = labels = boxes = modes = lacks_mask = keypoint_lengths = sizes = None  # attributes here, not computed ones

    @property
    def annotations(self) -> Sequence[dict]:
        return _StoredAnnotations(self.samples, self.rows)


@dataclass
class _StoredAnnotations(Sequence):
    """Annotations that are no crowds. samples: (N,) of each one its sample, ascending."""

    rows: SampleRows
    samples: np.ndarray

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> dict:
        sample = self.samples[index]
        annotations = [a for a in self.rows[sample]["annotations"] if not a.get("iscrowd", 0)]
        return annotations[index - np.searchsorted(self.samples, sample)]


def _columns_of(samples: Sequence[dict]) -> SampleColumns:
    rows = samples if isinstance(samples, SampleRows) else stored_rows(samples)
    return SampleColumns(samples) if rows is None else StoredColumns(rows)


def _is_samples(samples: Any) -> bool:
    if stored_rows(samples) is not None:
        return True
    return isinstance(samples, list) and all(isinstance(sample, dict) for sample in samples)


def _integer(value: Any) -> int:
    """The value as int; -1 for what is none."""
    return int(value) if isinstance(value, (int, np.integer)) else -1


def _side(value: Any) -> float:
    return float(value) if isinstance(value, (int, float, np.number)) and abs(value) < 2**53 else np.nan


def _four(box: Any) -> list[float]:
    try:
        values = [float(value) for value in box]
    except (TypeError, ValueError):
        values = []
    return values if len(values) == 4 else [np.nan] * 4


def check_layout(columns: SampleColumns) -> Iterator[Found]:
    """Boxes that all are something else than their `bbox_mode` says."""
    given = columns.modes == BoxMode.XYWH_ABS
    kinds = (("xyxy-boxes", looks_like_xyxy, given), ("relative-boxes", looks_relative, given | (columns.modes == 0)))
    for kind, test, rows in kinds:
        if rows.any() and (evidence := test(columns.boxes[rows], columns.sizes[rows])):
            yield Found(finding(kind, evidence), 1, True)


def check_samples(
    samples: Sequence[dict], *, masks: bool = False, keypoints: bool = False, class_count: int | None = None
) -> list[Found]:
    """What is wrong with samples of a training.

    masks, keypoints: whether the model learns them. class_count: classes of the model, None where not known.
    """
    columns = _columns_of(samples)
    found = [*check_files(samples)]
    if not columns.annotations:
        return found
    for field, rows in box_faults(columns.boxes, columns.sizes)._asdict().items():
        found += columns.found(_BOX_KINDS[field], "bbox {box}", rows, stops=False)
    absolute = (columns.modes == int(BoxMode.XYXY_ABS)) | (columns.modes == int(BoxMode.XYWH_ABS))
    wrong = absolute & ~np.isfinite(columns.boxes).all(axis=1)
    found += columns.found("not-a-number", "bbox {box}", wrong, stops=False)
    if class_count is not None:
        what = f"category_id {{category}} is none of the model's {class_count} classes, which count from 0"
        found += columns.found("unknown-category", what, columns.labels >= class_count, stops=True)
    if masks:
        found += _check_masks(columns)
    if keypoints:
        found += _check_keypoints(columns)
    return found


def check_files(samples: Sequence[dict]) -> Iterator[Found]:
    """Images that are not there."""
    rows = stored_rows(samples)
    if rows is None:
        paths = [str(sample["file_name"]) for sample in samples if "file_name" in sample]
    else:
        samples, paths = rows, rows.file_names()
    missing = missing_files(paths)
    if missing:
        first = next(sample for sample in samples if str(sample.get("file_name")) in missing)
        place = {"image_id": first.get("image_id"), "file_name": str(first["file_name"])}
        yield Found(finding("missing-image", "no such file", **place), len(missing), True)


def _check_masks(columns: SampleColumns) -> Iterator[Found]:
    lacking = columns.lacks_mask
    if lacking.any():
        what = "no annotation has a segmentation, and MODEL.MASK_ON is True"
        if not lacking.all():
            what = f"{int((~lacking).sum())} annotations have a segmentation, not this one, and MODEL.MASK_ON is True"
        yield from columns.found("missing-segmentation", what, lacking, stops=True)
    if columns.masks_are_checked:
        return
    segmentations = columns.segmentations
    types = [*map(type, segmentations)]
    lists, rows = segmentations, np.arange(len(types))
    if {*types} != {list}:
        is_list = [kind is list for kind in types]
        lists, rows = [*itertools.compress(segmentations, is_list)], np.flatnonzero(is_list)
    polygons = [*itertools.chain.from_iterable(lists)]
    rows = np.repeat(rows, [*map(len, lists)])
    length = len if {*map(type, polygons)} <= {list, tuple} else _length
    lengths = np.fromiter(map(length, polygons), np.int64, len(polygons))
    short = (lengths >= 0) & (lengths < 6)
    yield from columns.found("short-polygon", "a polygon of fewer than 3 points", rows[short], stops=True)
    yield from columns.found("odd-polygon", "a polygon of an odd number of values", rows[lengths % 2 == 1], stops=True)
    codes = np.flatnonzero([kind is dict for kind in types]) if dict in {*types} else np.zeros(0, dtype=np.int64)
    sizes = np.array([_rle_size(segmentations[row]) for row in codes], dtype=np.float64).reshape(-1, 2)
    expected = columns.sizes[codes][:, ::-1]
    wrong = (sizes != expected).any(axis=1) & np.isfinite(expected).all(axis=1)
    yield from columns.found("rle-size", "a run-length mask of another size", codes[wrong], stops=True)


def _length(polygon: Any) -> int:
    """How many numbers; -2 for what is none of our formats, which a mapper may know."""
    if isinstance(polygon, np.ndarray):
        return polygon.size
    return len(polygon) if isinstance(polygon, (list, tuple)) else -2


def _rle_size(rle: dict) -> Sequence[float]:
    size = rle.get("size")
    return size if isinstance(size, (list, tuple)) and len(size) == 2 else (np.nan, np.nan)


def _check_keypoints(columns: SampleColumns) -> Iterator[Found]:
    lengths = columns.keypoint_lengths
    present = lengths[lengths > 0]
    if not len(present):
        return
    usual = np.bincount(present).argmax()
    wrong = (lengths > 0) & (lengths != usual)
    yield from columns.found("keypoint-length", f"not the {usual} numbers that others have", wrong, stops=True)


def stop_on_faults(names: Sequence[str], found: Sequence[Found]) -> None:
    """Raises `FaultyDataset` for the first finding that stops a run; logs the others, each once in a process."""
    hint = check_command(names)
    for one in found:
        count = f"{one.count} x " if one.count > 1 else ""
        text = f"data set {' + '.join(map(repr, names))}: {count}{one.first.kind}: {one.first}{hint}"
        if one.stops:
            raise FaultyDataset(text)
        if text not in _already_logged:
            _already_logged.add(text)
            logger.warning("%s", text)


def check_command(names: Sequence[str]) -> str:
    """`; all findings: ...` with the commands for those data sets that are files; others a command does not know."""
    commands = []
    for name in names:
        metadata = MetadataCatalog.get(name)
        json_file, root = metadata.get("json_file"), metadata.get("image_root")
        if json_file and root:
            commands.append(shlex.join(["det2lite", "check", str(json_file), "--images", str(root)]))
    return f"; all findings: {' && '.join(commands)}" if commands else ""


def stop_on_layout(name: str, samples: Any) -> None:
    """Raises `FaultyDataset` where all boxes of a loaded data set are something else than they say they are."""
    if _is_samples(samples) and not _beginning_tells(samples):
        stop_on_faults([name], [*check_layout(_columns_of(samples))])


def _beginning_tells(samples: Sequence[dict]) -> bool:
    """Whether so many boxes of the first samples are right that those of all cannot be wrong; False for few samples."""
    if len(samples) < MANY_SAMPLES or stored_rows(samples) is not None:
        return False
    total = sum(len(sample.get("annotations") or ()) for sample in samples)
    columns = SampleColumns(samples[: len(samples) // 20])
    boxes, sizes = columns.boxes[columns.modes == int(BoxMode.XYWH_ABS)], columns.sizes
    if len(boxes) < len(columns.modes) or not np.isfinite(boxes).all():
        return False
    unlike_corners = np.isfinite(sizes).all(axis=1) & ~fit_as_corners(boxes, sizes)
    return unlike_corners.sum() > (1 - XYXY_SHARE) * total and boxes[np.isfinite(sizes).all(axis=1)].max() > 1


def stop_on_samples(
    names: Sequence[str],
    samples: Any,
    *,
    learns: bool,
    masks: bool = False,
    keypoints: bool = False,
    class_count: int | None = None,
) -> None:
    """`check_samples`, or for an evaluation (not `learns`) `check_files`, and what follows from it.

    Samples that are no list of dicts are left alone: their mapper is not ours.
    """
    if not _is_samples(samples):
        return
    if learns:
        found = check_samples(samples, masks=masks, keypoints=keypoints, class_count=class_count)
    else:
        found = check_files(samples)
    stop_on_faults(names, [*found])
