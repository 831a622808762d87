"""Non-maximum suppression: of detections that overlap too much, the one with the highest score stays."""

from typing import List, Optional  # noqa: UP035 - TorchScript reads the annotations

import torch
import torchvision
from torchvision.ops import nms

from det2lite.structures.rotated_iou import iou_of_pairs, overlap_candidates

__all__ = ["batched_nms", "batched_nms_rotated", "nms", "nms_rotated"]


def batched_nms(boxes: torch.Tensor, scores: torch.Tensor, idxs: torch.Tensor, iou_threshold: float):
    """NMS within each class; boxes of different classes never suppress each other.

    boxes: (N, 4) XYXY. scores: (N,). idxs: (N,) class of each box, any integers. iou_threshold: a box goes
    when its IoU with a better one of its class is above. Returns the indices kept (K,), best score first.
    """
    assert boxes.shape[-1] == 4, boxes.shape
    boxes = boxes.float()
    if boxes.numel() == 0:
        return torch.empty((0,), dtype=torch.int64, device=boxes.device)
    if boxes.device.type == "cpu" and (torch.jit.is_scripting() or not torch.jit.is_tracing()):
        return _nms_by_class(boxes, scores, idxs, iou_threshold)
    if torch.jit.is_scripting() or torch.jit.is_tracing() or boxes.device.type != "cuda":
        return torchvision.ops.batched_nms(boxes, scores, idxs, iou_threshold)
    return _nms_moved_apart(boxes, scores, idxs, iou_threshold)


def _nms_moved_apart(
    boxes: torch.Tensor, scores: torch.Tensor, idxs: torch.Tensor, iou_threshold: float
) -> torch.Tensor:
    """`batched_nms` in one call, each class moved to a place of its own.

    In float64 the moved coordinates are exact, and so are the IoUs; in float32 they would lose up to 10 bits.
    """
    span = (boxes.max() - boxes.min().clamp(max=0) + 1).ceil().double()
    offset = idxs.to(torch.float64) * span
    return nms(boxes.double() + offset[:, None], scores.double(), iou_threshold)


def _nms_by_class(
    boxes: torch.Tensor, scores: torch.Tensor, idxs: torch.Tensor, iou_threshold: float
) -> torch.Tensor:
    """`batched_nms` class by class: on one core a joint call would compare boxes of different classes for nothing."""
    order = idxs.argsort(stable=True)
    counts: List[int] = torch.unique_consecutive(idxs[order], return_counts=True)[1].tolist()  # noqa: UP006
    kept: List[torch.Tensor] = []  # noqa: UP006
    start = 0
    sorted_boxes, sorted_scores = boxes[order], scores[order].to(boxes.dtype)
    for count in counts:
        part = slice(start, start + count)
        kept.append(nms(sorted_boxes[part], sorted_scores[part], iou_threshold) + start)
        start += count
    keep = order[torch.cat(kept)].sort()[0]  # ties between classes are broken by position
    return keep[scores[keep].argsort(descending=True, stable=True)]


def nms_rotated(boxes: torch.Tensor, scores: torch.Tensor, iou_threshold: float) -> torch.Tensor:
    """NMS of rotated boxes (N, 5): centre, width, height, degrees. Otherwise as `batched_nms` of a single class."""
    return _nms_rotated(boxes, scores, None, iou_threshold)


def batched_nms_rotated(boxes: torch.Tensor, scores: torch.Tensor, idxs: torch.Tensor, iou_threshold: float):
    """`batched_nms` for rotated boxes (N, 5): centre, width, height, degrees."""
    assert boxes.shape[-1] == 5, boxes.shape
    return _nms_rotated(boxes, scores, idxs, iou_threshold)


def _nms_rotated(
    boxes: torch.Tensor,
    scores: torch.Tensor,
    idxs: Optional[torch.Tensor],  # noqa: UP045
    iou_threshold: float,
    many: int = 4096,
) -> torch.Tensor:
    """many: of more boxes than this each class is looked at by itself."""
    order = scores.argsort(descending=True, stable=True)
    boxes = boxes.float()[order]
    if idxs is None:
        return order[_rotated_survivors(boxes, torch.zeros_like(order), iou_threshold)]
    classes = idxs[order]
    if boxes.shape[0] <= many:
        return order[_rotated_survivors(boxes, classes, iou_threshold)]
    by_class = classes.argsort(stable=True)  # best first within each
    counts: List[int] = torch.unique_consecutive(classes[by_class], return_counts=True)[1].tolist()  # noqa: UP006
    kept: List[torch.Tensor] = []  # noqa: UP006
    for members in by_class.split(counts):
        kept.append(members[_rotated_survivors(boxes[members], classes[members], iou_threshold)])
    return order[torch.cat(kept).sort()[0]]


def _rotated_survivors(
    boxes: torch.Tensor, classes: torch.Tensor, iou_threshold: float, block: int = 1024, size: int = 4096
) -> torch.Tensor:
    """Ascending indices (K,) of the boxes (N, 5) that stay. boxes: best first. classes: (N,).

    The `block` best of those that are left are settled among themselves, then remove what they suppress of the others,
    `size` at a time: memory stays bounded, and where many boxes overlap, few of their pairs are looked at.
    """
    left = torch.arange(boxes.shape[0], device=boxes.device)
    kept = [left[:0]]
    while left.numel() > 0:
        head, rest = left[:block], left[block:]
        head = head[_settled(boxes[head], classes[head], iou_threshold)]
        kept.append(head)
        if rest.shape[0] == 0:
            break
        alive = torch.ones_like(rest, dtype=torch.bool)
        for start in range(0, rest.shape[0], size):
            part = rest[start : start + size]
            pairs = overlap_candidates(boxes[head], boxes[part])
            pairs = pairs[classes[head[pairs[:, 0]]] == classes[part[pairs[:, 1]]]]
            pairs = pairs[iou_of_pairs(boxes[head], boxes[part], pairs) > iou_threshold]
            alive[pairs[:, 1] + start] = False
        left = rest[alive]
    return torch.cat(kept)


def _settled(boxes: torch.Tensor, classes: torch.Tensor, iou_threshold: float) -> torch.Tensor:
    """(N,) whether each of the boxes (N, 5), best first, stays; all pairs are looked at together."""
    pairs = overlap_candidates(boxes, boxes)
    pairs = pairs[pairs[:, 0] < pairs[:, 1]]  # better box first
    pairs = pairs[classes[pairs[:, 0]] == classes[pairs[:, 1]]]
    pairs = pairs[iou_of_pairs(boxes, boxes, pairs) > iou_threshold]
    better, worse = pairs[:, 0], pairs[:, 1]
    # A box stays unless a better one that stays suppresses it. Each round settles at least the best box that was
    # not settled yet, so this ends, mostly after a few rounds: as many as the longest chain of suppressions.
    keep = torch.ones(boxes.shape[0], dtype=torch.bool, device=boxes.device)
    while True:
        suppressed = torch.zeros_like(keep)
        suppressed[worse[keep[better]]] = True
        if bool((suppressed != keep).all()):
            break
        keep = ~suppressed
    return keep
