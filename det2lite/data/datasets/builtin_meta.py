"""Metadata of the built-in data sets."""

from typing import Any

from det2lite.data.datasets.ade20k_classes import CLASSES as ADE20K_CLASSES
from det2lite.data.datasets.cityscapes_classes import CATEGORIES as CITYSCAPES
from det2lite.data.datasets.coco_classes import CATEGORIES, MIRRORED_PARTS, PERSON_KEYPOINTS, PERSON_SKELETON
from det2lite.utils.errors import UnknownName, close_names

COCO_CATEGORIES = [
    {"color": list(color), "isthing": isthing, "id": category_id, "name": name}
    for category_id, name, isthing, color in CATEGORIES
]
COCO_PERSON_KEYPOINT_NAMES = PERSON_KEYPOINTS
COCO_PERSON_KEYPOINT_FLIP_MAP = tuple((f"left_{part}", f"right_{part}") for part in MIRRORED_PARTS)
KEYPOINT_CONNECTION_RULES = list(PERSON_SKELETON)
CITYSCAPES_CATEGORIES = [
    {"color": list(color), "isthing": isthing, "id": category_id, "trainId": train_id, "name": name}
    for train_id, (category_id, name, isthing, color) in enumerate(CITYSCAPES)
]
ADE20K_SEM_SEG_CATEGORIES = list(ADE20K_CLASSES)

_THINGS = [category for category in COCO_CATEGORIES if category["isthing"]]
_STUFF = [category for category in COCO_CATEGORIES if not category["isthing"]]


def _get_coco_instances_meta() -> dict[str, Any]:
    return {
        "thing_dataset_id_to_contiguous_id": {category["id"]: i for i, category in enumerate(_THINGS)},
        "thing_classes": [category["name"] for category in _THINGS],
        "thing_colors": [category["color"] for category in _THINGS],
    }


def _coco_panoptic_standard() -> dict[str, Any]:
    """Things and stuff share one list of classes, and so one range of contiguous ids."""
    names = [category["name"] for category in COCO_CATEGORIES]
    colors = [category["color"] for category in COCO_CATEGORIES]
    index_of = {category["id"]: i for i, category in enumerate(COCO_CATEGORIES)}
    return {
        "thing_classes": names,
        "thing_colors": colors,
        "stuff_classes": names,
        "stuff_colors": colors,
        "thing_dataset_id_to_contiguous_id": {category["id"]: index_of[category["id"]] for category in _THINGS},
        "stuff_dataset_id_to_contiguous_id": {category["id"]: index_of[category["id"]] for category in _STUFF},
    }


def _get_coco_panoptic_separated_meta() -> dict[str, Any]:
    """Things as in instances; in the semantic maps stuff counts from 1, and 0 is all things as one class."""
    stuff_names = [category["name"].replace("-other", "").replace("-merged", "") for category in _STUFF]
    return {
        "stuff_dataset_id_to_contiguous_id": {0: 0} | {category["id"]: i + 1 for i, category in enumerate(_STUFF)},
        "stuff_classes": ["things", *stuff_names],
        "stuff_colors": [[82, 18, 128], *(category["color"] for category in _STUFF)],
        **_get_coco_instances_meta(),
    }


def _coco_person() -> dict[str, Any]:
    return {
        "thing_classes": ["person"],
        "keypoint_names": COCO_PERSON_KEYPOINT_NAMES,
        "keypoint_flip_map": COCO_PERSON_KEYPOINT_FLIP_MAP,
        "keypoint_connection_rules": KEYPOINT_CONNECTION_RULES,
    }


def _cityscapes() -> dict[str, Any]:
    return {
        "thing_classes": [category["name"] for category in CITYSCAPES_CATEGORIES if category["isthing"]],
        "stuff_classes": [category["name"] for category in CITYSCAPES_CATEGORIES],
    }


_BUILTIN = {
    "coco": _get_coco_instances_meta,
    "coco_panoptic_standard": _coco_panoptic_standard,
    "coco_panoptic_separated": _get_coco_panoptic_separated_meta,
    "coco_person": _coco_person,
    "cityscapes": _cityscapes,
}


def _get_builtin_metadata(dataset_name: str) -> dict[str, Any]:
    if dataset_name not in _BUILTIN:
        raise UnknownName(f"no built-in metadata {dataset_name!r}{close_names(dataset_name, _BUILTIN)}")
    return _BUILTIN[dataset_name]()
