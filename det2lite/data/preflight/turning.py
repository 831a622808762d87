"""Annotations that were drawn on a picture as it is stored, turned to the picture as it is read: as its EXIF says."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pycocotools.mask as mask_util
from PIL import Image

from det2lite.data.image_io import EXIF_ORIENTATION
from det2lite.data.preflight.boxes import EDGE, overhang
from det2lite.data.preflight.content import LARGEST_SIDE, box_numbers, is_rotated, number
from det2lite.data.preflight.masks import polygon_points, rle_fault
from det2lite.data.preflight.pixels import SWAPS_SIDES
from det2lite.data.rle import MAX_PIXELS


def fit_to_file(image: dict, annotations: Sequence[dict], path: str) -> str | None:
    """Changes an image's written size to that of the file at `path`, and with it its annotations if need be.

    Annotations belong to the size that is written. Where that is the file's size before EXIF turns it, they are turned
    with the picture, unless more of them fit the upright picture as they are. Where width and height are swapped
    without EXIF they are right as they are if all fit the file and some do not fit what is written. Where no size that
    could be one is written, all must fit the file. Returns what was done, None where nothing can be said; then nothing
    was changed.
    """
    try:
        stored, orientation = _header(path)
    except Exception:  # decoders meet broken headers with errors of any kind; it was found before, or nobody looked
        return None
    upright = stored[::-1] if orientation in SWAPS_SIDES else stored
    written = (image.get("width"), image.get("height"))
    if not all(1 <= number(side) <= LARGEST_SIDE for side in written):
        if _beyond(annotations, upright):
            return None
        image["width"], image["height"] = upright
        return "size of the file written"
    if written != upright[::-1]:
        return None
    beyond_written, beyond_upright = (_beyond(annotations, size) for size in (written, upright))
    if orientation in SWAPS_SIDES and beyond_upright >= beyond_written:
        for annotation in annotations:
            turn(annotation, orientation, stored)
        change = f"turned with its annotations as EXIF orientation {orientation} says"
    elif beyond_upright < beyond_written and (orientation in SWAPS_SIDES or not beyond_upright):
        change = "width and height swapped, which all annotations fit"
    else:
        return None
    image["width"], image["height"] = upright
    return change


def box_of_code(rle: dict) -> np.ndarray:
    """The box XYWH around a run-length mask that is right."""
    if isinstance(rle["counts"], list):
        rle = mask_util.frPyObjects(rle, *rle["size"])
    return mask_util.toBbox(rle)


def _header(path: str) -> tuple[tuple[int, int], int]:
    """Width and height as stored, and the EXIF orientation."""
    with Image.open(path) as image:
        return image.size, image.getexif().get(EXIF_ORIENTATION, 1)


def _beyond(annotations: Sequence[dict], size: tuple[int, int]) -> int:
    """How many annotations do not fit an image of (width, height)."""
    boxes = np.array([box_numbers(a.get("bbox")) for a in annotations], dtype=np.float64).reshape(-1, 4)
    sizes = np.tile(np.array(size, dtype=np.float64), (len(boxes), 1))
    masks = [a["segmentation"] for a in annotations if isinstance(a.get("segmentation"), dict)]
    return int((overhang(boxes, sizes) > EDGE).sum()) + sum(mask.get("size") != [size[1], size[0]] for mask in masks)


def turn_points(points: np.ndarray, orientation: int, stored: tuple[float, float]) -> np.ndarray:
    """Points (P, 2) XY of a picture as stored, of (width, height), where an EXIF orientation of 5 to 8 puts them."""
    x, y = points[:, 0], points[:, 1]
    width, height = stored
    columns = {5: (y, x), 6: (height - y, x), 7: (height - y, width - x), 8: (y, width - x)}[orientation]
    return np.stack(columns, axis=1)


def turn_mask(mask: np.ndarray, orientation: int) -> np.ndarray:
    """The same for a mask (H, W); returns (W, H)."""
    return {5: mask.T, 6: np.rot90(mask, -1), 7: np.rot90(mask, 2).T, 8: np.rot90(mask)}[orientation]


def turn(annotation: dict, orientation: int, stored: tuple[int, int]) -> None:
    """Turns box, segmentation and keypoints of an annotation in place; what is faulty stays as it is."""
    x, y, width, height = box_numbers(annotation.get("bbox"))
    if min(width, height) >= 0:
        corners = turn_points(np.array([[x, y], [x + width, y + height]]), orientation, stored)
        annotation["bbox"] = [*corners.min(axis=0).tolist(), height, width]
    if is_rotated(annotation.get("bbox")):
        x, y, width, height, angle = map(number, annotation["bbox"])
        ((x, y),) = turn_points(np.array([[x, y]]), orientation, stored).tolist()
        annotation["bbox"] = [x, y, width, height, angle - 90 if orientation in (6, 8) else 90 - angle]
    segmentation = annotation.get("segmentation")
    if isinstance(segmentation, dict):
        annotation["segmentation"] = _turned_code(segmentation, orientation, stored)
    elif isinstance(segmentation, list):
        flat = bool(segmentation) and all(type(value) in (int, float) for value in segmentation)
        polygons = [_turned_polygon(p, orientation, stored) for p in ([segmentation] if flat else segmentation)]
        annotation["segmentation"] = polygons[0] if flat else polygons
    keypoints = annotation.get("keypoints")
    if isinstance(keypoints, list) and len(keypoints) % 3 == 0:
        annotation["keypoints"] = _turned_keypoints(keypoints, orientation, stored)


def _turned_polygon(polygon: Any, orientation: int, stored: tuple[int, int]) -> Any:
    points = polygon_points(polygon)
    if not isinstance(points, np.ndarray):
        return polygon  # a fault of its own
    return turn_points(points, orientation, stored).reshape(-1).tolist()


def _turned_code(rle: dict, orientation: int, stored: tuple[int, int]) -> dict:
    if stored[0] * stored[1] > MAX_PIXELS or rle_fault(rle, np.array(stored, dtype=np.float64))[0] is not None:
        return rle
    if isinstance(rle["counts"], list):
        rle = mask_util.frPyObjects(rle, *rle["size"])
    turned = mask_util.encode(np.asfortranarray(turn_mask(mask_util.decode(rle), orientation)))
    return {"size": [*map(int, turned["size"])], "counts": turned["counts"].decode("ascii")}


def _turned_keypoints(keypoints: list, orientation: int, stored: tuple[int, int]) -> list:
    """Keypoints are numbers of pixels, the first of which is 0; those that are not labelled stay as they are."""
    values = np.array([number(value) for value in keypoints]).reshape(-1, 3)
    labelled = (values[:, 2] > 0) & ~np.isnan(values).any(axis=1)
    last = (stored[0] - 1, stored[1] - 1)
    values[labelled, :2] = turn_points(values[labelled, :2], orientation, last)
    given = [keypoints[i : i + 3] for i in range(0, len(keypoints), 3)]
    return [v for old, new, done in zip(given, values.tolist(), labelled, strict=True) for v in (new if done else old)]
