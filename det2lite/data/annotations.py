"""Annotations of an image: moved along with the image's transforms, and turned into `Instances`.

An annotation is a dict of Detectron2's standard format: "bbox" with "bbox_mode", "category_id", and optionally
"segmentation" (list of polygons, RLE dict or bitmask), "keypoints" (x, y, visibility, ...) and "iscrowd".
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from fvcore.transforms.transform import HFlipTransform, Transform, TransformList

from det2lite.data.image_io import SizeMismatchError
from det2lite.data.rle import decode_rle
from det2lite.structures import (
    BitMasks,
    Boxes,
    BoxMode,
    Instances,
    Keypoints,
    PolygonMasks,
    RotatedBoxes,
    polygons_to_bitmask,
)
from det2lite.utils.errors import BadValue

__all__ = [
    "annotations_to_instances",
    "annotations_to_instances_rotated",
    "filter_empty_instances",
    "transform_annotations",
    "transform_instance_annotations",
    "transform_keypoint_annotations",
    "transform_proposals",
    "xyxy_boxes",
]


def transform_annotations(
    annotations: list[dict],
    transforms: TransformList | Transform | Sequence[Transform],
    image_size: tuple[int, int],
    *,
    keypoint_hflip_indices: np.ndarray | None = None,
) -> list[dict]:
    """Annotations of one image, moved in place along with the image.

    image_size: (H, W) of the transformed image. Boxes become XYXY and are clipped to it; polygons become flat
    float64 arrays; RLE becomes a bitmask array; keypoints become (K, 3), those outside unlabelled.
    """
    transforms = _as_list(transforms)
    if not annotations:
        return annotations
    image_size = (int(image_size[0]), int(image_size[1]))
    boxes = transforms.apply_box(xyxy_boxes(annotations))  # (N, 4)
    boxes = boxes.clip(min=0)
    boxes = np.minimum(boxes, (*image_size[::-1], *image_size[::-1]))
    for annotation, box in zip(annotations, boxes, strict=True):
        annotation["bbox"] = box
        annotation["bbox_mode"] = BoxMode.XYXY_ABS
    _transform_segmentations([a for a in annotations if "segmentation" in a], transforms, image_size)
    for annotation in annotations:
        if "keypoints" in annotation:
            annotation["keypoints"] = transform_keypoint_annotations(
                annotation["keypoints"], transforms, image_size, keypoint_hflip_indices
            )
    return annotations


def transform_instance_annotations(
    annotation: dict,
    transforms: TransformList | Transform | Sequence[Transform],
    image_size: tuple[int, int],
    *,
    keypoint_hflip_indices: np.ndarray | None = None,
) -> dict:
    """One annotation, moved in place along with its image: `transform_annotations` for one."""
    flip = keypoint_hflip_indices
    return transform_annotations([annotation], transforms, image_size, keypoint_hflip_indices=flip)[0]


def _as_list(transforms: TransformList | Transform | Sequence[Transform]) -> TransformList:
    if isinstance(transforms, TransformList):
        return transforms
    return TransformList([transforms] if isinstance(transforms, Transform) else list(transforms))


def xyxy_boxes(annotations: list[dict]) -> np.ndarray:
    """The annotations' boxes as (N, 4) float64 XYXY."""
    if not annotations:
        return np.zeros((0, 4))
    for index, annotation in enumerate(annotations):
        if "bbox" not in annotation or "bbox_mode" not in annotation:
            name = annotation.get("id", index)
            raise BadValue(f"annotation {name} of an image lacks bbox or bbox_mode; add it or drop the object")
    modes = {annotation["bbox_mode"] for annotation in annotations}
    if len(modes) > 1:
        return np.concatenate([xyxy_boxes([annotation]) for annotation in annotations])
    try:
        # widened: transforms write into what they are given, and would cut fractions off in arrays of integers
        boxes = np.array([annotation["bbox"] for annotation in annotations], dtype=np.float64)
        return BoxMode.convert(boxes, modes.pop(), BoxMode.XYXY_ABS).reshape(-1, 4)
    except (AssertionError, TypeError, ValueError) as error:
        raise BadValue(f"an image's boxes do not have the numbers that their bbox_mode says: {error}") from error


def _transform_segmentations(annotations: list[dict], transforms: TransformList, image_size: tuple[int, int]) -> None:
    _transform_polygons([a for a in annotations if isinstance(a["segmentation"], list)], transforms)
    for annotation in annotations:
        segmentation = annotation["segmentation"]
        if isinstance(segmentation, (dict, np.ndarray)):
            annotation["segmentation"] = _transform_mask(segmentation, transforms, image_size)
        elif not isinstance(segmentation, list):
            raise _no_segmentation(segmentation)


def _no_segmentation(segmentation: Any) -> BadValue:
    return BadValue(
        "a segmentation is a list of polygons, an RLE dict or a 2-D array, "
        f"not {type(segmentation).__name__} of shape {getattr(segmentation, 'shape', None)}"
    )


def _transform_polygons(annotations: list[dict], transforms: TransformList) -> None:
    """Transforms the polygons of all annotations; in one call where each point moves by itself."""
    polygons_per_object = [[_points(polygon) for polygon in a["segmentation"]] for a in annotations]
    if all(type(transform).apply_polygons is Transform.apply_polygons for transform in transforms.transforms):
        flat = [polygon for polygons in polygons_per_object for polygon in polygons]
        if flat:
            points = transforms.apply_coords(np.concatenate(flat))  # (P, 2)
            moved = iter(np.split(points, np.cumsum([len(polygon) for polygon in flat[:-1]])))
            polygons_per_object = [[next(moved) for _ in polygons] for polygons in polygons_per_object]
    else:
        polygons_per_object = [transforms.apply_polygons(polygons) for polygons in polygons_per_object]
    for annotation, polygons in zip(annotations, polygons_per_object, strict=True):
        annotation["segmentation"] = [polygon.reshape(-1) for polygon in polygons]


def _points(polygon: Sequence[float]) -> np.ndarray:
    """A flat polygon as a new (P, 2) float64 array."""
    try:
        points = np.array(polygon, dtype=np.float64).reshape(-1, 2)
    except (TypeError, ValueError) as error:
        raise BadValue(f"a polygon is x0, y0, x1, y1, ... in pixels: {error}") from error
    if len(points) < 3:
        raise BadValue(f"a polygon needs 3 points or more, this one has {len(points)}; correct it or drop it")
    return points


def _transform_mask(mask: dict | np.ndarray, transforms: TransformList, image_size: tuple[int, int]) -> np.ndarray:
    mask = decode_rle(mask) if isinstance(mask, dict) else mask
    mask = transforms.apply_segmentation(mask)
    if mask.shape[:2] != image_size:
        raise SizeMismatchError(
            f"a mask has the transformed size {mask.shape[0]} x {mask.shape[1]}, the image {image_size[0]} x "
            f"{image_size[1]} (height x width); masks and image must be of one size"
        )
    return mask


def transform_keypoint_annotations(
    keypoints: Sequence[float],
    transforms: TransformList | Transform | Sequence[Transform],
    image_size: tuple[int, int],
    keypoint_hflip_indices: np.ndarray | None = None,
) -> np.ndarray:
    """Keypoints x, y, visibility, ... of one object, moved along with its image. Returns (K, 3) float64.

    image_size: (H, W) of the transformed image; keypoints outside become unlabelled, and unlabelled ones are 0, 0, 0.
    keypoint_hflip_indices: for each keypoint the one that it is in a mirror; needed where the image is flipped.
    """
    transforms = _as_list(transforms)
    keypoints = np.array(keypoints, dtype=np.float64).reshape(-1, 3)
    keypoints[:, :2] = transforms.apply_coords(keypoints[:, :2])
    mirrored = sum(isinstance(transform, HFlipTransform) for transform in transforms.transforms) % 2 == 1
    if mirrored:
        if keypoint_hflip_indices is None:
            raise BadValue("keypoints of a flipped image need keypoint_hflip_indices; set keypoint_flip_map")
        if len(keypoint_hflip_indices) != len(keypoints):
            raise BadValue(
                f"an object has {len(keypoints)} keypoints, the metadata of its data set names "
                f"{len(keypoint_hflip_indices)}; correct keypoint_names or the annotation"
            )
        keypoints = keypoints[np.asarray(keypoint_hflip_indices, dtype=np.int64)]
    inside = ((keypoints[:, :2] >= 0) & (keypoints[:, :2] <= image_size[::-1])).all(axis=1)
    keypoints[~inside | (keypoints[:, 2] == 0)] = 0
    return keypoints


def transform_proposals(
    dataset_dict: dict,
    image_shape: tuple[int, int],
    transforms: TransformList,
    *,
    proposal_topk: int,
    min_box_size: float = 0,
) -> None:
    """Moves a sample's precomputed proposals along with its image and puts them under "proposals" as `Instances`.

    image_shape: (H, W) of the transformed image. Proposals whose sides are not above `min_box_size` pixels after
    clipping are dropped, of the others the first `proposal_topk` are kept; they are sorted by objectness already.
    """
    if "proposal_boxes" not in dataset_dict:
        return
    boxes = np.array(dataset_dict.pop("proposal_boxes"), dtype=np.float32).reshape(-1, 4)
    boxes = BoxMode.convert(boxes, dataset_dict.pop("proposal_bbox_mode"), BoxMode.XYXY_ABS)
    logits = torch.as_tensor(np.array(dataset_dict.pop("proposal_objectness_logits"), dtype=np.float32))
    boxes = Boxes(transforms.apply_box(boxes))
    boxes.clip(image_shape)
    keep = boxes.nonempty(threshold=min_box_size)
    proposals = Instances(image_shape)
    proposals.proposal_boxes = boxes[keep][:proposal_topk]
    proposals.objectness_logits = logits[keep][:proposal_topk]
    dataset_dict["proposals"] = proposals


def annotations_to_instances(annos: list[dict], image_size: tuple[int, int], mask_format: str = "polygon") -> Instances:
    """The annotations of one image as `Instances` with gt_boxes, gt_classes and, if annotated, gt_masks, gt_keypoints.

    image_size: (H, W). mask_format: "polygon" or "bitmask"; bitmasks where any of the masks is no polygon.
    """
    instances = Instances(image_size)
    instances.gt_boxes = Boxes(xyxy_boxes(annos))
    instances.gt_classes = torch.tensor([int(annotation["category_id"]) for annotation in annos], dtype=torch.int64)
    if mask_format not in ("polygon", "bitmask"):
        raise BadValue(f"mask_format is 'polygon' or 'bitmask', not {mask_format!r}")
    if annos and any("segmentation" in annotation for annotation in annos):
        lacking = next((i for i, annotation in enumerate(annos) if "segmentation" not in annotation), None)
        if lacking is not None:
            raise BadValue(f"annotation {lacking} of an image lacks the segmentation that others have; add or drop it")
        instances.gt_masks = _masks([annotation["segmentation"] for annotation in annos], image_size, mask_format)
    if annos and "keypoints" in annos[0]:
        instances.gt_keypoints = Keypoints(_equal_keypoints(annos))
    return instances


def _masks(segmentations: list, image_size: tuple[int, int], mask_format: str) -> PolygonMasks | BitMasks:
    if mask_format == "polygon" and all(isinstance(segmentation, list) for segmentation in segmentations):
        try:
            return PolygonMasks(segmentations)
        except ValueError as error:
            raise BadValue(f"a segmentation is no list of polygons: {error}; correct it or drop the object") from error
    masks = [_bitmask(segmentation, image_size) for segmentation in segmentations]
    if len({mask.shape for mask in masks}) > 1:
        sizes = sorted({f"{mask.shape[0]} x {mask.shape[1]}" for mask in masks})
        raise SizeMismatchError(f"masks of one image have different sizes: {', '.join(sizes)}")
    return BitMasks(torch.from_numpy(np.stack(masks)))  # (N, H, W)


def _bitmask(segmentation: list | dict | np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
    """A segmentation of any kind as (H, W) bool array."""
    if isinstance(segmentation, list):
        return polygons_to_bitmask(segmentation, *image_size)
    if isinstance(segmentation, dict):
        return decode_rle(segmentation).astype(bool)
    if isinstance(segmentation, np.ndarray) and segmentation.ndim == 2:
        return segmentation.astype(bool)
    raise _no_segmentation(segmentation)


def _equal_keypoints(annos: list[dict]) -> np.ndarray:
    """(N, K, 3) keypoints; an object without any has only unlabelled ones."""
    keypoints = [np.asarray(anno.get("keypoints", ()), dtype=np.float32).reshape(-1, 3) for anno in annos]
    count = max(map(len, keypoints))
    keypoints = [own if len(own) else np.zeros((count, 3), dtype=np.float32) for own in keypoints]
    counts = sorted({len(own) for own in keypoints})
    if len(counts) > 1:
        raise BadValue(f"objects of one image have {counts} keypoints; each must have as many as its data set names")
    return np.stack(keypoints)


def annotations_to_instances_rotated(annos: list[dict], image_size: tuple[int, int]) -> Instances:
    """Annotations with XYWHA boxes (degrees) as `Instances` with gt_boxes, clipped to (H, W), and gt_classes."""
    boxes = RotatedBoxes(np.array([annotation["bbox"] for annotation in annos], dtype=np.float32).reshape(-1, 5))
    boxes.clip(image_size)
    instances = Instances(image_size)
    instances.gt_boxes = boxes
    instances.gt_classes = torch.tensor([int(annotation["category_id"]) for annotation in annos], dtype=torch.int64)
    return instances


def filter_empty_instances(
    instances: Instances,
    by_box: bool = True,
    by_mask: bool = True,
    box_threshold: float = 1e-5,
    return_mask: bool = False,
) -> Instances | tuple[Instances, torch.Tensor]:
    """The instances whose boxes have sides above `box_threshold` pixels and, if any, whose masks are not empty.

    return_mask: also return which were kept, (N,) bool.
    """
    assert by_box or by_mask, "filter_empty_instances filters by box, by mask, or by both"
    keep = torch.ones(len(instances), dtype=torch.bool)
    if by_box:
        keep &= instances.gt_boxes.nonempty(threshold=box_threshold)
    if by_mask and instances.has("gt_masks"):
        keep &= instances.gt_masks.nonempty()
    # where all are kept, as mostly, their fields need no copies
    kept = Instances(instances.image_size, **instances.get_fields()) if keep.all() else instances[keep]
    return (kept, keep) if return_mask else kept
