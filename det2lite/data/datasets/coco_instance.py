"""One annotation of a COCO or LVIS file in the standard format, checked."""

import math
from typing import Any, Protocol

import pycocotools.mask as mask_util

from det2lite.structures import BoxMode
from det2lite.utils.errors import BadValue

__all__ = ["KEPT_KEYS", "box_mode_of", "read_instance", "usable_segmentation"]

KEPT_KEYS = ("iscrowd", "bbox", "keypoints", "category_id")
_BOX_MODES = {4: BoxMode.XYWH_ABS, 5: BoxMode.XYWHA_ABS}  # by how many numbers a box has
_NUMBER_TYPES = frozenset((int, float))


class Source(Protocol):
    """Where annotations come from, for messages."""

    def where(self, annotation: dict) -> str: ...


def read_instance(annotation: dict, size: list[int], coco: Source, keys: list[str]) -> dict | None:
    """One annotation in the standard format; None where it has polygons and not one of them is usable."""
    if annotation.get("ignore", 0) != 0:
        raise BadValue(f'{coco.where(annotation)}: "ignore" is not supported; use "iscrowd" or remove the annotation')
    instance = {key: annotation[key] for key in keys if key in annotation}
    box = instance.get("bbox")
    if box is None:
        raise BadValue(f"{coco.where(annotation)} has no 'bbox'; every instance needs one (x, y, width, height)")
    mode = box_mode_of(box)
    if mode is None:
        raise BadValue(
            f"{coco.where(annotation)}: bbox {str(box)[:80]} must be four numbers: x, y, width, height (or five of a "
            "rotated box: the centre's x and y, width, height, degrees)"
        )
    instance["bbox_mode"] = mode
    if annotation.get("segmentation"):
        segmentation = usable_segmentation(annotation["segmentation"], size, annotation, coco)
        if not segmentation:
            return None
        instance["segmentation"] = segmentation
    if annotation.get("keypoints"):
        if not _is_numbers(annotation["keypoints"]) or len(annotation["keypoints"]) % 3:
            raise BadValue(f"{coco.where(annotation)}: 'keypoints' must be numbers x, y, visibility, x, ...")
        # x and y are indices of pixels in COCO; a pixel's centre lies half a pixel further
        instance["keypoints"] = [v if i % 3 == 2 else v + 0.5 for i, v in enumerate(annotation["keypoints"])]
    return instance


def box_mode_of(box: Any) -> BoxMode | None:
    """How an annotation's box is to be read: five numbers are a rotated one. None where it is no box."""
    return _BOX_MODES.get(len(box)) if _is_numbers(box) else None


def _is_numbers(values: Any) -> bool:
    """Whether it is a list of finite numbers; millions of coordinates pass here, so without a Python loop."""
    try:
        is_number_list = isinstance(values, list) and _NUMBER_TYPES.issuperset(map(type, values))
        return is_number_list and all(map(math.isfinite, values))
    except OverflowError:  # an integer that no float can hold
        return False


def usable_segmentation(segmentation: Any, size: list[int], annotation: dict, coco: Source) -> list | dict:
    """Polygons without the unusable ones, or a compressed RLE. size: height and width of the image."""
    if isinstance(segmentation, dict):
        try:
            return _compressed(segmentation, size)
        except (KeyError, TypeError, ValueError) as error:
            raise BadValue(f"{coco.where(annotation)}: not a run-length mask ({error})") from None
    if not isinstance(segmentation, list) or not all(_is_numbers(polygon) for polygon in segmentation):
        raise BadValue(f"{coco.where(annotation)}: 'segmentation' must be a list of polygons or a run-length mask")
    return [polygon for polygon in segmentation if len(polygon) >= 6 and len(polygon) % 2 == 0]


def _compressed(rle: dict, size: list[int]) -> dict:
    counts = rle["counts"]
    if list(rle["size"]) != size:
        raise ValueError(f"its size is {rle['size']}, the image's height and width are {size}")
    if isinstance(counts, str):
        return {"size": list(rle["size"]), "counts": counts}
    if any(type(c) is not int or c < 0 for c in counts) or sum(counts) != size[0] * size[1]:
        raise ValueError(f"its counts must be runs that add up to {size[0]} x {size[1]}")
    return mask_util.frPyObjects(rle, *size)
