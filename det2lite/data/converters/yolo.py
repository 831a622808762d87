"""Reads YOLO's labels: a text file for each image, a line for each object.

`class x y width height` is a box by its centre, `class x0 y0 x1 y1 x2 y2 ...` a polygon; all of them shares of the
image's width and height. `data.yaml`, or Darknet's `obj.data`, names classes and splits; without them, folders do.
"""

import os
import re
from typing import Any, NamedTuple

import yaml

from det2lite.data.converters.files import Tree, find_image, finite, image_size, read_names, read_text, split_of
from det2lite.data.converters.records import Event, Plan, SourceImage, SourceObject, box_of_polygons
from det2lite.utils.errors import BadValue, MissingFile

TITLE = "YOLO"
_CLASS_LISTS = ("classes.txt", "obj.names", "labels/classes.txt", "names.txt")
_NOT_SPLITS = ("path", "names", "nc", "download", "yaml_file", "channels", "classes", "backup", "eval", "results")
_NUMBER = r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?"
_LINE = re.compile(rf"\s*\d+(\s+{_NUMBER}){{4,}}\s*")


class YoloJob(NamedTuple):
    """An image, and the label files that may be its own, the likeliest first."""

    image: str
    labels: tuple[str, ...]


def recognise(tree: Tree) -> str | None:
    data_file = _data_yaml(tree) or _darknet_data(tree)
    if data_file:
        return f"{data_file} with names and splits"
    stems = {os.path.splitext(file)[0] for file in tree.images}
    for file in tree.sample(".txt"):
        stem = file[: -len(".txt")]
        if (stem in stems or _swapped(stem, "labels", "images") in stems) and _is_label_file(tree.path(file)):
            return f"label files such as {file}"
    return None


def _is_label_file(path: str) -> bool:
    """Whether the first line that is not empty is an object."""
    try:
        with open(path, encoding="utf-8") as file:
            line = next((line for line in file if line.strip()), "")
    except (OSError, UnicodeDecodeError):
        return False
    return bool(_LINE.fullmatch(line))


def _data_yaml(tree: Tree) -> str | None:
    for file in tree.with_extension(".yaml", ".yml"):
        if "/" not in file:
            content = _read_yaml(tree.path(file), strict=False)
            if isinstance(content, dict) and "names" in content and _splits(content, tree):
                return file
    return None


def _darknet_data(tree: Tree) -> str | None:
    """The file of Darknet, which CVAT writes too, that says where lists of images and the class names are."""
    for file in tree.with_extension(".data"):
        if "/" not in file:
            content = _read_data(tree.path(file))
            if "names" in content and _splits(content, tree):
                return file
    return None


def _read_data(path: str) -> dict[str, str]:
    """Lines `key = value`; nothing of what is not such text."""
    try:
        lines = read_text(path).splitlines()
    except BadValue:
        return {}
    pairs = (line.partition("=") for line in lines if not line.lstrip().startswith("#"))
    return {key.strip(): value.strip() for key, equals, value in pairs if equals and key.strip() and value.strip()}


def _splits(content: dict, tree: Tree) -> list[str]:
    """The keys that name splits: train, val, test, and others that lead to something."""
    own = [
        str(k) for k, v in content.items() if k not in _NOT_SPLITS and isinstance(v, str) and _place(v, content, tree)
    ]
    return list(dict.fromkeys([key for key in ("train", "val", "test") if content.get(key)] + own))


def _place(entry: str, content: dict, tree: Tree) -> str | None:
    """A folder or file that data.yaml names.

    Paths as exported elsewhere may begin with `../` too many, those of obj.data with the folder that Darknet runs in.
    """
    bases = [os.path.join(tree.folder, content["path"])] if isinstance(content.get("path"), str) else []
    bases.append(tree.folder)
    ends = [entry, re.sub(r"^(\.\.?/)+", "", entry)]
    if entry.endswith((".txt", ".names")):
        ends.append(entry.rpartition("/")[2])
    tries = [os.path.normpath(os.path.join(base, end)) for end in ends for base in bases]
    return next((place for place in tries if os.path.exists(place)), None)


def _read_yaml(path: str, strict: bool = True) -> Any:
    try:
        return yaml.safe_load(read_text(path))
    except (yaml.YAMLError, RecursionError, BadValue, ValueError) as error:
        if not strict:
            return None
        if isinstance(error, BadValue):
            raise
        mark = getattr(error, "problem_mark", None)
        line = f"line {mark.line + 1}: " if mark else ""
        raise BadValue(f"{path}: {line}not YAML ({str(error).splitlines()[0]})") from None


def plan(tree: Tree, class_key: str | None) -> Plan:
    """One job for each image; an image without labels is one without objects."""
    if yaml_file := _data_yaml(tree):
        content = _read_yaml(tree.path(yaml_file))
        return _plan_of_splits(tree, yaml_file, content, _names(content, tree.path(yaml_file)))
    if data_file := _darknet_data(tree):
        content = _read_data(tree.path(data_file))
        names = _place(content["names"], content, tree)
        if names is None:
            raise MissingFile(f"{tree.path(data_file)}: its list of names, {content['names']}, is not there")
        return _plan_of_splits(tree, data_file, content, read_names(names))
    if not tree.images:
        raise MissingFile(f"{tree.folder}: no images; YOLO has images/ and labels/, or both side by side")
    jobs: dict[str, list[YoloJob]] = {}
    for file in tree.images:
        jobs.setdefault(split_of(file), []).append(_job(tree.path(file)))
    result = Plan(jobs, read, _class_list(tree))
    _note_labels_left_over(tree, result)
    return result


def _class_list(tree: Tree) -> list[str] | None:
    """The names of the classes where no file says what the splits are: of a list, else of a YAML."""
    yamls = [tree.path(file) for file in tree.with_extension(".yaml", ".yml") if "/" not in file]
    contents = [(_read_yaml(path), path) for path in yamls]  # one that is broken is no reason to go on without it
    classes = next((file for file in _CLASS_LISTS if file in tree.files), None)
    classes = classes or next((file for file in tree.files if file.endswith(("/classes.txt", ".names"))), None)
    if classes:
        return read_names(tree.path(classes))
    named = [_names(content, path) for content, path in contents if isinstance(content, dict) and "names" in content]
    return named[0] if named else None


def _job(image: str) -> YoloJob:
    stem = os.path.splitext(image.replace(os.sep, "/"))[0]
    labels = (_swapped(stem, "images", "labels"), stem)
    return YoloJob(image, tuple(f"{label}.txt" for label in dict.fromkeys(labels)))


def _swapped(stem: str, old: str, new: str) -> str:
    """The path with its last folder `old` called `new`."""
    before, found, after = f"/{stem}".rpartition(f"/{old}/")
    return f"{before}/{new}/{after}"[1:] if found else stem


def _note_labels_left_over(tree: Tree, result: Plan) -> None:
    """Label files whose image is not there, and those that several images share."""
    images_of: dict[str, dict[str, None]] = {}
    split_of_image: dict[str, str] = {}
    for split, jobs in result.jobs.items():
        for job in jobs:
            label = next((label for label in job.labels if os.path.isfile(label)), None)
            if label:
                images_of.setdefault(os.path.normcase(label), {})[job.image] = None
            other = split_of_image.setdefault(job.image, split)
            if other != split:
                result.notes.append(Event(f"image of split {split} that is in {other} too", job.image))
    for label, images in images_of.items():
        if len(images) > 1:
            result.notes.append(Event("label file of several images, which all get its objects", label))
    for file in tree.with_extension(".txt"):
        path = os.path.normcase(tree.path(file).replace(os.sep, "/"))
        if path not in images_of and _is_label_file(tree.path(file)):
            result.skipped.append(Event("label file without image", file))


def _plan_of_splits(tree: Tree, data_file: str, content: dict, names: list[str]) -> Plan:
    """One job for each image of the splits that data.yaml or obj.data names."""
    path = tree.path(data_file)
    result = Plan({}, read_pose if "kpt_shape" in content else read, names)
    if "kpt_shape" in content:
        result.notes.append(Event("keypoints left out, boxes read", data_file))
    for split in _splits(content, tree):
        entries = content[split]
        entries = [entries] if isinstance(entries, str) else entries
        if not isinstance(entries, list) or not all(isinstance(entry, str) for entry in entries):
            raise BadValue(f"{path}: {split!r} must be a folder, a list file, or a list of them")
        images = []
        for entry in entries:
            place = _place(entry, content, tree)
            if place is None:
                result.skipped.append(Event("split that is not there", f"{split}: {entry}"))
            elif os.path.isdir(place):
                images += _images_below(place)
            else:
                images += _images_of_list(place, tree, result)
        if images:
            result.jobs[split] = [_job(image) for image in dict.fromkeys(images)]
    if not result.jobs:
        raise MissingFile(f"{path}: no images in the folders that it names")
    _note_labels_left_over(tree, result)
    return result


def _names(content: dict, path: str) -> list[str]:
    names = content["names"]
    if isinstance(names, dict):
        try:
            ordered = {int(number): str(name) for number, name in names.items()}
        except (TypeError, ValueError):
            raise BadValue(f"{path}: 'names' must give a name for each number of a class") from None
        if sorted(ordered) != list(range(len(ordered))):
            raise BadValue(f"{path}: 'names' must number the classes 0 to {len(ordered) - 1} without a gap")
        return [ordered[number] for number in range(len(ordered))]
    if not isinstance(names, list) or not names:
        raise BadValue(f"{path}: 'names' must be the list of the classes")
    names = [str(name) for name in names]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise BadValue(f"{path}: 'names' has {twice!r} twice")
    return names


def _images_below(folder: str) -> list[str]:
    if not os.listdir(folder):
        return []
    inner = Tree(folder)
    return [inner.path(image) for image in inner.images]


def _images_of_list(list_file: str, tree: Tree, result: Plan) -> list[str]:
    """The images that a text file lists, a path on each line."""
    images = []
    for number, line in enumerate(read_text(list_file).splitlines(), 1):
        if name := line.strip():
            image = name if os.path.isabs(name) and os.path.isfile(name) else None
            image = image or find_image(name, [os.path.dirname(list_file), tree.folder])
            if image is None:
                result.skipped.append(Event("image file missing", f"{list_file} line {number}: {name}"))
            else:
                images.append(os.path.normpath(image))
    return images


def read(job: YoloJob, boxes_only: bool = False) -> list[SourceImage]:
    image = SourceImage(job.image)
    label = next((label for label in job.labels if os.path.isfile(label)), None)
    if label is None:
        image.note("image without label file, taken as one without objects", job.image)
        return [image]
    lines = [(number, line.split()) for number, line in enumerate(read_text(label).splitlines(), 1) if line.strip()]
    try:
        image.size = image_size(job.image)
    except Exception:  # said where all images are measured
        image.objects = [SourceObject(0, (0, 0, 1, 1)) for _ in lines]
        return [image]
    seen = set()
    for number, words in lines:
        where = f"{label}: line {number}"
        found = _read_line(words[:5] if boxes_only else words, image, where)
        if tuple(words) in seen:
            image.note("line twice in a label file, both kept", where)
        seen.add(tuple(words))
        image.objects.append(found)
    return [image]


def read_pose(job: YoloJob) -> list[SourceImage]:
    """Lines go on with keypoints after the box."""
    return read(job, boxes_only=True)


def _read_line(words: list[str], image: SourceImage, where: str) -> SourceObject:
    if not re.fullmatch(r"\d{1,9}(\.0*)?", words[0]):
        raise BadValue(f"{where}: {words[0][:40]!r} must be the number of a class")
    values = finite(words[1:], where)
    if len(values) < 4 or (len(values) != 4 and (len(values) < 6 or len(values) % 2)):
        raise BadValue(f"{where}: {len(values)} numbers after the class; a box has 4, a polygon 6 or more, in pairs")
    if max(map(abs, values)) > 2:
        raise BadValue(f"{where}: {max(values, key=abs)} is no share of the image's size; are these pixels?")
    width, height = image.size
    number = int(words[0].partition(".")[0])
    if len(values) == 4:
        x, y, w, h = (v * side for v, side in zip(values, (width, height) * 2, strict=True))
        return SourceObject(number, (x - w / 2, y - h / 2, x + w / 2, y + h / 2))
    polygon = [v * (height if i % 2 else width) for i, v in enumerate(values)]
    return SourceObject(number, box_of_polygons([polygon]), segmentation=[polygon])
