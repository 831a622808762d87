"""What the scripts of datasets/ do: files that training needs, made from those that are published."""

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pycocotools.mask as mask_util
from PIL import Image

from det2lite.data.datasets.builtin_meta import ADE20K_SEM_SEG_CATEGORIES, COCO_CATEGORIES
from det2lite.data.datasets.coco_reader import read_json
from det2lite.data.datasets.lvis_coco_synsets import SYNSET_OF_COCO
from det2lite.data.image_io import read_image
from det2lite.utils.errors import BadValue, MissingFile
from det2lite.utils.file_io import atomic_write

__all__ = [
    "COCO_LISTS",
    "LVIS_LISTS",
    "PANOPTIC_LISTS",
    "cocofied_lvis",
    "first_images",
    "instances_of_panoptic",
    "make_ade20k_maps",
    "make_maps",
    "make_panoptic_subset",
    "make_stuff_maps",
    "read_content",
    "write_json",
]

UNLABELLED = 255

# the lists of an annotation file, and what their entries need
COCO_LISTS = {"images": ("id",), "annotations": ("image_id",)}
LVIS_LISTS = {"images": ("id",), "annotations": ("image_id", "category_id"), "categories": ("id", "synset")}
PANOPTIC_LISTS = {"annotations": ("image_id", "file_name", "segments_info")}


def read_content(path: str | os.PathLike, kind: str, lists: Mapping[str, tuple[str, ...]]) -> dict[str, Any]:
    """An annotation file with the lists it should have, such as `COCO_LISTS`. kind: the format's name, for errors.

    Raises `MissingFile`, and `BadValue` for another content.
    """
    content = read_json(path)
    for name, keys in lists.items():
        _check_entries(content.get(name) if isinstance(content, dict) else None, keys, repr(name), f"{path}", kind)
    if kind == "panoptic":
        for annotation in content["annotations"]:
            what = f"'segments_info' of image {annotation['image_id']}"
            _check_entries(annotation["segments_info"], ("id", "category_id"), what, f"{path}", kind)
    return content


def _check_entries(entries: Any, keys: tuple[str, ...], what: str, path: str, kind: str) -> None:
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise BadValue(f"{path}: not in the {kind} format: no list of {what}")
    for number, entry in enumerate(entries):
        missing = [key for key in keys if key not in entry]
        if missing:
            raise BadValue(f"{path}: not in the {kind} format: number {number} of {what} has no {missing[0]!r}")


def write_json(content: Any, path: str | os.PathLike) -> None:
    """Writes JSON, whole or not at all."""
    with atomic_write(path) as file:
        json.dump(content, file)


def make_maps(jobs: Iterable[tuple[Path, Path]], convert: Callable[[Path], np.ndarray]) -> Iterator[Path]:
    """Writes `convert(source)`, (H, W) uint8, as PNG to each target; yields the targets as they are done."""

    def make(job: tuple[Path, Path]) -> Path:
        source, target = job
        with atomic_write(target, "wb") as file:
            Image.fromarray(convert(source)).save(file, format="PNG")
        return target

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # decoding and encoding leave the interpreter free
        yield from pool.map(make, jobs)


def make_stuff_maps(
    panoptic_json: Path, panoptic_root: Path, sem_seg_root: Path, categories: list[dict] = COCO_CATEGORIES
) -> tuple[int, Iterator[Path]]:
    """The maps that Panoptic FPN (arXiv 1901.02446) learns stuff from, one for each panoptic map.

    A pixel is 0 on a thing, 1, 2, ... on stuff in the order of `categories`, and 255 where nothing is labelled.
    Returns the number of maps, and what makes them when it is iterated.
    """
    stuff = [category["id"] for category in categories if not category["isthing"]]
    value_of = {category["id"]: 0 for category in categories} | {c: i for i, c in enumerate(stuff, 1)}
    content = read_content(panoptic_json, "panoptic", PANOPTIC_LISTS)
    segments = {Path(panoptic_root) / a["file_name"]: a["segments_info"] for a in content["annotations"]}
    jobs = [(source, Path(sem_seg_root) / source.name) for source in segments]
    return len(jobs), make_maps(jobs, lambda source: stuff_map(source, segments[source], value_of))


def segment_ids(path: Path) -> np.ndarray:
    """(H, W) uint32 of a panoptic PNG, which holds ids as R + 256 G + 256^2 B."""
    colors = read_image(path, "RGB").astype(np.uint32)  # (H, W, 3)
    return colors[..., 0] + 256 * colors[..., 1] + 65536 * colors[..., 2]


def stuff_map(path: Path, segments: list[dict], value_of: dict[int, int]) -> np.ndarray:
    """(H, W) uint8 of a panoptic PNG. segments: its entry of the JSON. value_of: of each category id."""
    for segment in segments:
        if segment["category_id"] not in value_of:
            raise BadValue(f"{path}: segment {segment['id']} has the unknown category_id {segment['category_id']}")
    pixels = segment_ids(path)
    ids, index = np.unique(pixels, return_inverse=True)
    known = {segment["id"]: value_of[segment["category_id"]] for segment in segments}
    missing = sorted(known.keys() - set(ids.tolist()))
    if missing:
        raise BadValue(f"{path}: segment {missing[0]} of the JSON is not in the map; are they of one release?")
    values = np.array([known.get(i, UNLABELLED) for i in ids.tolist()], dtype=np.uint8)
    return values[index].reshape(pixels.shape)


def instances_of_panoptic(panoptic_json: Path, panoptic_root: Path) -> tuple[int, Iterator[list[dict]], dict]:
    """The things of panoptic annotations as COCO annotations, each with the part of its mask that can be seen.

    Returns the number of images, what yields the annotations of each, without ids, and the content without annotations.
    """
    content = read_content(panoptic_json, "panoptic", PANOPTIC_LISTS | {"categories": ("id", "isthing")})
    things = [category for category in content["categories"] if category["isthing"]]
    thing_ids = {category["id"] for category in things}
    whole = {key: value for key, value in content.items() if key != "annotations"} | {"categories": things}

    def read(annotation: dict) -> list[dict]:
        pixels = segment_ids(Path(panoptic_root) / annotation["file_name"])
        segments = [segment for segment in annotation["segments_info"] if segment["category_id"] in thing_ids]
        return [_visible_instance(segment, pixels == segment["id"], annotation["image_id"]) for segment in segments]

    def read_all() -> Iterator[list[dict]]:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            yield from pool.map(read, content["annotations"])

    return len(content["annotations"]), read_all(), whole


def _visible_instance(segment: dict, mask: np.ndarray, image_id: int) -> dict:
    rle = mask_util.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {
        "image_id": image_id,
        "category_id": segment["category_id"],
        "iscrowd": segment.get("iscrowd", 0),
        "bbox": mask_util.toBbox(rle).tolist(),
        "area": int(mask_util.area(rle)),
        "segmentation": {"size": rle["size"], "counts": rle["counts"].decode("ascii")},
    }


def make_ade20k_maps(root: Path) -> tuple[int, Iterator[Path]]:
    """Maps below `annotations_detectron2/` whose classes count from 0 and whose unlabelled pixels are 255.

    root: ADEChallengeData2016, where 0 is unlabelled and classes count from 1. Returns as `make_stuff_maps`.
    """
    source_root, target_root = Path(root) / "annotations", Path(root) / "annotations_detectron2"
    sources = [path for split in ("training", "validation") for path in sorted((source_root / split).glob("*.png"))]
    if not sources:
        raise MissingFile(f"{source_root}: no maps in training/ and validation/; unpack ADEChallengeData2016.zip there")
    jobs = [(source, target_root / source.relative_to(source_root)) for source in sources]
    return len(jobs), make_maps(jobs, ade20k_map)


def ade20k_map(path: Path) -> np.ndarray:
    """(H, W) uint8 of a map of ADE20K's scene parsing: classes from 0, 255 where nothing is labelled."""
    labels, num_classes = read_image(path), len(ADE20K_SEM_SEG_CATEGORIES)
    if labels.ndim != 2 or labels.dtype != np.uint8 or labels.max(initial=0) > num_classes:
        raise BadValue(f"{path}: not a map of one channel with values 0..{num_classes}; is it of ADEChallengeData2016?")
    return labels - np.uint8(1)  # 0 wraps to 255


def cocofied_lvis(lvis: dict[str, Any]) -> dict[str, Any]:
    """LVIS content with COCO's 80 categories only, under COCO's ids, to compute COCO's AP by LVIS's rules.

    Categories are matched by synset; those of COCO that this LVIS lacks have no annotations.
    """
    coco_id = {SYNSET_OF_COCO[c["name"]]: c["id"] for c in COCO_CATEGORIES if c["isthing"]}
    to_coco = {c["id"]: coco_id[c["synset"]] for c in lvis["categories"] if c.get("synset") in coco_id}
    if not to_coco:
        raise BadValue("none of the categories has a synset of COCO's; is it an LVIS file?")
    annotations = [
        annotation | {"category_id": to_coco[annotation["category_id"]]}
        for annotation in lvis.get("annotations", [])
        if annotation["category_id"] in to_coco
    ]
    images = []
    for image in lvis["images"]:
        lists = {
            key: [to_coco[i] for i in image[key] if i in to_coco]
            for key in ("neg_category_ids", "not_exhaustive_category_ids")
            if key in image
        }
        images.append(image | lists)
    instances = Counter(annotation["category_id"] for annotation in annotations)
    pairs = {(annotation["image_id"], annotation["category_id"]) for annotation in annotations}
    images_with = Counter(category for _, category in pairs)
    frequency = {c["synset"]: c["frequency"] for c in lvis["categories"] if "frequency" in c}
    categories = [
        {
            "id": category["id"],
            "name": category["name"],
            "synset": SYNSET_OF_COCO[category["name"]],
            "frequency": frequency.get(SYNSET_OF_COCO[category["name"]], "r"),
            "image_count": images_with[category["id"]],
            "instance_count": instances[category["id"]],
        }
        for category in COCO_CATEGORIES
        if category["isthing"]
    ]
    return lvis | {"images": images, "annotations": annotations, "categories": categories}


def first_images(content: dict[str, Any], count: int) -> dict[str, Any]:
    """A COCO, COCO panoptic or LVIS content with the `count` images of the lowest ids only."""
    if count < 1:
        raise BadValue(f"{count} images are none to keep; ask for 1 or more")
    images = sorted(content["images"], key=lambda image: image["id"])[:count]
    kept = {image["id"] for image in images}
    annotations = [a for a in content.get("annotations", []) if a["image_id"] in kept]
    return content | {"images": images, "annotations": annotations}


def make_panoptic_subset(panoptic: dict[str, Any], source_root: Path, target_root: Path) -> None:
    """Links the PNG maps of a panoptic content into a folder of their own; copies where links cannot be made."""
    target_root.mkdir(parents=True, exist_ok=True)
    for annotation in panoptic["annotations"]:
        source, target = source_root / annotation["file_name"], target_root / annotation["file_name"]
        if not source.is_file():
            raise MissingFile(f"{source}: no such map; unpack {source_root.name}.zip")
        if target.exists():
            continue
        try:
            target.symlink_to(os.path.relpath(source, target_root))
        except OSError:
            with atomic_write(target, "wb") as file:
                file.write(source.read_bytes())
