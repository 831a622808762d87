"""Registers the public data sets under their familiar names; their files are looked for when they are asked for.

All paths are below `$DETECTRON2_DATASETS` (`./datasets` where it is not set), as datasets/README.md draws it.
"""

from functools import partial

from det2lite.data.catalog import DatasetCatalog, MetadataCatalog
from det2lite.data.data_root import join_root
from det2lite.data.datasets.builtin_meta import ADE20K_SEM_SEG_CATEGORIES, _get_builtin_metadata
from det2lite.data.datasets.cityscapes import load_cityscapes_instances, load_cityscapes_semantic
from det2lite.data.datasets.cityscapes_panoptic import register_all_cityscapes_panoptic
from det2lite.data.datasets.coco_loader import load_sem_seg
from det2lite.data.datasets.coco_panoptic import register_coco_panoptic, register_coco_panoptic_separated
from det2lite.data.datasets.lvis import get_lvis_instances_meta, register_lvis_instances
from det2lite.data.datasets.pascal_voc import register_pascal_voc
from det2lite.data.datasets.register_coco import register_coco_instances
from det2lite.data.datasets.shapes import register_all_shapes

__all__ = [
    "DatasetCatalog",
    "MetadataCatalog",
    "get_lvis_instances_meta",
    "load_cityscapes_instances",
    "load_cityscapes_semantic",
    "load_sem_seg",
    "register_all_ade20k",
    "register_all_cityscapes",
    "register_all_cityscapes_panoptic",
    "register_all_coco",
    "register_all_lvis",
    "register_all_pascal_voc",
    "register_all_shapes",
    "register_coco_instances",
    "register_coco_panoptic",
    "register_coco_panoptic_separated",
    "register_lvis_instances",
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
# name after "lvis_": file of annotations after "lvis_"
_LVIS_SPLITS = {
    "v1_train": "v1_train",
    "v1_val": "v1_val",
    "v1_test_dev": "v1_image_info_test_dev",
    "v1_test_challenge": "v1_image_info_test_challenge",
    "v0.5_train": "v0.5_train",
    "v0.5_val": "v0.5_val",
    "v0.5_val_rand_100": "v0.5_val_rand_100",
    "v0.5_test": "v0.5_image_info_test",
    "v0.5_train_cocofied": "v0.5_train_cocofied",
    "v0.5_val_cocofied": "v0.5_val_cocofied",
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


def register_all_lvis(root: str | None) -> None:
    """LVIS v0.5 and v1 below `root`; below the data root of the moment where it is None."""
    for split, annotations in _LVIS_SPLITS.items():
        name, json_file = f"lvis_{split}", join_root(root, f"lvis/lvis_{annotations}.json")
        register_lvis_instances(name, get_lvis_instances_meta(name), json_file, join_root(root, "coco/"))


def register_all_cityscapes(root: str | None) -> None:
    """Things and semantic maps of Cityscapes below `root`; below the data root of the moment where it is None."""
    for split in ("train", "val", "test"):
        image_dir = join_root(root, f"cityscapes/leftImg8bit/{split}/")
        gt_dir = join_root(root, f"cityscapes/gtFine/{split}/")
        common = {"image_dir": image_dir, "gt_dir": gt_dir, **_get_builtin_metadata("cityscapes")}
        name = f"cityscapes_fine_instance_seg_{split}"
        DatasetCatalog.register(name, partial(load_cityscapes_instances, image_dir, gt_dir))
        MetadataCatalog.get(name).set(evaluator_type="cityscapes_instance", **common)
        name = f"cityscapes_fine_sem_seg_{split}"
        DatasetCatalog.register(name, partial(load_cityscapes_semantic, image_dir, gt_dir))
        MetadataCatalog.get(name).set(evaluator_type="cityscapes_sem_seg", ignore_label=255, **common)


def register_all_ade20k(root: str | None) -> None:
    """Semantic maps of ADE20K below `root`; below the data root of the moment where it is None."""
    for split, folder in (("train", "training"), ("val", "validation")):
        image_dir = join_root(root, f"ADEChallengeData2016/images/{folder}")
        gt_dir = join_root(root, f"ADEChallengeData2016/annotations_detectron2/{folder}")
        name = f"ade20k_sem_seg_{split}"
        DatasetCatalog.register(name, partial(load_sem_seg, gt_dir, image_dir))
        MetadataCatalog.get(name).set(
            stuff_classes=list(ADE20K_SEM_SEG_CATEGORIES),
            image_root=image_dir,
            sem_seg_root=gt_dir,
            evaluator_type="sem_seg",
            ignore_label=255,
        )


def register_all_pascal_voc(root: str | None) -> None:
    """Pascal VOC 2007 and 2012 below `root`; below the data root of the moment where it is None."""
    for year, splits in _VOC_SPLITS.items():
        for split in splits:
            name = f"voc_{year}_{split}"
            register_pascal_voc(name, join_root(root, f"VOC{year}"), split, year)
            MetadataCatalog.get(name).evaluator_type = "pascal_voc"


register_all_coco(None)
register_all_lvis(None)
register_all_cityscapes(None)
register_all_cityscapes_panoptic(None)
register_all_ade20k(None)
register_all_pascal_voc(None)
register_all_shapes(None)
