"""Masks of boxes in the image; the function lives with the structures, which need it too."""

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

from det2lite.structures.mask_paste import paste_masks_in_image, sample_masks

__all__ = ["pad_masks", "paste_mask_in_image_old", "paste_masks_in_image", "scale_boxes"]


def paste_mask_in_image_old(
    mask: torch.Tensor, box: torch.Tensor, img_h: int, img_w: int, threshold: float
) -> torch.Tensor:
    """One mask (M, M) pasted the way of Mask R-CNN's first release; inexact, kept to compare with.

    box: (4,) XYXY, cut to whole pixels that it includes on all sides. Returns (img_h, img_w) uint8: 1 where the mask
    is above `threshold`; for a negative threshold the soft mask scaled to 0..255.
    """
    x0, y0, x1, y1 = box.int().tolist()
    resized = Image.fromarray(mask.cpu().float().numpy()).resize((x1 - x0 + 1, y1 - y0 + 1), resample=Image.BILINEAR)
    soft = torch.from_numpy(np.array(resized))
    values = (soft > threshold if threshold >= 0 else soft * 255).to(torch.uint8)
    image = torch.zeros((img_h, img_w), dtype=torch.uint8)
    left, top, right, bottom = max(x0, 0), max(y0, 0), min(x1 + 1, img_w), min(y1 + 1, img_h)
    if right > left and bottom > top:
        image[top:bottom, left:right] = values[top - y0 : bottom - y0, left - x0 : right - x0]
    return image


def _do_paste_mask(
    masks: torch.Tensor, boxes: torch.Tensor, img_h: int, img_w: int, skip_empty: bool = True
) -> tuple[torch.Tensor, tuple[slice, ...]]:
    """Soft masks in the image, and the region of it that they cover.

    masks: (N, 1, M, M). boxes: (N, 4) XYXY. skip_empty: only the smallest region around all boxes is sampled, and its
    rows and columns are returned as slices; else the whole image, and an empty tuple.
    """
    if not skip_empty:
        return sample_masks(masks[:, 0], boxes, 0, img_h, 0, img_w), ()
    x0, y0 = (int(side) for side in (boxes[:, :2].amin(dim=0).floor() - 1).clamp(min=0))
    x1, y1 = (int(side) for side in boxes[:, 2:].amax(dim=0).ceil() + 1)
    x1, y1 = min(x1, img_w), min(y1, img_h)
    return sample_masks(masks[:, 0], boxes, y0, y1, x0, x1), (slice(y0, y1), slice(x0, x1))


def pad_masks(masks: torch.Tensor, padding: int) -> tuple[torch.Tensor, float]:
    """Masks (N, M, M) with a rim of `padding` zeros, and by what factor their boxes grow."""
    side = masks.shape[-1]
    return F.pad(masks, [padding] * 4), (side + 2 * padding) / side


def scale_boxes(boxes: torch.Tensor, scale: float) -> torch.Tensor:
    """Boxes (N, 4) XYXY grown by a factor around their centres."""
    center, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2 * scale
    return torch.cat([center - half, center + half], dim=1)
