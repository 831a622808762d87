"""From predictions on the model's input to predictions on the original image."""

import torch
import torch.nn.functional as F

from det2lite.structures import Instances, ROIMasks
from det2lite.utils.errors import BadCall

__all__ = ["detector_postprocess", "sem_seg_labels", "sem_seg_postprocess"]

LOGITS_AT_ONCE = 1 << 28  # bytes of all classes at the size of the image


def detector_postprocess(
    results: Instances,
    output_height: int,
    output_width: int,
    mask_threshold: float = 0.5,
    *,
    paste_masks: bool = True,
) -> Instances:
    """Predictions on an image of `output_height x output_width` pixels from those on the model's input.

    Scales and clips boxes, drops those left without area, scales keypoints, and pastes masks `(R, 1, M, M)` as
    `(R, H, W)` bool at `mask_threshold`; without `paste_masks` they stay `ROIMasks` in the frame of the boxes.
    """
    size = output_height, output_width
    if not torch.jit.is_tracing():  # a trace keeps the sizes that are tensors there
        size = int(output_height), int(output_width)
    scale_x, scale_y = size[1] / results.image_size[1], size[0] / results.image_size[0]
    results = Instances(size, **results.get_fields())
    boxes = None
    for name in ("pred_boxes", "proposal_boxes"):
        if results.has(name):
            boxes = results.get(name).clone()
            results.set(name, boxes)
            break
    if boxes is None:
        raise BadCall("predictions have neither pred_boxes nor proposal_boxes")
    boxes.scale(scale_x, scale_y)
    boxes.clip(results.image_size)
    results = results[boxes.nonempty()]
    if results.has("pred_masks"):
        masks = results.pred_masks
        masks = masks if isinstance(masks, ROIMasks) else ROIMasks(masks[:, 0])
        results.pred_masks = masks
        if paste_masks:
            results.pred_masks = masks.to_bitmasks(results.pred_boxes, *size, mask_threshold).tensor
    if results.has("pred_keypoints"):
        scale = results.pred_keypoints.new_tensor([scale_x, scale_y, 1.0])
        results.pred_keypoints = results.pred_keypoints * scale
    return results


def sem_seg_postprocess(
    result: torch.Tensor, img_size: tuple[int, int], output_height: int, output_width: int
) -> torch.Tensor:
    """Logits `(C, output_height, output_width)` from those on the padded input `(C, H, W)`, the image in its
    top-left `img_size` pixels."""
    result = result[:, : img_size[0], : img_size[1]].unsqueeze(0)
    return F.interpolate(result, size=(output_height, output_width), mode="bilinear", align_corners=False)[0]


def sem_seg_labels(
    result: torch.Tensor, img_size: tuple[int, int], output_height: int, output_width: int
) -> torch.Tensor:
    """The class of each pixel, `(output_height, output_width)` int64: that of the greatest of `sem_seg_postprocess`.

    Where the logits of all classes would take much memory at that size, each class is scaled by itself.
    """
    if len(result) * output_height * output_width * result.element_size() <= LOGITS_AT_ONCE:
        return sem_seg_postprocess(result, img_size, output_height, output_width).argmax(dim=0)
    best = sem_seg_postprocess(result[:1], img_size, output_height, output_width)[0]
    labels = torch.zeros_like(best, dtype=torch.int64)
    for label in range(1, len(result)):
        logits = sem_seg_postprocess(result[label : label + 1], img_size, output_height, output_width)[0]
        labels.masked_fill_(logits > best, label)  # of equal ones the first stays, as argmax has it
        torch.maximum(best, logits, out=best)
    return labels
