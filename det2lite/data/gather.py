"""The samples of named data sets as one list: loaded, filtered, given proposals, checked and counted."""

import itertools
import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
from tabulate import tabulate
from torch.utils.data import ConcatDataset, Dataset, IterableDataset

from det2lite.data.catalog import DatasetCatalog, MetadataCatalog
from det2lite.data.preflight.samples import stop_on_layout
from det2lite.data.sample_store import SampleRows, StoredSamples, stored_rows
from det2lite.structures import BoxMode
from det2lite.utils.errors import BadValue, MissingFile, UserError
from det2lite.utils.file_io import PathManager
from det2lite.utils.safe_pickle import load_pickle

logger = logging.getLogger(__name__)


class NoSamples(UserError, AssertionError):
    """A data set without samples, or none left after filtering."""


class CategoryOutOfRange(UserError, AssertionError):
    """An annotation's category is not one of the data set's classes."""


def filter_images_with_only_crowd_annotations(dataset_dicts: list[dict]) -> list[dict]:
    """The images that have at least one annotation which is not a crowd."""
    rows = stored_rows(dataset_dicts)
    if rows is not None:
        kept = StoredSamples(rows.selected(rows.column("usable") > 0))
    else:
        kept = [d for d in dataset_dicts if any(ann.get("iscrowd", 0) == 0 for ann in d.get("annotations", ()))]
    logger.info("removed %d images without usable annotations, %d left", len(dataset_dicts) - len(kept), len(kept))
    return kept


def filter_images_with_few_keypoints(dataset_dicts: list[dict], min_keypoints_per_image: int) -> list[dict]:
    """The images whose annotations have at least so many labelled keypoints together."""

    def labelled(sample: dict) -> int:
        keypoints = [ann["keypoints"] for ann in sample.get("annotations", ()) if "keypoints" in ann]
        return sum(int((np.asarray(k).reshape(-1)[2::3] > 0).sum()) for k in keypoints)

    rows = stored_rows(dataset_dicts)
    if rows is not None:
        kept = StoredSamples(rows.selected(rows.column("labelled") >= min_keypoints_per_image))
    else:
        kept = [d for d in dataset_dicts if labelled(d) >= min_keypoints_per_image]
    logger.info(
        "removed %d images with fewer than %d keypoints, %d left",
        len(dataset_dicts) - len(kept), min_keypoints_per_image, len(kept),
    )  # fmt: skip
    return kept


def load_proposals_into_dataset(dataset_dicts: list[dict], proposal_file: str) -> list[dict]:
    """Adds precomputed proposals to each sample, highest score first.

    proposal_file: pickle of a dict with "ids", "boxes" [(R, 4)], "objectness_logits" [(R,)] and "bbox_mode", one entry
    an image; "indexes" and "scores" are older names. Sets `proposal_boxes`, `proposal_objectness_logits` and
    `proposal_bbox_mode` of each sample, in place, and returns the list.
    """
    if not PathManager.isfile(proposal_file):
        raise MissingFile(f"{proposal_file}: no such proposal file; check DATASETS.PROPOSAL_FILES_TRAIN and _TEST")
    with PathManager.open(proposal_file, "rb") as file:
        proposals = load_pickle(file)
    keys = ("ids", "indexes"), ("boxes",), ("objectness_logits", "scores")
    columns = [next((proposals[k] for k in names if k in proposals), None) for names in keys]
    if any(column is None for column in columns):
        raise BadValue(f"{proposal_file}: needs the entries ids, boxes and objectness_logits; has {sorted(proposals)}")
    ids, boxes, logits = columns
    if not len(ids) == len(boxes) == len(logits):
        counts = f"{len(ids)} ids, {len(boxes)} arrays of boxes, {len(logits)} of logits"
        raise BadValue(f"{proposal_file}: {counts}; it needs one of each for an image, so write the file again")
    row_of = {str(image_id): row for row, image_id in enumerate(ids)}
    mode = BoxMode(int(proposals.get("bbox_mode", BoxMode.XYXY_ABS)))
    for sample in dataset_dicts:
        row = row_of.get(str(sample["image_id"]))
        if row is None:
            raise BadValue(f"{proposal_file}: no proposals for image {sample['image_id']}; made for another data set?")
        order = np.asarray(logits[row]).argsort()[::-1]
        sample["proposal_boxes"] = np.asarray(boxes[row])[order]
        sample["proposal_objectness_logits"] = np.asarray(logits[row])[order]
        sample["proposal_bbox_mode"] = mode
    return dataset_dicts


def check_metadata_consistency(key: str, dataset_names: Sequence[str]) -> None:
    """Raises `BadValue` where data sets to be used together do not agree on the metadata `key`."""
    values = [MetadataCatalog.get(name).get(key) for name in dataset_names]
    for name, value in zip(dataset_names, values, strict=True):
        if value != values[0]:
            raise BadValue(
                f"data sets {dataset_names[0]!r} and {name!r} cannot be used together: they differ in {key!r} "
                f"({_brief(values[0])}; {_brief(value)})"
            )


def _brief(value: Any) -> str:
    return f"{len(value)}: {', '.join(map(str, value[:5]))}, ..." if isinstance(value, (list, tuple)) else str(value)


def _class_counts(dataset_dicts: Sequence[dict], num_classes: int) -> np.ndarray:
    """(K,) annotations of each class, crowds left out."""
    rows = stored_rows(dataset_dicts)
    if rows is not None:
        labels = rows.annotations().label
        if not len(labels) or 0 <= labels.min() <= labels.max() < num_classes:
            return np.bincount(labels, minlength=num_classes)
        dataset_dicts = rows
    of_samples = [sample.get("annotations", ()) for sample in dataset_dicts]
    flat = [a["category_id"] for annotations in of_samples for a in annotations if not a.get("iscrowd", 0)]
    labels = np.asarray(flat, dtype=int)
    if len(labels) and (labels.min() < 0 or labels.max() >= num_classes):
        raise _out_of_range(dataset_dicts, num_classes)
    return np.bincount(labels, minlength=num_classes)


def _out_of_range(dataset_dicts: Sequence[dict], num_classes: int) -> CategoryOutOfRange:
    """What is said of the first annotation of a class that there is not."""
    file_name, wrong = next(
        (sample.get("file_name", "a sample"), annotation["category_id"])
        for sample in dataset_dicts
        for annotation in sample.get("annotations", ())
        if not annotation.get("iscrowd", 0) and not 0 <= int(annotation["category_id"]) < num_classes
    )
    return CategoryOutOfRange(
        f"{file_name}: category_id {wrong} in a data set of {num_classes} classes; category_id counts from 0 to the "
        "number of classes - 1"
    )


def print_instances_class_histogram(dataset_dicts: list[dict], class_names: Sequence[str]) -> None:
    """Logs how many instances each class has, crowds left out; a category outside the classes is an error."""
    counts = _class_counts(dataset_dicts, len(class_names))
    cells = [cell if len(cell) <= 13 else f"{cell[:11]}.." for cell in map(str, class_names)]
    pairs = [*zip(cells, counts.tolist(), strict=True)]
    if len(pairs) > 1:
        pairs.append(("total", int(counts.sum())))
    columns = min(3, len(pairs)) or 1
    rows = [list(itertools.chain.from_iterable(pairs[i : i + columns])) for i in range(0, len(pairs), columns)]
    headers = ["category", "#instances"] * columns
    logger.info(
        "instances of all %d categories:\n%s",
        len(class_names), tabulate(rows, headers=headers, tablefmt="pipe", numalign="left", stralign="center"),
    )  # fmt: skip


def _as_torch_dataset(datasets: list[Any], names: list[str]) -> Dataset:
    if len(datasets) == 1:
        return datasets[0]
    if any(isinstance(d, IterableDataset) or not isinstance(d, Dataset) for d in datasets):
        raise BadValue(f"{', '.join(names)}: iterable data sets and lists cannot be joined with others; train on one")
    return ConcatDataset(datasets)


def _joined(datasets: Sequence[list[dict]]) -> list[dict]:
    rows = [stored_rows(dicts) for dicts in datasets]
    if any(part is None for part in rows):
        return list(itertools.chain.from_iterable(datasets))
    return StoredSamples(SampleRows.joined(rows))


def get_detection_dataset_dicts(
    names: str | Sequence[str],
    filter_empty: bool = True,
    min_keypoints: int = 0,
    proposal_files: Sequence[str] | None = None,
    check_consistency: bool = True,
) -> list[dict] | Dataset:
    """The samples of one or several registered data sets.

    filter_empty: leave out images without annotations, or with crowds only. min_keypoints: leave out images with fewer
    labelled keypoints. proposal_files: one for each name. check_consistency: data sets must agree on `thing_classes`.
    Returns a list of dicts in the standard format, or a torch data set where one is registered.
    """
    names = [names] if isinstance(names, str) else list(names)
    if not names:
        raise NoSamples("no data set is named; set DATASETS.TRAIN and DATASETS.TEST to registered names")
    datasets = [DatasetCatalog.get(name) for name in names]
    if any(isinstance(d, Dataset) for d in datasets):
        return _as_torch_dataset(datasets, names)
    for name, dicts in zip(names, datasets, strict=True):
        if not len(dicts):
            raise NoSamples(f"data set {name!r} is empty: its loader returned no images")
        stop_on_layout(name, dicts)
    if proposal_files is not None:
        if len(proposal_files) != len(names):
            raise BadValue(f"{len(names)} data sets but {len(proposal_files)} proposal files: give one for each")
        datasets = [load_proposals_into_dataset(d, f) for d, f in zip(datasets, proposal_files, strict=True)]
    dataset_dicts = _joined(datasets)
    loaded = len(dataset_dicts)
    if stored_rows(dataset_dicts) is not None or "annotations" in dataset_dicts[0]:
        if filter_empty:
            dataset_dicts = filter_images_with_only_crowd_annotations(dataset_dicts)
        if min_keypoints > 0:
            dataset_dicts = filter_images_with_few_keypoints(dataset_dicts, min_keypoints)
        class_names = MetadataCatalog.get(names[0]).get("thing_classes")
        if check_consistency and class_names is not None:
            check_metadata_consistency("thing_classes", names)
            print_instances_class_histogram(dataset_dicts, class_names)
    if not dataset_dicts:
        few = f", or fewer than MODEL.ROI_KEYPOINT_HEAD.MIN_KEYPOINTS_PER_IMAGE = {min_keypoints} keypoints"
        raise NoSamples(
            f"{', '.join(names)}: none of the {loaded} images is left to use: they have no annotations but crowds"
            f"{few if min_keypoints > 0 else ''}; DATALOADER.FILTER_EMPTY_ANNOTATIONS False keeps empty images"
        )
    return dataset_dicts
