"""Loading data sets in the COCO format: instances from JSON, semantic maps from folders."""

import logging
import os

from det2lite.data.catalog import MetadataCatalog
from det2lite.data.data_root import missing_hint
from det2lite.data.datasets.coco_instance import KEPT_KEYS, read_instance
from det2lite.data.datasets.coco_reader import CocoFile
from det2lite.data.datasets.coco_rows import stored_samples
from det2lite.structures import BoxMode
from det2lite.utils.errors import MissingFile
from det2lite.utils.file_io import PathManager

logger = logging.getLogger(__name__)


__all__ = ["KEPT_KEYS", "load_coco_json", "load_sem_seg", "read_instance"]


def load_coco_json(
    json_file: str | os.PathLike,
    image_root: str | os.PathLike,
    dataset_name: str | None = None,
    extra_annotation_keys: list[str] | None = None,
) -> list[dict]:
    """Images and instances of a COCO JSON file (instances or keypoints) in the standard format.

    image_root: folder that file names are relative to. dataset_name: where given, `thing_classes` and
    `thing_dataset_id_to_contiguous_id` are set in its metadata and category ids become contiguous; without it ids stay
    as in the file. extra_annotation_keys: further keys of annotations to keep. Boxes are XYWH_ABS, as `bbox_mode` says,
    and those of five numbers XYWHA_ABS. Keypoints move by half a pixel, from indices to coordinates. Raises a
    `UserError` that names annotation and image.

    The list of a large file makes its dicts when they are asked for: see `det2lite.data.sample_store`.
    """
    json_file, image_root = os.fspath(json_file), os.fspath(image_root)
    unique = "minival" not in json_file  # the published minival annotations of COCO 2014 repeat ids
    keys = [*KEPT_KEYS, *(extra_annotation_keys or [])]
    stored = stored_samples(json_file, image_root, keys, contiguous=dataset_name is not None, unique_annotations=unique)
    if stored is not None:
        samples, categories = stored
        if dataset_name is not None:
            _set_category_metadata(dataset_name, categories)
        return samples
    coco = CocoFile(json_file, unique_annotations=unique)
    if dataset_name is not None:
        _set_category_metadata(dataset_name, coco.categories)
    return _read_samples(coco, image_root, keys, contiguous=dataset_name is not None)


def _read_samples(coco: CocoFile, image_root: str, keys: list[str], *, contiguous: bool) -> list[dict]:
    """contiguous: whether categories are numbered as classes."""
    index_of = coco.category_index()
    samples, without_mask, rotated = [], 0, 0
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
            if contiguous:
                instance["category_id"] = index_of[annotation["category_id"]]
            rotated += instance["bbox_mode"] == BoxMode.XYWHA_ABS
            instances.append(instance)
        sample = {"file_name": os.path.join(image_root, image["file_name"])}
        sample.update(height=image["height"], width=image["width"], image_id=image["id"], annotations=instances)
        samples.append(sample)
    logger.info("loaded %d images in COCO format from %s", len(samples), coco.path)
    if rotated:
        logger.warning(
            "%s: %d boxes of five numbers are read as rotated: centre, width, height, degrees", coco.path, rotated
        )
    if without_mask:
        logger.warning(
            "%s: left out %d instances whose polygons all have fewer than 3 points or an odd number of coordinates",
            coco.path, without_mask,
        )  # fmt: skip
    return samples


def _set_category_metadata(dataset_name: str, categories: list[dict]) -> None:
    """categories: by ascending id."""
    metadata = MetadataCatalog.get(dataset_name)
    index_of = {category["id"]: index for index, category in enumerate(categories)}
    metadata.thing_classes = [category["name"] for category in categories]
    if list(index_of) != list(range(1, len(index_of) + 1)) and "coco" not in dataset_name:
        logger.info("category ids of %s are not 1..%d; they are mapped to 0..%d", dataset_name, len(index_of),
                    len(index_of) - 1)  # fmt: skip
    metadata.thing_dataset_id_to_contiguous_id = index_of


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
