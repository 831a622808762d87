"""Reads a folder of images without annotations; splits are folders named like splits."""

from det2lite.data.converters.files import Tree, split_of
from det2lite.data.converters.records import Plan, SourceImage
from det2lite.utils.errors import MissingFile

TITLE = "a folder of images"
_ANNOTATIONS = (".json", ".xml", ".csv", ".txt", ".yaml", ".yml", ".names")
_BESIDE = ("classes.txt", "names.txt", "labels.txt", "readme", "license")


def recognise(tree: Tree) -> str | None:
    """Only where nothing could be an annotation."""
    if not tree.images:
        return None
    others = [f for f in tree.with_extension(*_ANNOTATIONS) if not f.split("/")[-1].lower().startswith(_BESIDE)]
    return None if others else f"{len(tree.images)} images and no annotations"


def plan(tree: Tree, class_key: str | None) -> Plan:
    if not tree.images:
        raise MissingFile(f"{tree.folder}: no images in it")
    jobs: dict[str, list[str]] = {}
    for file in tree.images:
        jobs.setdefault(split_of(file), []).append(tree.path(file))
    return Plan(jobs, read)


def read(job: str) -> list[SourceImage]:
    return [SourceImage(job)]
