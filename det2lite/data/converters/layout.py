"""Recognises how a data set is laid out, by its files and what stands in them."""

import os
from dataclasses import dataclass, field
from types import ModuleType

from det2lite.data.converters import cityscapes, coco, cvat, image_folder, labelme, via, voc, yolo
from det2lite.data.converters.files import Tree
from det2lite.data.converters.records import Plan
from det2lite.utils.errors import BadValue, UnknownName, close_names

READERS: dict[str, ModuleType] = {
    "coco": coco, "voc": voc, "yolo": yolo, "via": via, "labelme": labelme, "cvat": cvat, "cityscapes": cityscapes,
    "folder": image_folder,
}  # fmt: skip
"""`recognise(tree) -> evidence or None`, `plan(tree, class_key) -> Plan`; TITLE for messages."""

_ROLES = {"train": ("train",), "val": ("val", "valid", "validation", "dev", "minival"), "test": ("test",)}


@dataclass(frozen=True)
class DataLayout:
    """A data set as it was recognised. name: a key of `READERS`. evidence: what it was recognised by, for people.

    splits: their names in the source, such as "train2017"; "all" for a data set without splits. images: paths of all.
    """

    name: str
    folder: str
    evidence: str
    splits: tuple[str, ...]
    images: tuple[str, ...] = field(repr=False)
    plan: Plan = field(repr=False, compare=False)

    @property
    def title(self) -> str:
        return READERS[self.name].TITLE

    def split_for(self, role: str) -> str | None:
        """The split that is "train", "val" or "test", by its name; None where there is none."""
        for word in _ROLES[role]:
            if word in self.splits:
                return word
        named = [split for split in self.splits if split.lower().startswith(_ROLES[role])]
        return min(named, key=lambda split: split.lower().startswith("trainval"), default=None)


def recognise_layout(
    folder: str | os.PathLike, *, format: str | None = None, class_key: str | None = None
) -> DataLayout:
    """How the data set in a folder is laid out. format: a key of `READERS`, to say so rather than have it recognised.

    class_key: see the reader of VIA. Raises a `UserError` where nothing, or more than one format, is recognised.
    """
    if format is not None and format not in READERS:
        raise UnknownName(f"no format {format!r}{close_names(format, READERS)}; known: {', '.join(READERS)}")
    tree = Tree(folder)
    if format is None:
        format, evidence = _recognise(tree)
    else:
        evidence = READERS[format].recognise(tree) or "as asked for"
    plan = READERS[format].plan(tree, class_key)
    plan.jobs = {split: plan.jobs[split] for split in sorted(plan.jobs, key=_order)}
    return DataLayout(format, tree.folder, evidence, tuple(plan.jobs), tuple(map(tree.path, tree.images)), plan)


def _order(split: str) -> tuple[int, str]:
    """Training first, then validation, then tests."""
    starts = [role for role, words in _ROLES.items() if split.lower().startswith(words)]
    return (list(_ROLES).index(starts[0]) if starts else len(_ROLES), split)


def _recognise(tree: Tree) -> tuple[str, str]:
    found = {name: evidence for name, reader in READERS.items() if (evidence := reader.recognise(tree))}
    if len(found) > 1:
        found.pop("folder", None)  # maps that are annotations are images too
    made = coco.conversions(tree) if len(found) > 1 and "coco" in found else []
    if made:
        del found["coco"]
    if len(found) > 1:
        listed = " and as ".join(f"{READERS[name].TITLE} ({evidence})" for name, evidence in found.items())
        raise BadValue(f"{tree.folder} can be read as {listed}; say which: {' or '.join(found)} (--from, or --format)")
    if not found:
        raise BadValue(f"{tree.folder}: no data set recognised{_near(tree)}; {_what_is_there(tree)}")
    name, evidence = next(iter(found.items()))
    return name, f"{evidence}; {made[0]}, which was converted from it, is not read" if made else evidence


def _what_is_there(tree: Tree) -> str:
    counts: dict[str, int] = {}
    for file in tree.files:
        extension = os.path.splitext(file)[1].lower() or "no extension"
        counts[extension] = counts.get(extension, 0) + 1
    most = sorted(counts.items(), key=lambda entry: -entry[1])[:5]
    return f"it holds {', '.join(f'{count} x {name}' for name, count in most)}; formats: {', '.join(READERS)}"


def _near(tree: Tree) -> str:
    """A hint at a folder within that is a data set."""
    for child in sorted({file.split("/")[0] for file in tree.files if "/" in file})[:20]:
        inner = Tree(tree.path(child))
        if any(reader.recognise(inner) for name, reader in READERS.items() if name != "folder"):
            return f" (is it {os.path.join(tree.folder, child)}?)"
    return ""
