"""Loading data sets in the COCO format: instances from JSON, semantic maps from folders."""

import logging
import math
import os
from typing import Any

import pycocotools.mask as mask_util

from det2lite.data.catalog import MetadataCatalog
from det2lite.data.data_root import missing_hint
from det2lite.data.datasets.coco_reader import CocoFile
from det2lite.structures import BoxMode
from det2lite.utils.errors import BadValue, MissingFile
from det2lite.utils.file_io import PathManager

logger = logging.getLogger(__name__)

_NUMBER_TYPES = frozenset((int, float))
KEPT_KEYS = ("iscrowd", "bbox", "keypoints", "category_id")


def load_coco_json(
    json_file: str | os.PathLike,
    image_root: str | os.PathLike,
    dataset_name: str | None = None,
    extra_annotation_keys: list[str] | None = None,
) -> list[dict]:
    """Images and instances of a COCO JSON file (instances or keypoints) in the standard format.

    image_root: folder that file names are relative to. dataset_name: where given, `thing_classes` and
    `thing_dataset_id_to_contiguous_id` are set in its metadata and category ids become contiguous; without it ids stay
    as in the file. extra_annotation_keys: further keys of annotations to keep. Boxes are XYWH_ABS, as `bbox_mode` says.
    Keypoints move by half a pixel, from indices to coordinates. Raises a `UserError` that names annotation and image.
    """
    image_root = os.fspath(image_root)
    # the published minival annotations of COCO 2014 repeat ids
    coco = CocoFile(json_file, unique_annotations="minival" not in os.fspath(json_file))
    index_of = coco.category_index()
    if dataset_name is not None:
        _set_category_metadata(dataset_name, coco, index_of)
    keys = [*KEPT_KEYS, *(extra_annotation_keys or [])]
    samples, without_mask = [], 0
    for image in coco.images:
        instances = []
        size = [image["height"], image["width"]]
        for annotation in coco.annotations[image["id"]]:
            if annotation["category_id"] not in index_of:
                raise coco.unknown_category(annotation)
            instance = read_instance(annotation, size, coco, keys)
            if instance is None:
                without_mask += 1
                continue
            if dataset_name is not None:
                instance["category_id"] = index_of[annotation["category_id"]]
            instances.append(instance)
        sample = {"file_name": os.path.join(image_root, image["file_name"])}
        sample.update(height=image["height"], width=image["width"], image_id=image["id"], annotations=instances)
        samples.append(sample)
    logger.info("loaded %d images in COCO format from %s", len(samples), coco.path)
    if without_mask:
        logger.warning(
            "%s: left out %d instances whose polygons all have fewer than 3 points or an odd number of coordinates",
            coco.path, without_mask,
        )  # fmt: skip
    return samples


def _set_category_metadata(dataset_name: str, coco: CocoFile, index_of: dict[int, int]) -> None:
    metadata = MetadataCatalog.get(dataset_name)
    metadata.thing_classes = [category["name"] for category in coco.categories]
    if list(index_of) != list(range(1, len(index_of) + 1)) and "coco" not in dataset_name:
        logger.info("category ids of %s are not 1..%d; they are mapped to 0..%d", dataset_name, len(index_of),
                    len(index_of) - 1)  # fmt: skip
    metadata.thing_dataset_id_to_contiguous_id = index_of


def read_instance(annotation: dict, size: list[int], coco: CocoFile, keys: list[str]) -> dict | None:
    """One annotation in the standard format; None where it has polygons and not one of them is usable."""
    if annotation.get("ignore", 0) != 0:
        raise BadValue(f'{coco.where(annotation)}: "ignore" is not supported; use "iscrowd" or remove the annotation')
    instance = {key: annotation[key] for key in keys if key in annotation}
    box = instance.get("bbox")
    if box is None:
        raise BadValue(f"{coco.where(annotation)} has no 'bbox'; every instance needs one (x, y, width, height)")
    if not _is_numbers(box) or len(box) != 4:
        raise BadValue(f"{coco.where(annotation)}: bbox {str(box)[:80]} must be four numbers: x, y, width, height")
    instance["bbox_mode"] = BoxMode.XYWH_ABS
    if annotation.get("segmentation"):
        segmentation = _segmentation(annotation["segmentation"], size, annotation, coco)
        if not segmentation:
            return None
        instance["segmentation"] = segmentation
    if annotation.get("keypoints"):
        if not _is_numbers(annotation["keypoints"]) or len(annotation["keypoints"]) % 3:
            raise BadValue(f"{coco.where(annotation)}: 'keypoints' must be numbers x, y, visibility, x, ...")
        # x and y are indices of pixels in COCO; a pixel's centre lies half a pixel further
        instance["keypoints"] = [v if i % 3 == 2 else v + 0.5 for i, v in enumerate(annotation["keypoints"])]
    return instance


def _is_numbers(values: Any) -> bool:
    """Whether it is a list of finite numbers; millions of coordinates pass here, so without a Python loop."""
    try:
        is_number_list = isinstance(values, list) and _NUMBER_TYPES.issuperset(map(type, values))
        return is_number_list and all(map(math.isfinite, values))
    except OverflowError:  # an integer that no float can hold
        return False


def _segmentation(segmentation: Any, size: list[int], annotation: dict, coco: CocoFile) -> list | dict:
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


def load_sem_seg(
    gt_root: str | os.PathLike, image_root: str | os.PathLike, gt_ext: str = "png", image_ext: str = "jpg"
) -> list[dict]:
    """Images and their semantic maps, paired by name below two folders, in the standard format.

    Files that have no partner are left out with a warning.
    """
    gt_root, image_root = os.fspath(gt_root), os.fspath(image_root)

    def files_by_name(root: str, extension: str) -> dict[str, str]:
        if not PathManager.isdir(root):
            raise MissingFile(f"{root}: no such folder; {missing_hint(root)}")
        return {os.path.splitext(f)[0]: os.path.join(root, f) for f in PathManager.ls(root) if f.endswith(extension)}

    maps, images = files_by_name(gt_root, gt_ext), files_by_name(image_root, image_ext)
    common = sorted(maps.keys() & images.keys())
    if not common:
        raise MissingFile(f"{gt_root}: no .{gt_ext} file is named like a .{image_ext} image in {image_root}")
    if len(common) < max(len(maps), len(images)):
        logger.warning("%s has %d maps and %s %d images: the %d in both are used", gt_root, len(maps), image_root,
                       len(images), len(common))  # fmt: skip
    logger.info("loaded %d images with semantic maps from %s", len(common), image_root)
    return [{"file_name": images[name], "sem_seg_file_name": maps[name]} for name in common]
