"""The files of the embedded data set, in COCO's layout."""

import json
import logging
import os
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
from iopath.common.file_io import file_lock
from PIL import Image

from det2lite.data.datasets import shapes_coco as coco_format
from det2lite.data.datasets.shapes_drawing import Dice
from det2lite.data.datasets.shapes_scene import draw_scene
from det2lite.utils.errors import BadValue, UserError

logger = logging.getLogger(__name__)

FOLDER = "shapes"
VERSION = 1  # raise it when the pictures or annotations change; folders of another version are made anew
SEED = 42
SPLITS = ("train", "val")
MARKER = "version.json"


def ensure_shapes(root: str, *, seed: int = SEED, num_train: int = 800, num_val: int = 100) -> Path:
    """Make `<root>/shapes` unless it is there already with just these numbers, and return it.

    The folder appears whole or not at all. Processes that ask at the same time wait for the one that makes it.
    """
    folder = Path(root) / FOLDER
    wanted = {"version": VERSION, "seed": seed, "train": num_train, "val": num_val}
    if _marker(folder) == wanted:
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with file_lock(str(folder)):
            if _marker(folder) != wanted:
                _replace(folder, wanted)
    except OSError as error:
        message = f"cannot write the embedded data set to {folder}: {error.strerror or error}"
        raise UserError(f"{message}; set $DETECTRON2_DATASETS to a folder that can be written") from error
    return folder


def _marker(folder: Path) -> dict | None:
    try:
        return json.loads((folder / MARKER).read_text())
    except (OSError, ValueError):
        return None


def _replace(folder: Path, wanted: dict) -> None:
    """Make the data set beside `folder`, then put it in its place."""
    if folder.exists() and "version" not in (_marker(folder) or {}):
        raise BadValue(f"{folder} is not the embedded data set of this program; move it away or set another root")
    start = time.perf_counter()
    work = Path(tempfile.mkdtemp(prefix=f".{FOLDER}-", dir=folder.parent))
    try:
        made = work / FOLDER
        for number, split in enumerate(SPLITS):
            write_split(made, split, key=(wanted["seed"], number), count=wanted[split])
        (made / MARKER).write_text(json.dumps(wanted))
        if folder.exists():
            os.rename(folder, work / "old")
        os.rename(made, folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    count, seconds = wanted["train"] + wanted["val"], time.perf_counter() - start
    logger.info("Made the embedded data set of %d images in %s in %.1f s", count, folder, seconds)


def write_split(folder: Path, split: str, *, key: tuple[int, ...], count: int) -> None:
    """Draw `count` pictures and write them with all their truth. key: what the random numbers follow from."""
    maps = {name: folder / f"{name}_{split}" for name in ("panoptic", "sem_seg", "panoptic_stuff")}
    for path in (folder / split, folder / "annotations", *maps.values()):
        path.mkdir(parents=True, exist_ok=True)
    images, instances, panoptic = [], [], []
    for index in range(count):
        scene = draw_scene((*key, index))
        image_id = index + 1
        name = f"{image_id:06d}.png"
        height, width = scene.owner.shape
        images.append({"id": image_id, "file_name": name, "height": height, "width": width})
        for annotation in coco_format.instance_annotations(scene):
            instances.append({"id": len(instances) + 1, "image_id": image_id, **annotation})
        rgb, infos = coco_format.panoptic_map(scene, Dice((*key, index, 1)))
        panoptic.append({"image_id": image_id, "file_name": name, "segments_info": infos})
        sem_seg, stuff = coco_format.semantic_maps(scene)
        _write_png(folder / split / name, scene.image)
        for path, pixels in zip(maps.values(), (rgb, sem_seg, stuff), strict=True):
            _write_png(path / name, pixels)
    things = coco_format.categories()
    triangles = [c for c in things if "keypoints" in c]
    cornered = [a for a in instances if a["category_id"] == triangles[0]["id"]]
    files = {
        "instances": (things, instances),
        "keypoints": (triangles, cornered),
        "panoptic": (coco_format.categories(panoptic=True), panoptic),
    }
    for name, (categories, annotations) in files.items():
        content = {"info": {"description": "shapes", "version": VERSION}, "licenses": [], "images": images}
        content.update(categories=categories, annotations=annotations)
        (folder / "annotations" / f"{name}_{split}.json").write_text(json.dumps(content))


def _write_png(path: Path, pixels: np.ndarray) -> None:
    Image.fromarray(pixels).save(path, compress_level=3)
