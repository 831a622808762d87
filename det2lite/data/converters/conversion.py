"""Carries a conversion out: reads every annotation, in several processes if asked, and makes COCO contents of it."""

import os
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import pycocotools.mask as mask_util

from det2lite.data.class_lists import side_by_side
from det2lite.data.converters import coco
from det2lite.data.converters.classes import settle_classes
from det2lite.data.converters.files import image_size
from det2lite.data.converters.layout import DataLayout
from det2lite.data.converters.output import (
    require_apart,
    require_free,
    require_free_folder,
    require_no_source,
    write_jsons,
)
from det2lite.data.converters.records import NO_AREA, Event, SourceImage, SourceObject
from det2lite.data.converters.report import CocoSplit, ConversionReport, SplitCounts, count_annotation, tally
from det2lite.data.converters.workers import map_in_processes
from det2lite.data.converters.write_voc import write_voc
from det2lite.data.converters.write_yolo import write_yolo
from det2lite.data.datasets.coco_loader import read_instance
from det2lite.data.datasets.coco_reader import CocoFile
from det2lite.utils.errors import BadValue, UserError

MISSING_IMAGE = "image file missing"
BROKEN_IMAGE = "image file cannot be read"
BROKEN_ANNOTATION = "broken annotation file"
DECIMALS = 3  # of coordinates: a thousandth of a pixel


class CocoContent(NamedTuple):
    """What a COCO JSON file will hold, and the folder of its images."""

    content: dict[str, Any]
    image_root: str


def convert_to_coco(
    layout: DataLayout, output_dir: str | os.PathLike, *, nproc: int = 0, class_names: list[str] | None = None,
    skip_unknown: bool = False, skip_broken: bool = False, overwrite: bool = False,
) -> ConversionReport:  # fmt: skip
    """Writes `annotations/instances_<split>.json` into a folder, all of them or none; images stay where they are.

    nproc: processes that read; 0 for this one alone. class_names: the classes in their order, where the source's own
    will not do. skip_unknown: leave out objects of other classes, which else are an error. skip_broken: leave out
    annotation files that cannot be read. A layout that is COCO is not converted: the report points to its files.
    """
    if layout.name == "coco":
        return _report_of_coco(layout)
    paths = {s: os.path.join(os.fspath(output_dir), "annotations", f"instances_{s}.json") for s in layout.splits}
    require_free(paths.values(), overwrite)
    require_no_source(paths.values(), layout.folder)
    contents, report = read_as_coco(
        layout, nproc=nproc, class_names=class_names, skip_unknown=skip_unknown, skip_broken=skip_broken
    )
    return write_coco(contents, report, paths)


def convert(
    layout: DataLayout, output: str | os.PathLike, *, to: str = "coco", polygons: bool = False, images: str = "link",
    overwrite: bool = False, **options: Any,
) -> ConversionReport:  # fmt: skip
    """Converts to "coco", "yolo" or "voc". output: a folder; for COCO of one split also a .json file.

    polygons: for YOLO, rather than boxes. images: "link" or "copy", for YOLO and VOC. options: see `convert_to_coco`.
    """
    output = os.fspath(output)
    if layout.name == to:
        raise BadValue(f"{layout.folder} is {layout.title} already; give another --to, or --from if it is not")
    if layout.name == "folder" and not options.get("class_names"):
        raise BadValue(f"{layout.folder}: images without annotations have no classes; give --classes names.txt")
    if to == "coco":
        if not output.lower().endswith(".json"):
            return convert_to_coco(layout, output, overwrite=overwrite, **options)
        if len(layout.splits) > 1:
            raise BadValue(f"--output {output}: the splits {', '.join(layout.splits)} need a folder, not one file")
        require_free([output], overwrite)
        require_no_source([output], layout.folder)
        contents, report = read_as_coco(layout, **options)
        return write_coco(contents, report, dict.fromkeys(contents, output))
    require_apart(output, layout.folder)
    require_free_folder(output, overwrite)
    is_coco = layout.name == "coco"
    if is_coco and options.get("class_names"):
        raise BadValue(f"{layout.folder}: COCO files bring their own categories; leave --classes out")
    contents, report = _contents_of_coco(layout, checked=True) if is_coco else read_as_coco(layout, **options)
    if to == "yolo":
        write_yolo(contents, report, output, polygons=polygons, images=images, overwrite=overwrite)
    else:
        write_voc(contents, report, output, images=images, overwrite=overwrite)
    return report


def write_coco(contents: dict[str, CocoContent], report: ConversionReport, paths: dict[str, str]) -> ConversionReport:
    """Writes the contents of all splits to their paths and enters these into the report."""
    files = {}
    for split, (content, root) in contents.items():
        folder = os.path.dirname(os.path.abspath(paths[split]))
        info = {"description": f"{coco.MADE_FROM}{report.source}"}
        info["image_root"] = coco.note_image_root(root, folder, report.folder)
        files[paths[split]] = {"info": info, **content}  # at the beginning, where it is found without reading all
        report.splits[split] = CocoSplit(os.path.abspath(paths[split]), root)
    write_jsons(files)
    return report


def read_as_coco(
    layout: DataLayout, *, nproc: int = 0, class_names: list[str] | None = None, skip_unknown: bool = False,
    skip_broken: bool = False,
) -> tuple[dict[str, CocoContent], ConversionReport]:  # fmt: skip
    """The splits of a data set as contents of COCO JSON, nothing being written. Options: see `convert_to_coco`."""
    if layout.name == "coco":
        return _contents_of_coco(layout)
    report = ConversionReport(f"{layout.title} in {layout.folder}", layout.folder)
    tally(report.skipped, layout.plan.skipped)
    tally(report.notes, layout.plan.notes)
    read_of: dict[str, list[SourceImage]] = {split: [] for split in layout.splits}
    todo = [(layout.plan.read, job, skip_broken) for jobs in layout.plan.jobs.values() for job in jobs]
    splits = [split for split, jobs in layout.plan.jobs.items() for _ in jobs]
    for split, (found, broken) in zip(splits, map_in_processes(_read_one, todo, nproc), strict=True):
        read_of[split] += found
        tally(report.skipped, [Event(BROKEN_ANNOTATION, broken)] if broken else [])
    named = {image.path for images in read_of.values() for image in images}
    images_of = {split: _usable(images, report) for split, images in read_of.items()}
    if not any(images_of.values()):
        raise report.nothing()
    _count_images_left_over(layout, named, report)
    images = [image for of_split in images_of.values() for image in of_split]
    report.class_names = settle_classes(layout.plan, images, class_names, skip_unknown, report)
    contents = {}
    for split, images in images_of.items():
        contents[split] = _content(images, report, layout.folder)
        report.counts[split] = count_content(contents[split].content)
    return contents, report


def _read_one(todo: tuple[Callable, Any, bool]) -> tuple[list[SourceImage], str | None]:
    read, job, skip_broken = todo
    try:
        return [_measured(image) for image in read(job)], None
    except UserError as error:
        if not skip_broken:
            raise
        return [], str(error)


def _measured(image: SourceImage) -> SourceImage:
    """Reads the image's size where that is not done, and moves objects that cannot be used to `skipped`."""
    name = os.path.basename(image.path)
    if image.size is None:
        try:
            image.size = image_size(image.path)
        except (FileNotFoundError, NotADirectoryError):
            return _without_image(image, MISSING_IMAGE)
        except Exception:  # decoders meet broken headers with errors of any kind
            return _without_image(image, BROKEN_IMAGE)
    width, height = image.size
    if image.stated not in (None, image.size):
        image.note("size in the annotation is not that of the image", f"{name}: {image.stated}, image {image.size}")
    kept = []
    for found in image.objects:
        x0, y0, x1, y1 = found.box = tuple(round(v, DECIMALS) for v in found.box)
        if x1 <= x0 or y1 <= y0:
            image.skip(NO_AREA, f"{name}: {found.class_name} {list(found.box)}")
            continue
        if x0 < 0 or y0 < 0 or x1 > width or y1 > height:
            image.note("reaches beyond the image, kept so", f"{name}: {found.class_name} {list(found.box)}")
        if isinstance(found.segmentation, dict) and found.segmentation["size"] != [height, width]:
            image.note("mask of another size than the image, left out", name)
            found.segmentation = None
        kept.append(found)
    image.objects = kept
    return image


def _without_image(image: SourceImage, kind: str) -> SourceImage:
    """Only its events are left."""
    count = len(image.objects)
    image.skip(kind, image.path)
    if count:
        image.skip(f"object of an {kind}", image.path, count)
    image.objects, image.size = [], None
    return image


def _usable(images: Iterable[SourceImage], report: ConversionReport) -> list[SourceImage]:
    """Images that can be read, by file name; those that several annotations name are put together."""
    by_path: dict[str, SourceImage] = {}
    for image in images:
        tally(report.skipped, image.skipped)
        tally(report.notes, image.notes)
        if image.size is None:
            continue
        if image.path in by_path:
            tally(report.notes, [Event("image annotated more than once, objects put together", image.path)])
            by_path[image.path].objects += image.objects
        else:
            by_path[image.path] = image
    return [by_path[path] for path in sorted(by_path)]


def _count_images_left_over(layout: DataLayout, named: set[str], report: ConversionReport) -> None:
    """Images beside the annotated ones that no annotation names."""
    folders = {os.path.dirname(path) for path in named}
    for path in layout.images:
        if path not in named and os.path.dirname(path) in folders:
            tally(report.skipped, [Event("image without annotation", path)])


def _content(images: list[SourceImage], report: ConversionReport, folder: str) -> CocoContent:
    """Image ids follow file names, from 1."""
    category_of = {name: number for number, name in enumerate(report.class_names, 1)}
    folders = {os.path.dirname(image.path) for image in images}
    root = os.path.commonpath(folders) if folders else folder
    entries, annotations = [], []
    for image_id, image in enumerate(images, 1):
        width, height = image.size
        file_name = os.path.relpath(image.path, root).replace(os.sep, "/")
        entries.append({"id": image_id, "file_name": file_name, "width": width, "height": height})
        for found in image.objects:
            entry = {"id": len(annotations) + 1, "image_id": image_id, "category_id": category_of[found.class_name]}
            annotations.append(entry | annotation_of(found))
    categories = [{"id": number, "name": name} for name, number in category_of.items()]
    content = {"images": entries, "annotations": annotations, "categories": categories}
    return CocoContent(content, root)


def annotation_of(found: SourceObject) -> dict[str, Any]:
    """Box, area, mask and further keys as a COCO annotation has them."""
    x0, y0, x1, y1 = found.box
    box = [round(v, DECIMALS) for v in (x0, y0, x1 - x0, y1 - y0)]
    entry = {"bbox": box, "area": box[2] * box[3], "iscrowd": found.iscrowd}
    if isinstance(found.segmentation, dict):
        entry |= {"segmentation": found.segmentation, "area": float(mask_util.area(found.segmentation))}
    elif found.segmentation:
        polygons = [[round(v, DECIMALS) for v in polygon] for polygon in found.segmentation]
        entry |= {"segmentation": polygons, "area": sum(map(polygon_area, polygons))}
    return found.extra | entry


def polygon_area(polygon: list[float]) -> float:
    xs, ys = polygon[0::2], polygon[1::2]
    twice = sum(x * y1 - x1 * y for x, y, x1, y1 in zip(xs, ys, xs[1:] + xs[:1], ys[1:] + ys[:1], strict=True))
    return abs(twice) / 2


def count_content(content: dict[str, Any]) -> SplitCounts:
    counts = SplitCounts(len(content["images"]))
    for annotation in content["annotations"]:
        count_annotation(counts, annotation)
    return counts


def _contents_of_coco(layout: DataLayout, checked: bool = False) -> tuple[dict[str, CocoContent], ConversionReport]:
    """checked: annotations too, each of which is looked at anyway where it is written in another format."""
    report = ConversionReport(f"{layout.title} in {layout.folder}", layout.folder)
    contents = {}
    for split, ((json_path, root),) in layout.plan.jobs.items():
        file = CocoFile(json_path)
        if checked:
            _check(file)
        annotations = [a for image in file.images for a in file.annotations[image["id"]]]
        content = {"images": file.images, "annotations": annotations, "categories": file.categories}
        contents[split] = CocoContent(content, root)
        report.counts[split] = count_content(content)
        names = [category["name"] for category in file.categories]
        report.class_names = report.class_names or names
        if names != report.class_names:
            lists = side_by_side(next(iter(contents)), report.class_names, split, names)
            raise BadValue(f"{json_path}: its categories are not those of the other splits\n{lists}")
    return contents, report


def _check(file: CocoFile) -> None:
    """Raises `BadValue`, or `UnknownCategory`, for an annotation that cannot be read."""
    for what, entries, key in (("image", file.images, "file_name"), ("category", file.categories, "name")):
        for entry in entries:
            if not isinstance(entry[key], str) or "\0" in entry[key]:
                raise BadValue(f"{file.path}: {what} {entry['id']}: {key!r} must be text")
    known = file.category_index()
    for image in file.images:
        if not all(image[side] < 1 << 31 for side in ("width", "height")):
            raise BadValue(f"{file.path}: image {image['id']}: width and height must be numbers of pixels")
        for annotation in file.annotations[image["id"]]:
            if annotation["category_id"] not in known:
                raise file.unknown_category(annotation)
            read_instance(annotation, [image["height"], image["width"]], file, ["bbox"])


def _report_of_coco(layout: DataLayout) -> ConversionReport:
    _, report = _contents_of_coco(layout)
    jobs: dict[str, list[coco.CocoJob]] = layout.plan.jobs
    report.splits = {split: CocoSplit(*job) for split, (job,) in jobs.items()}
    return report
