"""Splits a data set in the COCO format: at random or in folds, balanced by class, groups kept together."""

import os
import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from det2lite.data.converters.coco import find_image_root, note_image_root
from det2lite.data.converters.output import require_free, write_jsons
from det2lite.data.datasets.coco_reader import CocoFile, read_json
from det2lite.utils.errors import BadValue, MissingFile, UnknownName, close_names

DEFAULT_NAMES = {2: ("train", "val"), 3: ("train", "val", "test")}


@dataclass
class Unit:
    """Images that stay together: one, or a group. classes: how many of them have each category."""

    images: list[dict]
    classes: Counter


def split_by_ratio(
    file: CocoFile, ratios: Sequence[float], *, stratify: bool = False, group_by: str | None = None, seed: int = 0
) -> list[list[dict]]:
    """The images of each part. ratios: fractions of the images, which add up to 1.

    stratify: each category has its fraction of images in each part, as far as that can be (iterative stratification,
    Sechidis et al. 2011, doi 10.1007/978-3-642-23808-6_10). group_by: a key of images, or a regular expression for file
    names whose first group, or whole match, is the key; images of one key stay in one part. The result depends on the
    seed and on the images, not on their order.
    """
    if any(not ratio > 0 for ratio in ratios) or abs(sum(ratios) - 1) > 1e-6:
        total = f"{sum(ratios):.6g}"
        raise BadValue(f"fractions {' '.join(map(str, ratios))}: each must be above 0 and their sum 1, not {total}")
    units = _units(file, group_by, seed)
    what = "groups" if group_by else "images"
    if len(units) < len(ratios):
        raise BadValue(f"{file.path}: {len(units)} {what} cannot be split into {len(ratios)} parts")
    parts = _stratified(units, list(ratios), random.Random(seed)) if stratify else _by_size(units, list(ratios))
    for number, part in enumerate(parts):
        if not part:
            raise BadValue(
                f"{file.path}: {len(units)} {what} are too few for a part of {ratios[number]:g}, which got none; "
                "take other fractions"
            )
    return [sorted((i for unit in part for i in unit.images), key=lambda image: str(image["id"])) for part in parts]


def _units(file: CocoFile, group_by: str | None, seed: int) -> list[Unit]:
    """In an order that depends on file names and the seed only."""
    images = sorted(file.images, key=lambda image: (str(image["file_name"]), str(image["id"])))
    if not images:
        raise BadValue(f"{file.path}: no images to split")
    keys = _group_keys(images, group_by, file.path) if group_by else range(len(images))
    grouped: dict[Any, list[dict]] = {}
    for key, image in zip(keys, images, strict=True):
        grouped.setdefault(key, []).append(image)
    units = []
    for members in grouped.values():
        of_image = [{a["category_id"] for a in file.annotations[image["id"]]} for image in members]
        units.append(Unit(members, Counter(category for categories in of_image for category in categories)))
    random.Random(seed).shuffle(units)
    return units


def _group_keys(images: list[dict], group_by: str, path: str) -> list[str]:
    having = [image for image in images if group_by in image]
    if having:
        if len(having) < len(images):
            without = next(image for image in images if group_by not in image)
            raise BadValue(f"{path}: image {without['id']} has no {group_by!r}, which others have")
        return [str(image[group_by]) for image in images]
    if re.fullmatch(r"\w+", group_by):
        keys = sorted({key for image in images for key in image})
        hint = close_names(group_by, keys) or f"; there are {', '.join(keys)}"
        raise UnknownName(f"{path}: no image has the key {group_by!r}{hint}")
    try:
        pattern = re.compile(group_by)
    except re.error as error:
        raise BadValue(f"{group_by!r} is neither a key of images nor a regular expression ({error})") from None
    keys = []
    for image in images:
        match = pattern.search(str(image["file_name"]))
        if not match:
            raise BadValue(f"{path}: {group_by!r} matches nothing in the file name {image['file_name']!r}")
        keys.append((match[1] if pattern.groups else match[0]) or "")
    return keys


def _by_size(units: list[Unit], ratios: list[float]) -> list[list[Unit]]:
    """Large groups first, each into the part that lacks most; parts of single images get their exact number."""
    total = sum(len(unit.images) for unit in units)
    lacking = _whole_numbers(total, ratios)
    parts: list[list[Unit]] = [[] for _ in ratios]
    for unit in sorted(units, key=lambda unit: -len(unit.images)):
        part = max(range(len(ratios)), key=lambda p: lacking[p])
        parts[part].append(unit)
        lacking[part] -= len(unit.images)
    return parts


def _whole_numbers(total: int, ratios: list[float]) -> list[int]:
    """Parts of `total` whose sum it is: rounded down, and the largest remainders up."""
    exact = [total * ratio for ratio in ratios]
    parts = [int(v + 1e-9) for v in exact]
    by_remainder = sorted(range(len(ratios)), key=lambda p: parts[p] - exact[p])
    for part in by_remainder[: total - sum(parts)]:
        parts[part] += 1
    return parts


def _stratified(units: list[Unit], ratios: list[float], rng: random.Random) -> list[list[Unit]]:
    """The rarest category first: each of its units goes where that category, then images, are lacking most."""
    lacking = [sum(len(unit.images) for unit in units) * ratio for ratio in ratios]
    left: Counter = Counter()  # images of each category in units that wait
    having: dict[Any, list[int]] = {}
    for number, unit in enumerate(units):
        left.update(unit.classes)
        for category in unit.classes:
            having.setdefault(category, []).append(number)
    lacking_of = {category: [count * ratio for ratio in ratios] for category, count in left.items()}
    parts: list[list[Unit]] = [[] for _ in ratios]
    waiting = set(range(len(units)))
    while waiting:
        rarest = min((c for c in left if left[c] > 0), key=lambda c: (left[c], str(c)), default=None)
        chosen = [n for n in (range(len(units)) if rarest is None else having[rarest]) if n in waiting]
        chosen.sort(key=lambda n: (-units[n].classes[rarest], -len(units[n].images)))  # noqa: B023  used at once
        for number in chosen:
            unit = units[number]
            wish = lacking_of.get(rarest, lacking)
            part = max(range(len(ratios)), key=lambda p: (round(wish[p], 9), round(lacking[p], 9), rng.random()))  # noqa: B023
            parts[part].append(unit)
            waiting.remove(number)
            left.subtract(unit.classes)
            lacking[part] -= len(unit.images)
            for category, count in unit.classes.items():
                lacking_of[category][part] -= count
    return parts


def split_file(
    path: str | os.PathLike, output_dir: str | os.PathLike, *, ratios: Sequence[float] | None = None,
    folds: int | None = None, names: Sequence[str] | None = None, stratify: bool = False, group_by: str | None = None,
    seed: int = 0, overwrite: bool = False,
) -> dict[str, dict]:  # fmt: skip
    """Writes `instances_<name>.json` for each part, all or none; returns the contents by name.

    ratios: one file each. folds: for each fold K the files `fold<K>_train` and `fold<K>_val`, where each image is in
    `val` once. Whatever else is in the file goes along.
    """
    file = CocoFile(path)
    options = {"stratify": stratify, "group_by": group_by, "seed": seed}
    if (ratios is None) == (folds is None):
        raise BadValue("give either fractions (--ratio) or a number of folds (--folds)")
    if folds is not None:
        if folds < 2:
            raise BadValue(f"{folds} folds: there must be 2 or more")
        held_out = split_by_ratio(file, [1 / folds] * folds, **options)
        images_of = {}
        for number, images in enumerate(held_out):
            rest = [image for other, part in enumerate(held_out) if other != number for image in part]
            images_of |= {f"fold{number}_train": rest, f"fold{number}_val": images}
    else:
        names = names or DEFAULT_NAMES.get(len(ratios)) or [f"part{n}" for n in range(len(ratios))]
        if len(names) != len(ratios) or len(set(names)) != len(names):
            raise BadValue(f"{len(ratios)} fractions need as many different names, not {' '.join(names)}")
        images_of = dict(zip(names, split_by_ratio(file, ratios, **options), strict=True))
    paths = {name: os.path.join(os.fspath(output_dir), f"instances_{name}.json") for name in images_of}
    for part in paths.values():
        if os.path.exists(part) and os.path.samefile(part, path):
            raise BadValue(f"{part} is the file to be split, which stays; give another --output, or other --names")
    require_free(paths.values(), overwrite)
    contents = _contents(file, images_of, os.path.abspath(output_dir))
    write_jsons({paths[name]: content for name, content in contents.items()})
    return contents


def _contents(file: CocoFile, images_of: dict[str, list[dict]], output_dir: str) -> dict[str, dict]:
    original = read_json(file.path)
    info = original.get("info") if isinstance(original.get("info"), dict) else {}
    try:
        root = find_image_root(file.path)
        info = {**info, "image_root": note_image_root(root, output_dir, root)}
    except MissingFile:  # the images are elsewhere; splitting needs none
        pass
    order = {image["id"]: number for number, image in enumerate(original["images"])}
    contents = {}
    for name, images in images_of.items():
        images = sorted(images, key=lambda image: order[image["id"]])
        annotations = [a for image in images for a in file.annotations[image["id"]]]
        contents[name] = {**original, "info": info, "images": images, "annotations": annotations}
    return contents


def split_table(contents: dict[str, dict]) -> str:
    """Images and instances of each category in each part, as text."""
    from tabulate import tabulate

    rows = []
    for category in next(iter(contents.values())).get("categories") or []:
        row = [category["name"]]
        for content in contents.values():
            of_class = [a["image_id"] for a in content["annotations"] if a["category_id"] == category["id"]]
            row.append(f"{len(set(of_class))} / {len(of_class)}")
        rows.append(row)
    rows.append(["all", *(f"{len(c['images'])} / {len(c['annotations'])}" for c in contents.values())])
    return "images / instances\n" + tabulate(rows, headers=["class", *contents], stralign="right")
