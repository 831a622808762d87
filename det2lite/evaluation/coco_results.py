"""A detector's output in the format of COCO result files."""

import numpy as np
import pycocotools.mask as mask_util
import torch

from det2lite.structures import BoxMode, Instances

__all__ = ["encode_masks", "instances_to_coco_json"]


def encode_masks(masks: torch.Tensor | np.ndarray) -> list[dict]:
    """Run-length encoded masks as JSON takes them. masks: (N, H, W) bool or 0/1."""
    masks = torch.as_tensor(masks).to(torch.bool)
    height, width = masks.shape[1:]
    if len(masks) == 0 or height * width == 0:
        return [{"size": [height, width], "counts": ""} for _ in range(len(masks))]
    # the encoder reads columns: (N, W, H) in memory is (H, W, N) in Fortran's order
    columns = masks.transpose(1, 2).contiguous().cpu().numpy().view(np.uint8).transpose(2, 1, 0)
    encoded = mask_util.encode(columns)
    return [{"size": list(rle["size"]), "counts": rle["counts"].decode("ascii")} for rle in encoded]


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
