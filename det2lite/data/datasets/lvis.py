"""LVIS (arXiv 1908.03195): COCO's images with masks of over a thousand classes, of which each image names a few."""

import logging
import os
from typing import Any

from det2lite.data.catalog import DatasetCatalog, MetadataCatalog
from det2lite.data.data_root import DataPath
from det2lite.data.datasets.builtin_meta import _get_builtin_metadata
from det2lite.data.datasets.coco_columns import file_of_url
from det2lite.data.datasets.coco_loader import KEPT_KEYS, read_instance
from det2lite.data.datasets.coco_reader import CocoFile
from det2lite.data.datasets.coco_rows import opened_store
from det2lite.data.datasets.lvis_meta import LVIS_VERSIONS, ClassImageCounts, lvis_categories
from det2lite.data.datasets.lvis_rows import lvis_sample, stored_lvis_samples
from det2lite.utils.errors import BadValue

logger = logging.getLogger(__name__)

__all__ = ["load_lvis_json", "register_lvis_instances", "get_lvis_instances_meta"]


def register_lvis_instances(
    name: str, metadata: dict[str, Any], json_file: str | os.PathLike, image_root: str | os.PathLike
) -> None:
    """Registers `name` as a data set in the LVIS format.

    metadata: further metadata, may be empty. image_root: folder that holds `train2017/`, `val2017/`, ... of COCO.
    """
    DatasetCatalog.register(name, lambda: load_lvis_json(json_file, image_root, name))
    MetadataCatalog.get(name).set(json_file=json_file, image_root=image_root, evaluator_type="lvis", **metadata)


def load_lvis_json(
    json_file: str | os.PathLike,
    image_root: str | os.PathLike,
    dataset_name: str | None = None,
    extra_annotation_keys: list[str] | None = None,
) -> list[dict]:
    """Images and instances of an LVIS JSON file in the standard format.

    dataset_name: where given, the metadata of its LVIS version are set; a name that says no version takes the classes
    of the file. extra_annotation_keys: further keys of annotations to keep. Each sample has `neg_category_ids`,
    verified to be absent, and `not_exhaustive_category_ids`, with ids as in the file.
    """
    json_file, image_root = os.fspath(json_file), os.fspath(image_root)
    keys = [*KEPT_KEYS, *(extra_annotation_keys or [])]
    opened = opened_store(json_file, by_url=True)
    if opened is not None and opened[1].unique_annotations:
        store, meta = opened
        samples = stored_lvis_samples(store, json_file, image_root, keys, _set_metadata(dataset_name, meta.categories))
        if samples is not None:
            _tell(len(samples), meta.without_mask, json_file)
            return samples
    lvis = CocoFile(json_file, image_keys=("id", "height", "width"))
    return _read_samples(lvis, image_root, keys, _set_metadata(dataset_name, lvis.categories))


def _read_samples(lvis: CocoFile, image_root: str, keys: list[str], index_of: dict[int, int]) -> list[dict]:
    samples, without_mask = [], 0
    for image in lvis.images:
        size = [image["height"], image["width"]]
        instances = []
        for annotation in lvis.annotations[image["id"]]:
            if annotation["category_id"] not in index_of:
                raise lvis.unknown_category(annotation)
            instance = read_instance(annotation, size, lvis, keys)
            if instance is None:
                without_mask += 1
                continue
            instance["category_id"] = index_of[annotation["category_id"]]
            instances.append(instance)
        samples.append(lvis_sample(image, _file_name(image, image_root, lvis.path), instances))
    _tell(len(samples), without_mask, lvis.path)
    return samples


def _tell(num_images: int, without_mask: int, path: str) -> None:
    logger.info("loaded %d images in LVIS format from %s", num_images, path)
    if without_mask:
        logger.warning("%s: left out %d instances without a usable polygon", path, without_mask)


def _set_metadata(dataset_name: str | None, categories: list[dict]) -> dict[int, int]:
    """Sets the metadata of `dataset_name`; returns the class of each category id. categories: by ascending id."""
    ids = [category["id"] for category in categories]
    if dataset_name is None:
        return {i: i - 1 for i in ids}  # LVIS counts from 1 without gaps
    if "cocofied" not in dataset_name and _version(dataset_name) is None:
        MetadataCatalog.get(dataset_name).thing_classes = [category["name"] for category in categories]
        return {i: index for index, i in enumerate(ids)}
    metadata = get_lvis_instances_meta(dataset_name)
    MetadataCatalog.get(dataset_name).set(**metadata)
    index_of = metadata.get("thing_dataset_id_to_contiguous_id")
    return index_of if index_of is not None else {i + 1: i for i in range(len(metadata["thing_classes"]))}


def _file_name(image: dict, image_root: str, path: str) -> str:
    """LVIS draws on several splits of COCO; in which one an image lies stands in its URL."""
    if "coco_url" in image:
        return os.path.join(image_root, file_of_url(str(image["coco_url"])))
    if "file_name" in image:
        return os.path.join(image_root, image["file_name"])
    raise BadValue(f"{path}: image {image['id']} has neither 'coco_url' nor 'file_name'; is it in the LVIS format?")


def _version(dataset_name: str) -> str | None:
    return next((version for version in LVIS_VERSIONS if version in dataset_name), None)


def _get_lvis_instances_meta_v0_5() -> dict[str, Any]:  # projects that register splits of LVIS import these two
    return get_lvis_instances_meta("lvis_v0.5")


def _get_lvis_instances_meta_v1() -> dict[str, Any]:
    return get_lvis_instances_meta("lvis_v1")


def get_lvis_instances_meta(dataset_name: str) -> dict[str, Any]:
    """Metadata of the LVIS version in the name ("v0.5", "v1"); those of COCO for a name with "cocofied".

    `class_image_count` of v1 is read from lvis/lvis_v1_train.json below the data root when its numbers are asked for.
    """
    if "cocofied" in dataset_name:
        return _get_builtin_metadata("coco")
    version = _version(dataset_name)
    if version is None:
        raise BadValue(f"data set {dataset_name!r}: which LVIS is it? Its name must say {' or '.join(LVIS_VERSIONS)}")
    metadata: dict[str, Any] = {"thing_classes": [category.name for category in lvis_categories(version)]}
    if version == "v1":
        counts = ClassImageCounts(DataPath("lvis/lvis_v1_train.json"), len(metadata["thing_classes"]))
        metadata["class_image_count"] = counts
    return metadata
