"""A detector's output in the format of COCO result files."""

from collections.abc import Mapping

import numpy as np
import pycocotools.mask as mask_util
import torch

from det2lite.data.rle import decode_rle
from det2lite.structures import Boxes, BoxMode, Instances
from det2lite.utils.errors import BadValue

__all__ = ["encode_crop", "encode_masks", "instances_from_coco_json", "instances_to_coco_json"]


def encode_masks(masks: torch.Tensor | np.ndarray) -> list[dict]:
    """Run-length encoded masks as JSON takes them. masks: (N, H, W) bool or 0/1.

    Only the part of an image that an object covers is looked at, because objects are far smaller than images.
    """
    masks = torch.as_tensor(masks).to(torch.bool).cpu().numpy()
    rows, columns = masks.any(axis=2), masks.any(axis=1)  # (N, H), (N, W) that are not empty
    return [_encode_mask(*parts) for parts in zip(masks, rows, columns, strict=True)]


def _encode_mask(mask: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> dict:
    """mask: (H, W) bool. rows, columns: (H,) and (W,) bool that are not empty."""
    if not columns.any():
        return encode_crop(mask[:0, :0], 0, 0, mask.shape)
    top, bottom = rows.argmax(), len(rows) - rows[::-1].argmax()
    left, right = columns.argmax(), len(columns) - columns[::-1].argmax()
    return encode_crop(mask[top:bottom, left:right], left, top, mask.shape)


def encode_crop(crop: np.ndarray, left: int, top: int, image_size: tuple[int, int]) -> dict:
    """The run-length code of a mask (H, W) = image_size that is empty outside of `crop` (h, w) bool at (left, top)."""
    height, width = image_size
    # columns one after the other, an empty pixel before and after each: every run starts and ends in its column
    padded = np.zeros((crop.shape[1], crop.shape[0] + 2), dtype=bool)
    padded[:, 1:-1] = crop.T
    flat = padded.ravel()
    column, row = np.divmod(np.flatnonzero(flat[1:] != flat[:-1]), padded.shape[1])
    counts = _counts((left + column) * height + top + row, height * width)
    encoded = mask_util.frPyObjects({"size": [height, width], "counts": counts}, height, width)
    return {"size": [height, width], "counts": encoded["counts"].decode("ascii")}


def _counts(changes: np.ndarray, num_pixels: int) -> list[int]:
    """Lengths of the runs, background first. changes: (2M,) where the M runs of the object start and end."""
    kept = np.ones(len(changes), dtype=bool)
    kept[1:-1] = (changes[1:-1:2] != changes[2::2]).repeat(2)  # else the run goes on at the top of the next column
    ends = np.concatenate(([0], changes[kept], [num_pixels]))
    counts = (ends[1:] - ends[:-1]).tolist()
    return counts[:-1] if counts[-1] == 0 else counts


def instances_to_coco_json(instances: Instances, img_id: int | str) -> list[dict]:
    """The detections of one image as dicts with image_id, category_id (contiguous), bbox (XYWH), score.

    With `pred_masks` each also has a `segmentation` (RLE), with `pred_keypoints` (N, K, 3) its flat `keypoints`, whose
    coordinates are shifted by half a pixel because COCO counts pixels where we measure continuous positions.
    """
    if len(instances) == 0:
        return []
    boxes = instances.pred_boxes.tensor.cpu().numpy()
    boxes = BoxMode.convert(boxes, BoxMode.XYXY_ABS, BoxMode.XYWH_ABS).tolist()
    classes, scores = instances.pred_classes.tolist(), instances.scores.tolist()
    results = [
        {"image_id": img_id, "category_id": label, "bbox": box, "score": score}
        for label, box, score in zip(classes, boxes, scores, strict=True)
    ]
    if instances.has("pred_masks"):
        masks = instances.pred_masks
        encoded = encode_masks(getattr(masks, "tensor", masks))
        for result, segmentation in zip(results, encoded, strict=True):
            result["segmentation"] = segmentation
    if instances.has("pred_keypoints"):
        keypoints = getattr(instances.pred_keypoints, "tensor", instances.pred_keypoints)
        shifted = keypoints - keypoints.new_tensor([0.5, 0.5, 0.0])  # (N, K, 3)
        for result, flat in zip(results, shifted.flatten(1).tolist(), strict=True):
            result["keypoints"] = flat
    return results


def instances_from_coco_json(
    results: list[dict],
    image_size: tuple[int, int],
    contiguous_id_of: Mapping[int, int] | None = None,
    score_threshold: float = 0.0,
) -> Instances:
    """Detections of one image from its entries of a result file; the inverse of `instances_to_coco_json`.

    image_size: (height, width). contiguous_id_of: the class of each category id, None where ids are classes. Entries
    below `score_threshold` are left out. Raises `BadValue` for an entry that is none, or of a category without class.
    """
    try:
        results = [entry for entry in results if entry["score"] >= score_threshold]
        boxes = np.array([entry["bbox"] for entry in results], dtype=np.float32).reshape(len(results), 4)
        ids = [entry["category_id"] for entry in results]
        classes = ids if contiguous_id_of is None else [contiguous_id_of[i] for i in ids]
        fields = {
            "pred_boxes": Boxes(torch.from_numpy(BoxMode.convert(boxes, BoxMode.XYWH_ABS, BoxMode.XYXY_ABS))),
            "pred_classes": torch.tensor(classes, dtype=torch.int64),
            "scores": torch.tensor([entry["score"] for entry in results], dtype=torch.float32),
        }
        if results and "segmentation" in results[0]:
            masks = np.stack([decode_rle(entry["segmentation"]) for entry in results])
            if masks.shape[1:] != tuple(image_size):
                raise ValueError(f"masks of {masks.shape[1:]} pixels for an image of {tuple(image_size)}")
            fields["pred_masks"] = torch.from_numpy(masks).bool()
        if results and "keypoints" in results[0]:
            points = torch.tensor([entry["keypoints"] for entry in results], dtype=torch.float32)
            fields["pred_keypoints"] = points.unflatten(1, (-1, 3)) + points.new_tensor([0.5, 0.5, 0.0])
        return Instances(tuple(image_size), **fields)
    except (IndexError, KeyError, TypeError, ValueError, RuntimeError) as error:
        what = f"no {error}" if isinstance(error, KeyError) else str(error).split("\n")[0]
        raise BadValue(
            f"a detection cannot be read ({what}); each has image_id, category_id, bbox (XYWH) and score, with "
            "categories of the data set it is shown with"
        ) from error
