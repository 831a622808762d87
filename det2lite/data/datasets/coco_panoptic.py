"""Panoptic data sets in the COCO format: a JSON of segments beside PNG maps of their ids."""

import os
from typing import Any

from det2lite.data.catalog import DatasetCatalog, MetadataCatalog
from det2lite.data.data_root import missing_hint
from det2lite.data.datasets.coco_loader import load_coco_json, load_sem_seg
from det2lite.data.datasets.coco_reader import UnknownCategory, read_json
from det2lite.utils.errors import BadValue, MissingFile
from det2lite.utils.file_io import PathManager

__all__ = ["register_coco_panoptic", "register_coco_panoptic_separated", "load_coco_panoptic_json"]


def load_coco_panoptic_json(
    json_file: str | os.PathLike, image_dir: str | os.PathLike, gt_dir: str | os.PathLike, meta: dict[str, Any]
) -> list[dict]:
    """Images and segments of a COCO panoptic JSON file in the standard format.

    gt_dir: folder of the PNG maps. meta: has `thing_dataset_id_to_contiguous_id` and
    `stuff_dataset_id_to_contiguous_id`, by which category ids become contiguous and segments get "isthing".
    """
    image_dir, gt_dir = os.fspath(image_dir), os.fspath(gt_dir)
    content = read_json(json_file)
    annotations = content.get("annotations") if isinstance(content, dict) else None
    if not isinstance(annotations, list):
        raise BadValue(f"{os.fspath(json_file)}: not in the COCO panoptic format: no list of 'annotations'")
    names = {image.get("id"): image.get("file_name") for image in content.get("images") or []}
    things, stuff = meta["thing_dataset_id_to_contiguous_id"], meta["stuff_dataset_id_to_contiguous_id"]
    samples = []
    for annotation in annotations:
        missing = [k for k in ("image_id", "file_name", "segments_info") if k not in annotation]
        if missing:
            raise BadValue(f"{os.fspath(json_file)}: an annotation has no {missing[0]!r}; is it a panoptic JSON?")
        segments = [read_segment(s, things, stuff, annotation, json_file) for s in annotation["segments_info"]]
        image_name = names.get(annotation["image_id"]) or os.path.splitext(annotation["file_name"])[0] + ".jpg"
        samples.append(
            {
                "file_name": os.path.join(image_dir, image_name),
                "image_id": int(annotation["image_id"]),
                "pan_seg_file_name": os.path.join(gt_dir, annotation["file_name"]),
                "segments_info": segments,
            }
        )
    # one look at the first image and map tells whether the folders are the right ones
    for path in [samples[0]["file_name"], samples[0]["pan_seg_file_name"]] if samples else []:
        if not PathManager.isfile(path):
            raise MissingFile(f"{path}: no such file; {missing_hint(path)}")
    return samples


def read_segment(segment: dict, things: dict, stuff: dict, annotation: dict, json_file: str | os.PathLike) -> dict:
    category = segment.get("category_id")
    if category not in things and category not in stuff:
        raise UnknownCategory(
            f"{os.fspath(json_file)}: segment {segment.get('id')} of image {annotation['image_id']}: category_id "
            f"{category} is none of the data set's categories"
        )
    is_thing = category in things
    return {**segment, "category_id": (things if is_thing else stuff)[category], "isthing": is_thing}


def register_coco_panoptic(
    name: str,
    metadata: dict[str, Any],
    image_root: str | os.PathLike,
    panoptic_root: str | os.PathLike,
    panoptic_json: str | os.PathLike,
    instances_json: str | os.PathLike | None = None,
) -> None:
    """Registers `name` as a panoptic data set in the format that COCO publishes.

    metadata: with the two maps that `load_coco_panoptic_json` needs. instances_json: for evaluation of the things.
    """
    DatasetCatalog.register(name, lambda: load_coco_panoptic_json(panoptic_json, image_root, panoptic_root, metadata))
    MetadataCatalog.get(name).set(
        panoptic_root=panoptic_root,
        image_root=image_root,
        panoptic_json=panoptic_json,
        json_file=instances_json,
        evaluator_type="coco_panoptic_seg",
        ignore_label=255,
        label_divisor=1000,
        **metadata,
    )


def register_coco_panoptic_separated(
    name: str,
    metadata: dict[str, Any],
    image_root: str | os.PathLike,
    panoptic_root: str | os.PathLike,
    panoptic_json: str | os.PathLike,
    sem_seg_root: str | os.PathLike,
    instances_json: str | os.PathLike,
) -> None:
    """Registers `<name>_separated`, with instances and semantic maps apart, and `<name>_stuffonly`, the maps alone.

    In the maps of sem_seg_root all things are one class, 0; Panoptic FPN (arXiv 1901.02446) is trained on such pairs.
    """
    def load_maps() -> list[dict]:
        return load_sem_seg(sem_seg_root, image_root, image_ext=_image_extension(image_root))

    def load_separated() -> list[dict]:
        instances = load_coco_json(instances_json, image_root, f"{name}_separated")
        return merge_to_panoptic(instances, load_maps())

    DatasetCatalog.register(f"{name}_separated", load_separated)
    MetadataCatalog.get(f"{name}_separated").set(
        panoptic_root=panoptic_root,
        image_root=image_root,
        panoptic_json=panoptic_json,
        sem_seg_root=sem_seg_root,
        json_file=instances_json,
        evaluator_type="coco_panoptic_seg",
        ignore_label=255,
        **metadata,
    )
    DatasetCatalog.register(f"{name}_stuffonly", load_maps)
    MetadataCatalog.get(f"{name}_stuffonly").set(
        sem_seg_root=sem_seg_root, image_root=image_root, evaluator_type="sem_seg", ignore_label=255, **metadata
    )


def _image_extension(image_root: str | os.PathLike) -> str:
    """jpg as COCO has it; png for a folder that holds no jpg."""
    folder = os.fspath(image_root)
    files = PathManager.ls(folder) if PathManager.isdir(folder) else []
    is_png = any(f.endswith("png") for f in files) and not any(f.endswith("jpg") for f in files)
    return "png" if is_png else "jpg"


def merge_to_panoptic(detection_dicts: list[dict], sem_seg_dicts: list[dict]) -> list[dict]:
    """Instances and semantic maps of the same images, joined by file name, in the order of the maps."""
    by_file = {sample["file_name"]: sample for sample in detection_dicts}
    merged = []
    for sem_seg in sem_seg_dicts:
        instances = by_file.get(sem_seg["file_name"])
        if instances is None:
            raise BadValue(
                f"{sem_seg['file_name']}: has a semantic map but is not in the instances' JSON; "
                "datasets/panoptic_to_instances.py makes instances of the same images"
            )
        merged.append({**instances, **sem_seg})
    if not merged:
        raise BadValue("no image has both instances and a semantic map")
    return merged
