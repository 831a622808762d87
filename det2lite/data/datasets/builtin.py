"""Registers the public data sets under their familiar names; their files are looked for when they are asked for.

All paths are below `$DETECTRON2_DATASETS` (`./datasets` where it is not set), as datasets/README.md draws it.
"""

from det2lite.data.catalog import DatasetCatalog, MetadataCatalog
from det2lite.data.data_root import join_root
from det2lite.data.datasets.builtin_meta import _get_builtin_metadata
from det2lite.data.datasets.coco_loader import load_sem_seg
from det2lite.data.datasets.coco_panoptic import register_coco_panoptic, register_coco_panoptic_separated
from det2lite.data.datasets.pascal_voc import register_pascal_voc
from det2lite.data.datasets.register_coco import register_coco_instances
from det2lite.data.datasets.shapes import register_all_shapes

__all__ = [
    "DatasetCatalog",
    "MetadataCatalog",
    "load_sem_seg",
    "register_all_coco",
    "register_all_pascal_voc",
    "register_all_shapes",
    "register_coco_instances",
    "register_coco_panoptic",
    "register_coco_panoptic_separated",
    "register_pascal_voc",
]

# name after "coco_": folder of images, file of annotations
_COCO_SPLITS = {
    "2014_train": ("train2014", "instances_train2014"),
    "2014_val": ("val2014", "instances_val2014"),
    "2014_minival": ("val2014", "instances_minival2014"),
    "2014_valminusminival": ("val2014", "instances_valminusminival2014"),
    "2017_train": ("train2017", "instances_train2017"),
    "2017_val": ("val2017", "instances_val2017"),
    "2017_test": ("test2017", "image_info_test2017"),
    "2017_test-dev": ("test2017", "image_info_test-dev2017"),
    "2017_val_100": ("val2017", "instances_val2017_100"),
}
_WITH_KEYPOINTS = [split for split in _COCO_SPLITS if "test" not in split]
# name after "coco_2017_", before "_panoptic": folder of images, end of the other names
_PANOPTIC_SPLITS = {
    "train": ("train2017", "train2017"),
    "val": ("val2017", "val2017"),
    "val_100": ("val2017", "val2017_100"),
}
_VOC_SPLITS = {2007: ("trainval", "train", "val", "test"), 2012: ("trainval", "train", "val")}


def register_all_coco(root: str | None) -> None:
    """COCO instances, keypoints and panoptic below `root`; below the data root of the moment where it is None."""

    def below(relative: str):
        return join_root(root, f"coco/{relative}")

    for split, (images, annotations) in _COCO_SPLITS.items():
        register_coco_instances(
            f"coco_{split}", _get_builtin_metadata("coco"), below(f"annotations/{annotations}.json"), below(images)
        )
    for split in _WITH_KEYPOINTS:
        images, annotations = _COCO_SPLITS[split]
        annotations = annotations.replace("instances", "person_keypoints")
        register_coco_instances(
            f"keypoints_coco_{split}",
            _get_builtin_metadata("coco_person"),
            below(f"annotations/{annotations}.json"),
            below(images),
        )
    for split, (images, suffix) in _PANOPTIC_SPLITS.items():
        name = f"coco_2017_{split}_panoptic"
        panoptic_root, panoptic_json = below(f"panoptic_{suffix}"), below(f"annotations/panoptic_{suffix}.json")
        stuff_root, instances_json = below(f"panoptic_stuff_{suffix}"), below(f"annotations/instances_{suffix}.json")
        register_coco_panoptic(
            name,
            _get_builtin_metadata("coco_panoptic_standard"),
            below(images),
            panoptic_root,
            panoptic_json,
            instances_json,
        )
        register_coco_panoptic_separated(
            name,
            _get_builtin_metadata("coco_panoptic_separated"),
            below(images),
            panoptic_root,
            panoptic_json,
            stuff_root,
            instances_json,
        )


def register_all_pascal_voc(root: str | None) -> None:
    """Pascal VOC 2007 and 2012 below `root`; below the data root of the moment where it is None."""
    for year, splits in _VOC_SPLITS.items():
        for split in splits:
            name = f"voc_{year}_{split}"
            register_pascal_voc(name, join_root(root, f"VOC{year}"), split, year)
            MetadataCatalog.get(name).evaluator_type = "pascal_voc"


register_all_coco(None)
register_all_pascal_voc(None)
register_all_shapes(None)
