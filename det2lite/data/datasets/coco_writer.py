"""Writing any registered data set in the COCO format, for evaluators and for other tools."""

import datetime
import json
import logging
import os
import tempfile
from typing import Any

import numpy as np
import pycocotools.mask as mask_util

from det2lite.data.catalog import DatasetCatalog, MetadataCatalog
from det2lite.structures import Boxes, BoxMode, PolygonMasks
from det2lite.utils.errors import BadValue
from det2lite.utils.file_io import PathManager

logger = logging.getLogger(__name__)


def convert_to_coco_dict(dataset_name: str) -> dict[str, Any]:
    """A registered data set as the content of a COCO JSON file, with the category ids of the original data set."""
    samples = DatasetCatalog.get(dataset_name)
    metadata = MetadataCatalog.get(dataset_name)
    original = {i: c for c, i in (metadata.get("thing_dataset_id_to_contiguous_id") or {}).items()}
    category_id = original.__getitem__ if original else int
    categories = [{"id": category_id(i), "name": name} for i, name in enumerate(metadata.thing_classes)]
    images, annotations = [], []
    for number, sample in enumerate(samples):
        image_id = sample.get("image_id", number)
        images.append(
            {
                "id": image_id,
                "width": int(sample["width"]),
                "height": int(sample["height"]),
                "file_name": str(sample["file_name"]),
            }
        )
        for instance in sample.get("annotations", []):
            entry = {"id": len(annotations) + 1, "image_id": image_id, **_coco_annotation(instance)}
            entry["category_id"] = category_id(entry["category_id"])
            annotations.append(entry)
    logger.info("%s as COCO: %d images, %d annotations", dataset_name, len(images), len(annotations))
    return {
        "info": {
            "date_created": str(datetime.datetime.now()),
            "description": f"{dataset_name}, written by det2lite in the COCO format",
        },
        "images": images,
        "categories": categories,
        "licenses": None,
        "annotations": annotations,
    }


def _coco_annotation(instance: dict) -> dict[str, Any]:
    """One instance of the standard format as a COCO annotation, still with its contiguous category."""
    box = instance["bbox"]
    box = np.asarray(box, dtype=np.float64)
    if box.ndim != 1 or len(box) not in (4, 5):
        raise BadValue(f"bbox {box.tolist()} must have 4 numbers, or 5 with an angle")
    mode = BoxMode.XYWH_ABS if len(box) == 4 else BoxMode.XYWHA_ABS
    box = [float(v) for v in BoxMode.convert(box.tolist(), instance["bbox_mode"], mode)]
    entry = {"bbox": [round(v, 3) for v in box], "iscrowd": int(instance.get("iscrowd", 0))}
    entry["category_id"] = int(instance["category_id"])
    segmentation = instance.get("segmentation")
    if segmentation is None:
        entry["area"] = box[2] * box[3] if mode == BoxMode.XYWHA_ABS else _box_area(box)
    else:
        entry["segmentation"], entry["area"] = _coco_segmentation(segmentation)
    if "keypoints" in instance:
        points = [float(v) for v in np.asarray(instance["keypoints"], dtype=np.float64).reshape(-1)]
        entry["keypoints"] = [v if i % 3 == 2 else v - 0.5 for i, v in enumerate(points)]
        entry["num_keypoints"] = int(instance.get("num_keypoints", sum(v > 0 for v in points[2::3])))
    return entry


def _box_area(box_xywh: list[float]) -> float:
    return Boxes([BoxMode.convert(box_xywh, BoxMode.XYWH_ABS, BoxMode.XYXY_ABS)]).area()[0].item()


def _coco_segmentation(segmentation: list | dict) -> tuple[list | dict, float]:
    """The mask as JSON takes it, and its area in pixels."""
    if isinstance(segmentation, dict):
        if isinstance(segmentation["counts"], list):
            segmentation = mask_util.frPyObjects(segmentation, *segmentation["size"])
        area = float(mask_util.area(segmentation))
        counts = segmentation["counts"]
        counts = counts.decode("ascii") if isinstance(counts, bytes) else counts
        return {"size": [int(v) for v in segmentation["size"]], "counts": counts}, area
    if isinstance(segmentation, list):
        polygons = [np.asarray(polygon, dtype=np.float64).reshape(-1) for polygon in segmentation]
        return [polygon.tolist() for polygon in polygons], float(PolygonMasks([polygons]).area()[0].item())
    raise TypeError(f"a segmentation is a list of polygons or a run-length mask, not {type(segmentation).__name__}")


def convert_to_coco_json(dataset_name: str, output_file: str | os.PathLike, allow_cached: bool = True) -> None:
    """Writes a registered data set as a COCO JSON file, whole or not at all.

    allow_cached: leave a file that is there as it is; pass False when the data set may have changed since.
    """
    output_file = os.fspath(output_file)
    if allow_cached and PathManager.exists(output_file):
        logger.warning("using %s, written earlier; remove it if data set %s has changed", output_file, dataset_name)
        return
    content = convert_to_coco_dict(dataset_name)
    folder = os.path.dirname(output_file) or "."
    PathManager.mkdirs(folder)
    descriptor, temporary = tempfile.mkstemp(dir=folder, prefix=os.path.basename(output_file), suffix=".tmp")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(content, file)
        os.replace(temporary, output_file)
    except BaseException:
        os.unlink(temporary)
        raise
