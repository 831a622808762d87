"""What dataset mappers are made of: images, annotations, and the augmentation that a config asks for."""

from collections.abc import Sequence

import numpy as np
import torch

from det2lite.data import transforms as T
from det2lite.data.annotations import (
    annotations_to_instances,
    annotations_to_instances_rotated,
    filter_empty_instances,
    transform_annotations,
    transform_instance_annotations,
    transform_keypoint_annotations,
    transform_proposals,
    xyxy_boxes,
)
from det2lite.data.catalog import MetadataCatalog
from det2lite.data.gather import check_metadata_consistency
from det2lite.data.image_io import (
    SizeMismatchError,
    check_image_size,
    convert_image_to_rgb,
    convert_PIL_to_numpy,
    read_image,
    turn_upright,
)
from det2lite.structures import BoxMode
from det2lite.utils.errors import BadValue, UserError

__all__ = [
    "SizeMismatchError",
    "convert_PIL_to_numpy",
    "convert_image_to_rgb",
    "check_image_size",
    "check_metadata_consistency",
    "transform_proposals",
    "transform_annotations",
    "transform_instance_annotations",
    "transform_keypoint_annotations",
    "annotations_to_instances",
    "annotations_to_instances_rotated",
    "build_augmentation",
    "build_transform_gen",
    "create_keypoint_hflip_indices",
    "filter_empty_instances",
    "gen_crop_transform_with_instance",
    "get_fed_loss_cls_weights",
    "read_image",
    "xyxy_boxes",
]


_apply_exif_orientation = turn_upright  # its name in Detectron2


class CropDoesNotFit(UserError, AssertionError):
    """A crop that is larger than the image, or an object outside the image to crop around."""


def build_augmentation(cfg, is_train: bool) -> list[T.Augmentation]:
    """The augmentations that `INPUT` asks for: resizing by the short edge and, for training, a flip."""
    sizes = cfg.INPUT
    if not is_train:
        return [T.ResizeShortestEdge(sizes.MIN_SIZE_TEST, sizes.MAX_SIZE_TEST, "choice")]
    if sizes.MIN_SIZE_TRAIN_SAMPLING not in ("range", "choice"):
        raise BadValue(f"INPUT.MIN_SIZE_TRAIN_SAMPLING is 'range' or 'choice', not {sizes.MIN_SIZE_TRAIN_SAMPLING!r}")
    if sizes.LARGE_SCALE_JITTER.ENABLED:
        augmentations = _large_scale_jitter(*sizes.LARGE_SCALE_JITTER.SIZE, *sizes.LARGE_SCALE_JITTER.SCALE)
    else:
        augmentations = [
            T.ResizeShortestEdge(sizes.MIN_SIZE_TRAIN, sizes.MAX_SIZE_TRAIN, sizes.MIN_SIZE_TRAIN_SAMPLING)
        ]
    flip = sizes.RANDOM_FLIP
    if flip not in ("none", "horizontal", "vertical"):
        raise BadValue(f"INPUT.RANDOM_FLIP is 'none', 'horizontal' or 'vertical', not {flip!r}")
    if flip != "none":
        augmentations.append(T.RandomFlip(horizontal=flip == "horizontal", vertical=flip == "vertical"))
    return augmentations


def _large_scale_jitter(height: int, width: int, min_scale: float, max_scale: float) -> list[T.Augmentation]:
    if not (height > 0 and width > 0 and 0 < min_scale <= max_scale):
        raise BadValue(
            f"INPUT.LARGE_SCALE_JITTER: SIZE {[height, width]} must be positive, and SCALE {[min_scale, max_scale]} "
            "two growing positive numbers"
        )
    return [T.ResizeScale(min_scale, max_scale, height, width), T.FixedSizeCrop((height, width))]


build_transform_gen = build_augmentation  # its name in earlier versions of the interface


def _names(dataset_names: str | Sequence[str]) -> list[str]:
    return [dataset_names] if isinstance(dataset_names, str) else list(dataset_names)


def create_keypoint_hflip_indices(dataset_names: str | list[str]) -> list[int]:
    """For each keypoint of the data sets the index of the one that it is in a mirror, by their keypoint_flip_map."""
    dataset_names = _names(dataset_names)
    check_metadata_consistency("keypoint_names", dataset_names)
    check_metadata_consistency("keypoint_flip_map", dataset_names)
    metadata = MetadataCatalog.get(dataset_names[0])
    mirrored = dict(metadata.keypoint_flip_map)
    mirrored.update({right: left for left, right in mirrored.items()})
    index = {name: i for i, name in enumerate(metadata.keypoint_names)}
    return [index[mirrored.get(name, name)] for name in metadata.keypoint_names]


def get_fed_loss_cls_weights(dataset_names: str | list[str], freq_weight_power: float = 1.0) -> torch.Tensor:
    """(K,) weight of each class in federated loss: its number of images to a power, by metadata class_image_count."""
    dataset_names = _names(dataset_names)
    check_metadata_consistency("class_image_count", dataset_names)
    counts = sorted(MetadataCatalog.get(dataset_names[0]).class_image_count, key=lambda count: count["id"])
    return torch.tensor([count["image_count"] for count in counts], dtype=torch.float32) ** freq_weight_power


def gen_crop_transform_with_instance(
    crop_size: tuple[int, int], image_size: tuple[int, int], instance: dict
) -> T.CropTransform:
    """A random crop (h, w) of an image (h, w) that holds the centre of the annotation `instance`."""
    x0, y0, x1, y1 = BoxMode.convert(instance["bbox"], instance["bbox_mode"], BoxMode.XYXY_ABS)
    starts = []
    for length, size, center in zip(crop_size, image_size, ((y0 + y1) / 2, (x0 + x1) / 2), strict=True):
        if length > size:
            raise CropDoesNotFit(f"a crop of {tuple(crop_size)} does not fit into an image of {tuple(image_size)}")
        if not 0 <= center <= size:
            raise CropDoesNotFit(f"box {instance['bbox']} has its centre outside the image of {tuple(image_size)}")
        first = max(int(np.floor(center)) - length, 0)
        last = min(size - length, int(np.ceil(center)))
        starts.append(np.random.randint(first, last + 1))
    (crop_h, crop_w), (start_y, start_x) = crop_size, starts
    return T.CropTransform(start_x, start_y, crop_w, crop_h)
