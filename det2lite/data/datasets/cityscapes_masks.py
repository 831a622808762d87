"""The things of one Cityscapes image, from its polygons or from its map of instance ids."""

import os
from typing import Any

import cv2
import numpy as np
import pycocotools.mask as mask_util
import shapely

from det2lite.data.datasets.cityscapes_classes import CATEGORIES, IGNORED_LABELS, UNPAINTED_LABEL
from det2lite.data.datasets.cityscapes_files import CityscapesFiles, read_annotation
from det2lite.data.image_io import read_image
from det2lite.structures import BoxMode
from det2lite.utils.errors import BadValue, close_names

# label ids and names of the things, and their classes
_CLASS_OF_ID = {c[0]: i for i, c in enumerate(c for c in CATEGORIES if c[2])}
_CLASS_OF_NAME = {c[1]: i for i, c in enumerate(c for c in CATEGORIES if c[2])}
_KNOWN_LABELS = {c[1] for c in CATEGORIES}.union(IGNORED_LABELS, [UNPAINTED_LABEL])


def _sample(files: CityscapesFiles, height: int, width: int, instances: list[dict]) -> dict:
    name = os.path.basename(files.image)
    return {"file_name": files.image, "image_id": name, "height": height, "width": width, "annotations": instances}


def instances_of_polygons(files: CityscapesFiles) -> dict:
    """The image's sample; of each thing the part that no later polygon paints over."""
    content = read_annotation(files.polygons)
    labels, polygons = [], []
    for entry in content["objects"]:  # in the order of painting
        label, is_group = _read_label(entry, files.polygons)
        if label == UNPAINTED_LABEL or entry.get("deleted"):
            continue
        try:
            # vertices are indices of pixels; a polygon that crosses itself is filled by the even-odd rule, as painted
            polygon = shapely.make_valid(shapely.Polygon(np.asarray(entry["polygon"], dtype=np.float32) + 0.5))
        except (KeyError, TypeError, ValueError, shapely.errors.ShapelyError) as error:
            raise BadValue(f"{files.polygons}: a {label} has no polygon of points x, y ({error})") from None
        labels.append((label, is_group))
        polygons.append(polygon)
    painted = np.array(polygons, dtype=object)
    instances = []
    for number, (label, is_group) in reversed([*enumerate(labels)]):
        if label in _CLASS_OF_NAME:
            visible = _visible_part(painted, number)
            if visible.area > 0:
                instances.append(_polygon_instance(visible, _CLASS_OF_NAME[label], is_group))
    return _sample(files, content["imgHeight"], content["imgWidth"], instances)


def _read_label(entry: dict, path: str) -> tuple[str, bool]:
    """The label, and whether it is of a group: a "cargroup" is a number of cars that cannot be told apart."""
    label = str(entry.get("label"))
    if label in _KNOWN_LABELS:
        return label, False
    if label.endswith("group") and label.removesuffix("group") in _KNOWN_LABELS:
        return label.removesuffix("group"), True
    raise BadValue(f"{path}: {label!r} is not a label of Cityscapes{close_names(label, _KNOWN_LABELS)}")


def _visible_part(painted: np.ndarray, number: int) -> shapely.Geometry:
    """Polygon `number` without all that is painted over it. painted: (P,) geometries in the order of painting."""
    polygon, later = painted[number], painted[number + 1 :]
    covering = later[shapely.intersects(later, polygon)] if len(later) else later
    return polygon.difference(shapely.union_all(covering)) if len(covering) else polygon


def _polygon_instance(visible: shapely.Geometry, instance_class: int, is_crowd: bool) -> dict[str, Any]:
    """Masks have outlines only: holes are filled, and lines, left of polygons that touch themselves, are left out."""
    parts = shapely.get_parts(shapely.get_parts(visible))  # a collection holds a number of polygons as one entry
    pieces = [piece for piece in parts if isinstance(piece, shapely.Polygon)]
    return {
        "iscrowd": is_crowd,
        "category_id": instance_class,
        "segmentation": [shapely.get_coordinates(piece.exterior).reshape(-1).tolist() for piece in pieces],
        "bbox": tuple(shapely.total_bounds(pieces).tolist()),
        "bbox_mode": BoxMode.XYXY_ABS,
    }


def instances_of_map(files: CityscapesFiles, to_polygons: bool) -> dict:
    """The image's sample. An id of the map is the label's for groups and surfaces, else 1000 times it and a number."""
    ids = read_image(files.instances)  # (H, W)
    instances = []
    for instance_id in np.unique(ids).tolist():
        instance_class = _CLASS_OF_ID.get(instance_id // 1000 if instance_id >= 1000 else instance_id)
        if instance_class is None:
            continue
        mask = np.asarray(ids == instance_id, dtype=np.uint8, order="F")
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        # as the interface has it: the box ends at the index of the last pixel, so that single lines are empty
        x0, y0, x1, y1 = (int(v) for v in (columns[0], rows[0], columns[-1], rows[-1]))
        if x1 <= x0 or y1 <= y0:
            continue
        segmentation = _outlines(mask) if to_polygons else mask_util.encode(mask)
        if segmentation:
            instances.append(
                {
                    "iscrowd": instance_id < 1000,
                    "category_id": instance_class,
                    "segmentation": segmentation,
                    "bbox": (x0, y0, x1, y1),
                    "bbox_mode": BoxMode.XYXY_ABS,
                }
            )
    return _sample(files, *ids.shape[:2], instances)


def _outlines(mask: np.ndarray) -> list[list[int]]:
    contours, _ = cv2.findContours(np.ascontiguousarray(mask), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return [contour.reshape(-1).tolist() for contour in contours if len(contour) >= 3]
