"""From masks predicted in the frame of their box to masks of the whole image."""

from collections.abc import Sequence
from typing import Tuple  # noqa: UP035 - TorchScript reads the annotations

import numpy as np
import torch
from torch.nn import functional as F

__all__ = ["mask_regions", "paste_in_region", "paste_masks_in_image", "sample_masks"]

MAX_CHUNK_BYTES = 1 << 29  # working memory of one step on an accelerator
PASTED_AT_ONCE = 1 << 23  # pixels of one mask, which take about 130 MB on the way
BYTES_PER_PIXEL = 16  # two float32 of the sampling grid, the sampled mask, and its comparison


def paste_masks_in_image(
    masks: torch.Tensor,
    boxes: torch.Tensor,
    image_shape: Tuple[int, int],  # noqa: UP006
    threshold: float = 0.5,
) -> torch.Tensor:
    """Masks of the size of the image, from masks of the size of their box.

    masks: (N, M, M) in [0, 1]. boxes: Boxes or (N, 4) XYXY pixels. image_shape: (height, width).
    Returns (N, height, width): bool, where a mask reaches `threshold`; for a negative threshold uint8, the
    soft mask scaled to 0..255. Values between the centres of mask cells are bilinear (Mask R-CNN,
    arXiv 1703.06870, with continuous coordinates: the centre of the first pixel is 0.5).
    """
    assert masks.shape[-1] == masks.shape[-2], "Only square mask predictions are supported"
    count = len(masks)
    if not torch.jit.is_scripting() and not isinstance(boxes, torch.Tensor):
        boxes = boxes.tensor
    assert len(boxes) == count, boxes.shape
    height, width = image_shape
    if torch.jit.is_scripting():
        return _finish(sample_masks(masks, boxes, 0, int(height), 0, int(width)), threshold)
    if torch.jit.is_tracing():
        return _finish(sample_masks(masks, boxes, 0, height, 0, width), threshold)

    if masks.device.type == "cpu":
        pasted = _zeros_on_demand(count, int(height), int(width), threshold >= 0)
        if count > 0:
            _paste_within_boxes(pasted, masks, boxes, threshold)
        return pasted
    pasted = torch.zeros(
        (count, int(height), int(width)), dtype=torch.bool if threshold >= 0 else torch.uint8, device=masks.device
    )
    # An accelerator does all pixels: finding the box on the host would make it wait.
    step = max(1, MAX_CHUNK_BYTES // max(1, int(height) * int(width) * BYTES_PER_PIXEL))
    for start in range(0, count, step):
        part = slice(start, start + step)
        pasted[part] = _finish(sample_masks(masks[part], boxes[part], 0, int(height), 0, int(width)), threshold)
    return pasted


@torch.jit.unused
def _zeros_on_demand(count: int, height: int, width: int, is_bool: bool) -> torch.Tensor:
    """(count, height, width) zeros that take memory only where something is written; torch would write all of them."""
    return torch.from_numpy(np.zeros((count, height, width), dtype=np.bool_ if is_bool else np.uint8))


def _paste_within_boxes(pasted: torch.Tensor, masks: torch.Tensor, boxes: torch.Tensor, threshold: float) -> None:
    """Fills in `pasted` (N, H, W) mask by mask, only where its box is; all else is zero already."""
    regions = mask_regions(boxes, *pasted.shape[1:])
    for i, (x0, y0, x1, y1) in enumerate(regions.tolist()):
        if x1 > x0 and y1 > y0:
            soft = sample_masks(masks[i : i + 1], boxes[i : i + 1], y0, y1, x0, x1)
            pasted[i, y0:y1, x0:x1] = _finish(soft, threshold)[0]


def mask_regions(boxes: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """(N, 4) int64 XYXY: the part of the image outside of which the masks of boxes (N, 4) are empty."""
    limit = boxes.new_tensor([width, height, width, height])
    low = boxes.floor() - 1  # sampling reaches half a mask cell, and so some pixels, beyond the box
    high = boxes.ceil() + 1
    return torch.cat([low[:, :2], high[:, 2:]], dim=1).nan_to_num().clamp(min=0).minimum(limit).long()


def paste_in_region(mask: torch.Tensor, box: torch.Tensor, region: Sequence[int], threshold: float) -> torch.Tensor:
    """One mask (1, M, M) of a box (1, 4) within a region XYXY of the image: (h, w) bool, made some rows at a time."""
    x0, y0, x1, y1 = region
    pasted = torch.zeros((max(0, y1 - y0), max(0, x1 - x0)), dtype=torch.bool, device=mask.device)
    if pasted.numel():
        step = max(1, PASTED_AT_ONCE // pasted.shape[1])
        for top in range(y0, y1, step):
            soft = sample_masks(mask, box, top, min(top + step, y1), x0, x1)[0]
            pasted[top - y0 : top - y0 + step] = soft >= threshold
    return pasted


def sample_masks(masks: torch.Tensor, boxes: torch.Tensor, y_start: int, y_end: int, x_start: int, x_end: int):
    """Soft masks (N, y_end - y_start, x_end - x_start) of a region of the image; (N, M, M) and (N, 4) as above."""
    if not masks.is_floating_point():
        masks = masks.float()
    x0, y0, x1, y1 = torch.split(boxes, 1, dim=1)  # (N, 1)
    y = torch.arange(y_start, y_end, device=masks.device, dtype=torch.float32) + 0.5
    x = torch.arange(x_start, x_end, device=masks.device, dtype=torch.float32) + 0.5
    y = (y - y0) / (y1 - y0) * 2 - 1  # (N, H), -1..1 over the box
    x = (x - x0) / (x1 - x0) * 2 - 1  # (N, W)
    grid = torch.stack(
        [x[:, None, :].expand(x.size(0), y.size(1), x.size(1)), y[:, :, None].expand(y.size(0), y.size(1), x.size(1))],
        dim=3,
    )  # (N, H, W, 2)
    return F.grid_sample(masks[:, None], grid.to(masks.dtype), align_corners=False)[:, 0]


def _finish(soft: torch.Tensor, threshold: float) -> torch.Tensor:
    if threshold >= 0:
        return soft >= threshold
    return (soft * 255).to(dtype=torch.uint8)
