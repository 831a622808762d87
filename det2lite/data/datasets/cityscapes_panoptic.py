"""Cityscapes in the panoptic format of COCO, as `createPanopticImgs.py` of cityscapesScripts writes it."""

import logging
import os
from typing import Any

from det2lite.data.catalog import DatasetCatalog, MetadataCatalog
from det2lite.data.data_root import join_root, missing_hint
from det2lite.data.datasets.builtin_meta import CITYSCAPES_CATEGORIES
from det2lite.data.datasets.cityscapes_files import image_files, require_train_ids
from det2lite.data.datasets.coco_panoptic import read_segment
from det2lite.data.datasets.coco_reader import read_json
from det2lite.utils.errors import BadValue, MissingFile
from det2lite.utils.file_io import PathManager

logger = logging.getLogger(__name__)

__all__ = ["load_cityscapes_panoptic", "register_all_cityscapes_panoptic"]

_SPLITS = ("train", "val")


def load_cityscapes_panoptic(
    image_dir: str | os.PathLike, gt_dir: str | os.PathLike, gt_json: str | os.PathLike, meta: dict[str, Any]
) -> list[dict]:
    """Images, segments and semantic maps of one split in the standard format.

    image_dir: such as `leftImg8bit/val`. gt_dir: folder of the PNG maps of segments. gt_json: their description. meta:
    has `thing_dataset_id_to_contiguous_id` and `stuff_dataset_id_to_contiguous_id`.
    """
    image_dir, gt_dir, gt_json = os.fspath(image_dir), os.fspath(gt_dir), os.fspath(gt_json)
    if not PathManager.isfile(gt_json):
        raise MissingFile(
            f"{gt_json}: no such file; {missing_hint(gt_json)}; cityscapesscripts/preparation/createPanopticImgs.py "
            "makes it"
        )
    content = read_json(gt_json)
    annotations = content.get("annotations") if isinstance(content, dict) else None
    if not isinstance(annotations, list):
        raise BadValue(f"{gt_json}: not in the panoptic format: no list of 'annotations'")
    things, stuff = meta["thing_dataset_id_to_contiguous_id"], meta["stuff_dataset_id_to_contiguous_id"]
    by_id = {annotation["image_id"]: annotation for annotation in annotations}
    samples = []
    for image_file in image_files(image_dir):
        city = os.path.basename(os.path.dirname(image_file))
        image_id = "_".join(os.path.basename(image_file).split("_")[:3])
        annotation = by_id.get(image_id)
        if annotation is None:
            raise BadValue(f"{gt_json}: no segments of image {image_file}; was it made for another split?")
        train_ids = os.path.join(_sibling(image_dir), city, f"{image_id}_gtFine_labelTrainIds.png")
        samples.append(
            {
                "file_name": image_file,
                "image_id": image_id,
                "sem_seg_file_name": train_ids,
                "pan_seg_file_name": os.path.join(gt_dir, annotation["file_name"]),
                "segments_info": [read_segment(s, things, stuff, annotation, gt_json) for s in
                                  annotation["segments_info"]],
            }
        )  # fmt: skip
    first = samples[0]["pan_seg_file_name"]
    if not PathManager.isfile(first):
        raise MissingFile(f"{first}: no such file; {missing_hint(first)}")
    require_train_ids(samples[0]["sem_seg_file_name"])
    logger.info("loaded %d images with segments from %s", len(samples), image_dir)
    return samples


def _sibling(image_dir: str) -> str:
    """`leftImg8bit/val` -> `gtFine/val`."""
    images, split = os.path.split(image_dir.rstrip("/"))
    return os.path.join(os.path.dirname(images), "gtFine", split)


def _metadata() -> dict[str, Any]:
    """Things and stuff share one list of classes; a class is the training id."""
    names = [category["name"] for category in CITYSCAPES_CATEGORIES]
    colors = [category["color"] for category in CITYSCAPES_CATEGORIES]
    classes: tuple[dict, dict] = {}, {}
    for category in CITYSCAPES_CATEGORIES:
        classes[category["isthing"]][category["id"]] = category["trainId"]
    return {
        "thing_classes": names,
        "thing_colors": colors,
        "stuff_classes": names,
        "stuff_colors": colors,
        "thing_dataset_id_to_contiguous_id": classes[1],
        "stuff_dataset_id_to_contiguous_id": classes[0],
    }


def register_all_cityscapes_panoptic(root: str | None) -> None:
    """Panoptic Cityscapes below `root`; below the data root of the moment where it is None."""
    for split in _SPLITS:
        _register(f"cityscapes_fine_panoptic_{split}", root, split)


def _register(name: str, root: str | None, split: str) -> None:
    metadata = _metadata()
    image_root = join_root(root, f"cityscapes/leftImg8bit/{split}")
    panoptic_root = join_root(root, f"cityscapes/gtFine/cityscapes_panoptic_{split}")
    panoptic_json = join_root(root, f"cityscapes/gtFine/cityscapes_panoptic_{split}.json")
    DatasetCatalog.register(name, lambda: load_cityscapes_panoptic(image_root, panoptic_root, panoptic_json, metadata))
    MetadataCatalog.get(name).set(
        panoptic_root=panoptic_root,
        image_root=image_root,
        panoptic_json=panoptic_json,
        gt_dir=join_root(root, f"cityscapes/gtFine/{split}"),
        evaluator_type="cityscapes_panoptic_seg",
        ignore_label=255,
        label_divisor=1000,
        **metadata,
    )
