"""Where the files of Cityscapes lie, and its annotations as JSON."""

import os
from typing import NamedTuple

from det2lite.data.data_root import missing_hint
from det2lite.data.datasets.coco_reader import read_json
from det2lite.utils.errors import BadValue, MissingFile
from det2lite.utils.file_io import PathManager

_IMAGE_SUFFIX = "_leftImg8bit.png"


class CityscapesFiles(NamedTuple):
    """Files of one image: the image, its maps of instance and label ids, its polygons."""

    image: str
    instances: str
    labels: str
    polygons: str


def image_files(image_dir: str | os.PathLike) -> list[str]:
    """The images of all cities of a split, by name."""
    image_dir = os.fspath(image_dir)
    if not PathManager.isdir(image_dir):
        raise MissingFile(f"{image_dir}: no such folder; {missing_hint(image_dir)}")
    folders = [os.path.join(image_dir, city) for city in sorted(PathManager.ls(image_dir))]
    files = [os.path.join(f, name) for f in folders if PathManager.isdir(f) for name in sorted(PathManager.ls(f))]
    files = [file for file in files if file.endswith(_IMAGE_SUFFIX)]
    if not files:
        raise MissingFile(f"{image_dir}: no images; it must hold a folder for each city with *{_IMAGE_SUFFIX}")
    return files


def cityscapes_files(image_dir: str | os.PathLike, gt_dir: str | os.PathLike) -> list[CityscapesFiles]:
    """The images of a split and the names that their annotations have below `gt_dir`."""
    files = []
    for image in image_files(image_dir):
        folder, name = os.path.split(image)
        stem = os.path.join(os.fspath(gt_dir), os.path.basename(folder), name.removesuffix(_IMAGE_SUFFIX))
        maps = [f"{stem}_gtFine_{kind}" for kind in ("instanceIds.png", "labelIds.png", "polygons.json")]
        files.append(CityscapesFiles(image, *maps))
    for path in files[0][1:]:
        if not PathManager.isfile(path):
            raise MissingFile(f"{path}: no such file; {missing_hint(path)}")
    return files


def train_id_map(label_map: str) -> str:
    """The map of training ids beside a map of label ids."""
    return label_map.removesuffix("labelIds.png") + "labelTrainIds.png"


def require_train_ids(path: str) -> None:
    if not PathManager.isfile(path):
        raise MissingFile(
            f"{path}: no such file; make it with cityscapesscripts/preparation/createTrainIdLabelImgs.py "
            "(pip install cityscapesscripts)"
        )


def read_annotation(path: str) -> dict:
    """The polygons of one image, checked to have "imgHeight", "imgWidth" and a list of "objects"."""
    content = read_json(path)
    found = content if isinstance(content, dict) else {}
    objects = found.get("objects")
    is_list = isinstance(objects, list) and all(isinstance(entry, dict) for entry in objects)
    if not is_list or not all(type(found.get(side)) is int for side in ("imgHeight", "imgWidth")):
        raise BadValue(f"{path}: not polygons of Cityscapes: it must have imgHeight, imgWidth and objects")
    return content
