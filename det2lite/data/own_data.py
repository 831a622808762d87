"""A data set in a folder of any known layout, made ready for training or evaluation as COCO files."""

import os
import random
from typing import NamedTuple

from det2lite.data.class_lists import side_by_side
from det2lite.data.converters.conversion import CocoContent, count_content, read_as_coco, write_coco
from det2lite.data.converters.layout import DataLayout, recognise_layout
from det2lite.data.converters.report import CocoSplit, ConversionReport, SplitCounts
from det2lite.utils.errors import BadValue, UnknownName

VAL_SHARE = 0.2  # of the images, where a data set has no split for validation
FOLDER = "converted"
"""Where in the folder of a run the COCO files go that were made for it."""


class OwnSplit(NamedTuple):
    """A split: its name in the source, its COCO file and image folder, and how much is in it."""

    name: str
    files: CocoSplit
    counts: SplitCounts


class OwnData(NamedTuple):
    """What a folder became. story: lines that say what was recognised, converted, left out and split."""

    train: OwnSplit
    val: OwnSplit
    class_names: list[str]
    story: list[str]


def prepare_training_data(
    folder: str | os.PathLike, output_dir: str, *, val_folder: str | os.PathLike | None = None, seed: int = 0,
    nproc: int = 0,
) -> OwnData:  # fmt: skip
    """Recognises a data set and has its splits for training and validation as COCO files; images stay where they are.

    COCO files that are there are used as they are; others are written to `output_dir`/converted, replacing only what an
    earlier call wrote. val_folder: the validation split, where it lies elsewhere. seed: of the images that become the
    validation split where there is none. nproc: processes that read. Raises a `UserError` that says what is wrong.
    """
    layout = recognise_layout(folder)
    contents, report = read_as_coco(layout, nproc=nproc)
    story = [f"{layout.folder}: {layout.title}, known by {layout.evidence}"]
    train = _training_split(layout)
    val = None if val_folder else layout.split_for("val")
    if val in (None, train):
        val = "val" if train != "val" else "validation"
        if val_folder:
            contents[val], lines = _elsewhere(val_folder, report.class_names, nproc)
            story += lines
        else:
            contents[train], contents[val] = split_content(contents[train], VAL_SHARE, seed)
            story.append(
                f"there is no split for validation: {VAL_SHARE:.0%} of the images of {train!r} are (seed {seed})"
            )
        is_as_it_was = False
    else:
        is_as_it_was = layout.name == "coco"
    story += _skipped(report)
    chosen = {name: contents[name] for name in (train, val)}
    files = _files_there(layout, chosen) if is_as_it_was else _written(chosen, report, output_dir)
    splits = [OwnSplit(name, files[name], count_content(chosen[name].content)) for name in (train, val)]
    for what, split in zip(("training", "validation"), splits, strict=True):
        if not split.counts.images:
            raise BadValue(f"{layout.folder}: no image for {what} in split {split.name!r}")
        story.append(
            f"{what}: {split.counts.images} images with {split.counts.annotations} objects ({split.files.json_path})"
        )
    names = report.class_names
    story.append(
        f"{len(names)} class{'es' * (len(names) != 1)}: {', '.join(names[:20])}{', ...' if len(names) > 20 else ''}"
    )
    return OwnData(*splits, names, story)


def prepare_test_data(
    folder: str | os.PathLike, output_dir: str, *, class_names: list[str] | None = None, nproc: int = 0
) -> tuple[OwnSplit, list[str]]:
    """The split to evaluate on, validation before test before all there is, and lines that say what was done.

    class_names: the classes of the model, in its order; those of the data have to be among them.
    """
    layout = recognise_layout(folder)
    name = layout.split_for("val") or layout.split_for("test") or layout.splits[-1]
    contents, report = _in_classes_of_model(layout, class_names, nproc)
    chosen = {name: contents[name]}
    files = _files_there(layout, chosen) if layout.name == "coco" else _written(chosen, report, output_dir)
    counts = count_content(chosen[name].content)
    story = [f"{layout.folder}: {layout.title}, known by {layout.evidence}", *_skipped(report)]
    story.append(f"split {name!r}: {counts.images} images with {counts.annotations} objects")
    return OwnSplit(name, files[name], counts), story


def _training_split(layout: DataLayout) -> str:
    name = layout.split_for("train") or ("trainval" if "trainval" in layout.splits else None)
    if name is None and len(layout.splits) == 1:
        name = layout.splits[0]
    if name is None:
        raise BadValue(
            f"{layout.folder}: which of its splits ({', '.join(layout.splits)}) is for training? Call it train"
        )
    return name


def _elsewhere(folder: str | os.PathLike, class_names: list[str], nproc: int) -> tuple[CocoContent, list[str]]:
    """The validation split of another folder, in the classes of the training."""
    layout = recognise_layout(folder)
    contents, report = _in_classes_of_model(layout, class_names, nproc)
    if report.class_names != class_names:
        raise BadValue(
            f"{layout.folder} has other classes than the training data, or another order; both need the same\n"
            + side_by_side("training", class_names, str(layout.folder), report.class_names)
        )
    name = layout.split_for("val") or layout.splits[-1]
    return contents[name], [f"{layout.folder}: {layout.title}, {name!r} is for validation", *_skipped(report)]


def _in_classes_of_model(
    layout: DataLayout, class_names: list[str] | None, nproc: int
) -> tuple[dict[str, CocoContent], ConversionReport]:
    """The contents, their classes in the order of `class_names`; COCO files keep their own, which are checked later."""
    try:
        return read_as_coco(layout, nproc=nproc, class_names=None if layout.name == "coco" else class_names)
    except UnknownName:
        _, theirs = read_as_coco(layout, nproc=nproc)
        raise BadValue(
            f"{layout.folder} has classes that the model does not know; take data of the model's classes\n"
            + side_by_side("the model", class_names or [], str(layout.folder), theirs.class_names)
        ) from None


def split_content(content: CocoContent, share: float, seed: int) -> tuple[CocoContent, CocoContent]:
    """Two parts of a COCO content, the second with `share` of the images, at least one; which ones the seed says."""
    images = content.content["images"]
    if len(images) < 2:
        raise BadValue(f"{len(images)} image is not enough to be split for training and validation; add images")
    order = list(range(len(images)))
    random.Random(seed).shuffle(order)
    chosen = set(order[: min(max(1, round(share * len(images))), len(images) - 1)])
    parts = []
    for wanted in (False, True):
        kept = [image for index, image in enumerate(images) if (index in chosen) == wanted]
        ids = {image["id"] for image in kept}
        annotations = [a for a in content.content["annotations"] if a["image_id"] in ids]
        part = {**content.content, "images": kept, "annotations": annotations}
        parts.append(CocoContent(part, content.image_root))
    return parts[0], parts[1]


def _files_there(layout: DataLayout, chosen: dict[str, CocoContent]) -> dict[str, CocoSplit]:
    return {name: CocoSplit(*map(os.path.abspath, layout.plan.jobs[name][0])) for name in chosen}


def _written(chosen: dict[str, CocoContent], report: ConversionReport, output_dir: str) -> dict[str, CocoSplit]:
    folder = os.path.join(os.path.abspath(output_dir), FOLDER)
    write_coco(chosen, report, {name: os.path.join(folder, f"{name}.json") for name in chosen})
    return {
        name: CocoSplit(files.json_path, os.path.abspath(files.image_root)) for name, files in report.splits.items()
    }


def _skipped(report: ConversionReport) -> list[str]:
    return [f"left out: {kind}, {entry.count} times, as {entry.examples[0]}" for kind, entry in report.skipped.items()]
