"""Finds the files of a data set in the COCO format: JSON of instances, and the folders of their images."""

import json
import os
import re
from typing import Any, NamedTuple

from det2lite.data.converters.files import WHOLE, Tree, read_json_file
from det2lite.data.converters.records import Plan
from det2lite.utils.errors import BadValue, MissingFile

TITLE = "COCO"
MADE_FROM = "converted by det2lite from "
"""How the description begins of a JSON file that a conversion wrote."""
_HEAD = 1 << 16
_OTHER_TASKS = ("panoptic_", "captions_", "stuff_", "image_info_")
_RESULTS = re.compile(r"(results?|predictions?|detections?)\b", re.IGNORECASE)
# in the order of preference; of one images' files the first kind is taken
_KINDS = ("instances_", "person_keypoints_")


class CocoJob(NamedTuple):
    """A JSON file and the folder of its images."""

    json_path: str
    image_root: str


def recognise(tree: Tree) -> str | None:
    found = _files(tree)
    return f"{', '.join(found[:3])}{', ...' if len(found) > 3 else ''} with images and annotations" if found else None


def plan(tree: Tree, class_key: str | None) -> Plan:
    """One job for each split, which nothing reads further: the files are what they should be."""
    files = _files(tree)
    if not files:
        raise MissingFile(f"{tree.folder}: no COCO JSON; it has 'images', 'annotations' and 'categories'")
    jobs: dict[str, list[CocoJob]] = {}
    for file in files:
        split = _split_name(file)
        if split in jobs:
            other = os.path.relpath(jobs[split][0].json_path, tree.folder)
            raise BadValue(f"{tree.folder}: {file} and {other} are both of split {split!r}; keep one of them here")
        jobs[split] = [CocoJob(tree.path(file), image_root(tree.folder, file, split))]
    return Plan(jobs, read)


def read(job: CocoJob) -> list:
    raise TypeError("COCO files are not converted to COCO")


def conversions(tree: Tree) -> list[str]:
    """The JSON files, where every one was made from what else lies in the folder, as by a run below its data."""
    files = _files(tree)
    return files if all(_is_conversion(tree, file) for file in files) else []


def was_converted(path: str) -> bool:
    """Whether a conversion wrote a JSON file, by its description."""
    return f'"{MADE_FROM}' in json_head(path).partition('"images"')[0]


def _is_conversion(tree: Tree, file: str) -> bool:
    """Whether a conversion wrote it of images that lie in the same folder."""
    if not was_converted(tree.path(file)):
        return False
    stated = _images_of(tree.path(file))[1]
    root = os.path.join(os.path.dirname(tree.path(file)), stated) if stated else None
    return root is not None and is_below(os.path.realpath(root), os.path.realpath(tree.folder))


def _files(tree: Tree) -> list[str]:
    """The JSON files of instances, detections aside; where there are some called instances_*, those alone.

    Files that were converted from others do not count beside them.
    """
    found = [file for file in tree.sample(".json", count=50) if _is_instances(tree.path(file))]
    found = [file for file in found if not _is_conversion(tree, file)] or found
    for start in _KINDS:
        if some := [file for file in found if os.path.basename(file).startswith(start)]:
            return some
    return [file for file in found if not _RESULTS.match(os.path.basename(file))] or found  # Label Studio's own name


def _is_instances(path: str) -> bool:
    name = os.path.basename(path)
    if name.startswith(_OTHER_TASKS):
        return False
    head = json_head(path)
    if not re.match(r"\s*\{", head) or not re.search(r'"(images|annotations|categories)"\s*:\s*\[', head):
        return False
    if name.startswith(_KINDS):
        return True
    if '"segments_info"' in head:
        return False
    content = read_json_file(path)
    if not isinstance(content, dict) or not all(isinstance(content.get(k), list) for k in ("images", "annotations")):
        return False
    return not any(isinstance(entry, dict) and "score" in entry for entry in content["annotations"][:1])


def json_head(path: str) -> str:
    """The beginning of a file as text; empty where it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read(_HEAD).decode("utf-8-sig", "ignore")
    except OSError:
        return ""


def _split_name(file: str) -> str:
    """`instances_train2017.json` -> train2017; `train/_annotations.coco.json` -> train."""
    folder, _, name = file.rpartition("/")
    stem = re.sub(r"^(instances|person_keypoints|annotations?)_|_annotations$|\.coco$|^_", "", name[: -len(".json")])
    stem = re.sub(r"^(instances|annotations?|labels|coco|data|result)(\.coco)?$", "", stem)
    parents = [part for part in folder.split("/") if part not in ("", "annotations", "Annotations", "images", "labels")]
    return stem or (parents[-1] if parents else WHOLE)


def find_image_root(json_path: str) -> str:
    """The folder of the images of a COCO JSON file, wherever it lies. Raises `MissingFile`."""
    here, name = os.path.split(os.path.abspath(json_path))
    folder = os.path.dirname(here) if os.path.basename(here).lower() == "annotations" else here
    return image_root(folder, os.path.relpath(os.path.join(here, name), folder).replace(os.sep, "/"), _split_name(name))


def image_root(folder: str, file: str, split: str) -> str:
    """The folder that the file names of a JSON file below `folder` are relative to: the one with the first images."""
    names, stated = _images_of(os.path.join(folder, file))
    here = file.rpartition("/")[0]
    above = here.rpartition("/")[0]
    places = [f"{base}/{end}".strip("/") for base in (here, above, "")
              for end in (split, f"images/{split}", f"{split}/images", "images", "data", "")]  # fmt: skip
    folders = [os.path.join(folder, here, stated)] if stated else []
    folders += [os.path.join(folder, place) for place in dict.fromkeys(places)]
    own = [re.split(r"[\\/]", name)[-1] for name in names]  # without the folders that another machine had
    for place, some in [(place, some) for some in (names, own) for place in folders]:
        if any(os.path.isfile(os.path.join(place, name)) for name in some[:5]):
            return os.path.abspath(place)
    if not names:
        return os.path.abspath(os.path.join(folder, here))
    tried = f"{os.path.normpath(folders[0])} and {len(folders) - 1} folders near it"
    raise MissingFile(
        f"{os.path.join(folder, file)}: its first image {names[0]!r} is in none of the usual places ({tried}); put the "
        f"images into {os.path.join(folder, 'images')}"
    )


def note_image_root(root: str, json_folder: str, dataset_folder: str) -> str:
    """What a JSON file says of its images: their full path; or from itself, where both would be moved together."""
    out = os.path.dirname(json_folder) if os.path.basename(json_folder) == "annotations" else json_folder
    together = is_below(root, out) or is_below(out, dataset_folder)
    return os.path.relpath(root, json_folder).replace(os.sep, "/") if together else root


def is_below(path: str, folder: str) -> bool:
    """Whether a path is that of a folder, or leads into it."""
    return f"{path}{os.sep}".startswith(f"{folder.rstrip(os.sep)}{os.sep}")


def _images_of(path: str) -> tuple[list[str], str | None]:
    """The first file names, and the folder of images that conversions note; from the head of the file if it will."""
    head = json_head(path)
    if match := re.search(r'"images"\s*:\s*\[', head):
        names = re.findall(r'"file_name"\s*:\s*("(?:[^"\\]|\\.)*")', head[match.end() :])
        root = re.search(r'"image_root"\s*:\s*("(?:[^"\\]|\\.)*")', head[: match.start()])
        if names:
            return [json.loads(name) for name in names[:5]], json.loads(root[1]) if root else None
    content = read_json_file(path)
    info: Any = content.get("info")
    root = info.get("image_root") if isinstance(info, dict) else None
    entries = [entry for entry in content["images"][:5] if isinstance(entry, dict)]
    return [str(e["file_name"]) for e in entries if "file_name" in e], root if isinstance(root, str) else None
