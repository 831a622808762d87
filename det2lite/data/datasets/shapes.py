"""The embedded data set: overlapping shapes on textured grounds, in COCO's layout, made when first asked for.

`<root>/shapes/` holds `{train,val}/*.png`, `annotations/{instances,keypoints,panoptic}_{train,val}.json`,
`panoptic_{train,val}/`, `sem_seg_{train,val}/` and `panoptic_stuff_{train,val}/`. The same seed gives the same pixels
and annotations on every machine.
"""

import os

from det2lite.data.catalog import DatasetCatalog, MetadataCatalog
from det2lite.data.data_root import data_root, join_root
from det2lite.data.datasets.coco_loader import load_coco_json, load_sem_seg
from det2lite.data.datasets.coco_panoptic import merge_to_panoptic, register_coco_panoptic
from det2lite.data.datasets.register_coco import register_coco_instances
from det2lite.data.datasets.shapes_coco import COLOURS, IGNORE_LABEL, STUFF_IDS, THING_IDS
from det2lite.data.datasets.shapes_files import FOLDER, SPLITS, ensure_shapes
from det2lite.data.datasets.shapes_scene import CORNER_NAMES, STUFF_NAMES, THING_NAMES

__all__ = ["ensure_shapes", "register_all_shapes"]

SUFFIXES = ("", "_keypoints", "_sem_seg", "_panoptic", "_panoptic_separated", "_panoptic_stuffonly")


def register_all_shapes(root: str | None = None) -> None:
    """Register shapes_{train,val} and each of them with every other of `SUFFIXES`.

    root: the folder that holds, or will hold, `shapes/`; None for the data root of the moment. Nothing is made or read
    before a data set is asked for.
    """
    for split in SPLITS:

        def below(relative: str, split: str = split):
            return join_root(root, f"{FOLDER}/{relative.format(split)}")

        name = f"shapes_{split}"
        images, instances = below("{}"), below("annotations/instances_{}.json")
        register_coco_instances(name, _thing_metadata(THING_NAMES), instances, images)
        keypoints = below("annotations/keypoints_{}.json")
        register_coco_instances(f"{name}_keypoints", _thing_metadata(("triangle",)), keypoints, images)
        panoptic = {"panoptic_root": below("panoptic_{}"), "panoptic_json": below("annotations/panoptic_{}.json")}
        register_coco_panoptic(f"{name}_panoptic", _panoptic_metadata(), images, **panoptic, instances_json=instances)
        stuff = below("panoptic_stuff_{}")
        _register_separated(f"{name}_panoptic_separated", images, stuff, json_file=instances, **panoptic)
        _register_semantic(f"{name}_panoptic_stuffonly", images, stuff, ("things", *STUFF_NAMES))
        _register_semantic(f"{name}_sem_seg", images, below("sem_seg_{}"), THING_NAMES + STUFF_NAMES)
        for suffix in SUFFIXES:
            _make_first(name + suffix, root)


def _make_first(name: str, root: str | None) -> None:
    """Let the registered data set make its files before it reads them."""
    read = DatasetCatalog.pop(name)

    def make_and_read() -> list[dict]:
        ensure_shapes(data_root() if root is None else root)
        return read()

    DatasetCatalog.register(name, make_and_read)


def _read_maps(maps: str | os.PathLike, images: str | os.PathLike) -> list[dict]:
    return load_sem_seg(maps, images, gt_ext="png", image_ext="png")


def _register_semantic(name: str, images: str | os.PathLike, maps: str | os.PathLike, classes: tuple[str, ...]) -> None:
    DatasetCatalog.register(name, lambda: _read_maps(maps, images))
    MetadataCatalog.get(name).set(
        image_root=images,
        sem_seg_root=maps,
        evaluator_type="sem_seg",
        ignore_label=IGNORE_LABEL,
        stuff_classes=list(classes),
        stuff_colors=_colours(classes),
    )


def _register_separated(name: str, images: str | os.PathLike, maps: str | os.PathLike, **paths) -> None:
    """Instances, and maps that know the stuff but call all things 0."""
    json_file = paths["json_file"]
    DatasetCatalog.register(
        name, lambda: merge_to_panoptic(load_coco_json(json_file, images, name), _read_maps(maps, images))
    )
    stuff_classes = ("things", *STUFF_NAMES)
    MetadataCatalog.get(name).set(
        image_root=images,
        sem_seg_root=maps,
        evaluator_type="coco_panoptic_seg",
        ignore_label=IGNORE_LABEL,
        label_divisor=1000,
        stuff_classes=list(stuff_classes),
        stuff_colors=_colours(stuff_classes),
        stuff_dataset_id_to_contiguous_id={0: 0, **{i: k + 1 for k, i in enumerate(STUFF_IDS)}},
        **_thing_metadata(THING_NAMES),
        **paths,
    )


def _colours(names: tuple[str, ...]) -> list[list[int]]:
    return [list(COLOURS[name]) for name in names]


def _thing_metadata(names: tuple[str, ...]) -> dict:
    """Classes, and the corners of the triangle as keypoints."""
    colours = ((255, 140, 0), (0, 160, 255), (0, 200, 90))
    lines = zip(CORNER_NAMES, (*CORNER_NAMES[1:], CORNER_NAMES[0]), colours, strict=True)
    return {
        "thing_classes": list(names),
        "thing_colors": _colours(names),
        "thing_dataset_id_to_contiguous_id": {THING_IDS[THING_NAMES.index(n)]: k for k, n in enumerate(names)},
        "keypoint_names": list(CORNER_NAMES),
        "keypoint_flip_map": [("left", "right")],
        "keypoint_connection_rules": list(lines),
    }


def _panoptic_metadata() -> dict:
    """One list of classes for all segments: the things, then the stuff."""
    names = THING_NAMES + STUFF_NAMES
    return {
        "thing_classes": list(names),
        "thing_colors": _colours(names),
        "stuff_classes": list(names),
        "stuff_colors": _colours(names),
        "thing_dataset_id_to_contiguous_id": {i: k for k, i in enumerate(THING_IDS)},
        "stuff_dataset_id_to_contiguous_id": {i: k + len(THING_NAMES) for k, i in enumerate(STUFF_IDS)},
    }
