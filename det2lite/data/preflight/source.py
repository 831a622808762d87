"""What a user calls a data set: a JSON file, a folder, or a registered name; read in the COCO format."""

import itertools
import logging
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from det2lite.data.catalog import DatasetCatalog, MetadataCatalog
from det2lite.data.preflight.content import Content, content_of, file_name_of, read_content
from det2lite.data.preflight.findings import Finding
from det2lite.structures import BoxMode
from det2lite.utils.errors import BadValue, MissingFile, close_names

logger = logging.getLogger(__name__)


@dataclass
class Source:
    """One data set to look at. json_file: where it was read from, None where it was made from something else.

    found: what was noticed while it was read.
    """

    name: str
    content: Content
    image_root: str | None
    json_file: str | None = None
    found: list[Finding] = field(default_factory=list)


def find_source(data: str, images: str | None = None, *, need_images: bool = True) -> list[Source]:
    """The data sets that `data` names: a COCO JSON file, a folder (one for each split), or a registered name.

    images: folder that file names are relative to; looked for where it is None. need_images: raise where it is not
    found. Raises a `UserError` that says what is missing.
    """
    if images is not None and not os.path.isdir(images):
        raise MissingFile(f"{images}: no such folder of images")
    if os.path.isfile(data):
        return [_from_json(data, images, need_images)]
    if os.path.isdir(data):
        return list(_from_folder(data, images))
    if data in DatasetCatalog:
        return [_from_catalog(data, images)]
    hint = close_names(data, DatasetCatalog.list())
    raise MissingFile(f"{data}: neither a file, nor a folder, nor a registered data set{hint}")


def _from_json(path: str, images: str | None, need_images: bool) -> Source:
    content = read_content(path)
    root = images if images is not None else find_image_root(path, content)
    if root is None and need_images:
        raise MissingFile(f"{path}: its images are not beside it; say where they are: --images DIR (or --quick)")
    return Source(path, content, root, path)


def find_image_root(json_file: str, content: Content) -> str | None:
    """The folder near a JSON file in which the first of its images lie; None where there is none."""
    info = content.others.get("info")
    stated = info.get("image_root") if isinstance(info, dict) else None  # by `det2lite convert`
    path = Path(json_file)
    if isinstance(stated, str) and (path.parent / stated).is_dir():
        return str(path.parent / stated)
    names = [name for name in map(file_name_of, content.images[:20]) if name and "\0" not in name]
    own = [re.split(r"[\\/]", name)[-1] for name in names]  # without the folders that another machine had
    split = path.stem.rsplit("_", 1)[-1]  # instances_val2017.json lies in annotations/ beside val2017/
    for some, folder in itertools.product((names, own), (path.parent, path.parent.parent)):
        for below in ("", "images", split, f"images/{split}", path.stem):
            if any((folder / below / name).is_file() for name in some):
                return str(folder / below)
    return None


def _from_folder(folder: str, images: str | None) -> Iterator[Source]:
    from det2lite.data.converters import recognise_layout  # a training that checks its samples needs none of it
    from det2lite.data.converters.conversion import read_as_coco
    from det2lite.data.preflight.left_out import findings_of

    layout = recognise_layout(folder)
    logger.info("%s is %s: %s", folder, layout.title, layout.evidence)
    if layout.name == "coco":  # read as it was written: the converter refuses what is to be found here
        for ((json_file, root),) in layout.plan.jobs.values():
            yield Source(json_file, read_content(json_file), images or root, json_file)
        return
    contents, report = read_as_coco(layout, skip_broken=True, skip_unknown=True)
    left_out = [*findings_of(report)]
    for split, (content, root) in contents.items():
        name = os.path.join(folder, split)
        yield Source(name, content_of(content, name), images or root, found=left_out)
        left_out = []


def _from_catalog(name: str, images: str | None) -> Source:
    metadata = MetadataCatalog.get(name)
    json_file, root = metadata.get("json_file"), metadata.get("image_root")
    if json_file and root:
        return Source(name, read_content(json_file), images or str(root), str(json_file))
    samples = DatasetCatalog.get(name)
    if not isinstance(samples, list) or not all(isinstance(sample, dict) for sample in samples):
        raise BadValue(f"data set {name!r} is no list of dicts, which is all that can be checked")
    return Source(name, content_of_samples(samples, metadata.get("thing_classes") or []), "")


def content_of_samples(samples: list[dict], thing_classes: list[str]) -> Content:
    """Samples in the standard format as COCO content: boxes XYWH, category ids from 0, nothing corrected."""
    images, annotations = [], []
    for position, sample in enumerate(samples):
        image_id = sample.get("image_id", position)
        size = {key: sample[key] for key in ("width", "height") if key in sample}
        images.append({"id": image_id, "file_name": str(sample.get("file_name", "")), **size})
        for annotation in sample.get("annotations") or ():
            annotations.append({"id": len(annotations) + 1, "image_id": image_id, **_annotation(annotation)})
    known = [*thing_classes] or sorted({a.get("category_id") for a in annotations}, key=str)
    categories = [{"id": i if thing_classes else name, "name": str(name)} for i, name in enumerate(known)]
    return Content(images, annotations, categories, {})


def _annotation(annotation: dict) -> dict[str, Any]:
    """One annotation with plain lists; without a box where its mode cannot be had as XYWH."""
    entry = {k: v for k, v in annotation.items() if k in ("category_id", "iscrowd", "area", "num_keypoints")}
    box, mode = annotation.get("bbox"), annotation.get("bbox_mode")
    if box is not None:
        box = np.asarray(box).tolist()
        if mode == BoxMode.XYXY_ABS and isinstance(box, list) and len(box) == 4:
            box = [box[0], box[1], box[2] - box[0], box[3] - box[1]]
        entry["bbox"] = box
    segmentation = annotation.get("segmentation")
    if isinstance(segmentation, dict):
        counts = segmentation.get("counts")
        counts = counts.decode("ascii") if isinstance(counts, bytes) else counts
        entry["segmentation"] = {"size": [*segmentation.get("size", ())], "counts": counts}
    elif isinstance(segmentation, list):
        entry["segmentation"] = [np.asarray(polygon).tolist() for polygon in segmentation]
    if annotation.get("keypoints") is not None:
        flat = np.asarray(annotation["keypoints"]).reshape(-1).tolist()
        entry["keypoints"] = [v if i % 3 == 2 else v - 0.5 for i, v in enumerate(flat)]
    if "area" not in entry and len(entry.get("bbox") or ()) == 4:
        entry["area"] = area_of(entry)
    return entry


def area_of(annotation: dict) -> float:
    """Pixels of an annotation that is known to be right: of its mask, else of its box."""
    from det2lite.data.preflight.masks import outline_of, polygon_points, rle_fault

    segmentation = annotation.get("segmentation")
    if isinstance(segmentation, dict):
        pixels = rle_fault(segmentation, np.full(2, np.nan))[1]
        if pixels is not None:
            return float(pixels)
    elif segmentation:
        points = [polygon_points(polygon) for polygon in segmentation]
        outline = outline_of([p for p in points if isinstance(p, np.ndarray)])
        if outline is not None:
            return round(outline.area, 2)
    return float(annotation["bbox"][2] * annotation["bbox"][3])
