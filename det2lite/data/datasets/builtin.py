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
# metadata: name -> folder of images, file of annotations; both below the data root
_PREDEFINED_SPLITS_COCO = {
    "coco": {
        f"coco_{split}": (f"coco/{images}", f"coco/annotations/{annotations}.json")
        for split, (images, annotations) in _COCO_SPLITS.items()
    },
    "coco_person": {
        f"keypoints_coco_{split}": (
            f"coco/{images}",
            f"coco/annotations/{annotations.replace('instances', 'person_keypoints')}.json",
        )
        for split, (images, annotations) in _COCO_SPLITS.items()
        if "test" not in split
    },
}
# name after "coco_2017_", before "_panoptic": folder of images, end of the other names
_PANOPTIC_SPLITS = {
    "train": ("train2017", "train2017"),
    "val": ("val2017", "val2017"),
    "val_100": ("val2017", "val2017_100"),
}
# classes: name -> folder of images, file of annotations
_PREDEFINED_SPLITS_LVIS = {
    "lvis_v1": {
        "lvis_v1_train": ("coco/", "lvis/lvis_v1_train.json"),
        "lvis_v1_val": ("coco/", "lvis/lvis_v1_val.json"),
        "lvis_v1_test_dev": ("coco/", "lvis/lvis_v1_image_info_test_dev.json"),
        "lvis_v1_test_challenge": ("coco/", "lvis/lvis_v1_image_info_test_challenge.json"),
    },
    "lvis_v0.5": {
        "lvis_v0.5_train": ("coco/", "lvis/lvis_v0.5_train.json"),
        "lvis_v0.5_val": ("coco/", "lvis/lvis_v0.5_val.json"),
        "lvis_v0.5_val_rand_100": ("coco/", "lvis/lvis_v0.5_val_rand_100.json"),
        "lvis_v0.5_test": ("coco/", "lvis/lvis_v0.5_image_info_test.json"),
    },
    "lvis_v0.5_cocofied": {
        "lvis_v0.5_train_cocofied": ("coco/", "lvis/lvis_v0.5_train_cocofied.json"),
        "lvis_v0.5_val_cocofied": ("coco/", "lvis/lvis_v0.5_val_cocofied.json"),
    },
}
_VOC_SPLITS = {2007: ("trainval", "train", "val", "test"), 2012: ("trainval", "train", "val")}


def register_all_coco(root: str | None) -> None:
    """COCO instances, keypoints and panoptic below `root`; below the data root of the moment where it is None."""

    def below(relative: str):
        return join_root(root, f"coco/{relative}")

    for classes, splits in _PREDEFINED_SPLITS_COCO.items():
        for name, (images, annotations) in splits.items():
            register_coco_instances(
                name, _get_builtin_metadata(classes), join_root(root, annotations), join_root(root, images)
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
    for classes, splits in _PREDEFINED_SPLITS_LVIS.items():
        for name, (images, annotations) in splits.items():
            register_lvis_instances(
                name, get_lvis_instances_meta(classes), join_root(root, annotations), join_root(root, images)
            )


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
