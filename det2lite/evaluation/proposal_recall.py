"""How many objects the proposals of a model cover."""

from dataclasses import dataclass
from typing import Any

import torch

from det2lite.structures import Boxes, BoxMode, RotatedBoxes, pairwise_iou, pairwise_iou_rotated

__all__ = ["AREAS", "ProposalRecall", "box_proposal_recall"]

# squares of edge lengths in pixels; an object on a border counts on both sides, as in COCO
AREAS = {"all": (0**2, 1e5**2), "small": (0**2, 32**2), "medium": (32**2, 96**2), "large": (96**2, 1e5**2)}
# further ones that may be asked for
_FINER_AREAS = {
    "96-128": (96**2, 128**2), "128-256": (128**2, 256**2), "256-512": (256**2, 512**2), "512-inf": (512**2, 1e5**2),
}  # fmt: skip


@dataclass
class ProposalRecall:
    """ar: average recall over IoU thresholds, 0..1. recalls, thresholds: (T,). num_objects: those looked for.

    overlaps: ascending, the IoU of each object with the proposal that covers it, 0 where none does.
    """

    ar: float
    recalls: torch.Tensor
    thresholds: torch.Tensor
    num_objects: int
    overlaps: torch.Tensor


def _evaluate_box_proposals(
    dataset_predictions: list[dict],
    coco_api: Any,
    thresholds: torch.Tensor | None = None,
    area: str = "all",
    limit: int | None = None,
) -> dict[str, Any]:
    """`box_proposal_recall` as a dict, as projects for Detectron2 call it: ar, recalls, thresholds, gt_overlaps,
    num_pos."""
    found = box_proposal_recall(dataset_predictions, coco_api, area, limit, thresholds)
    return {
        "ar": torch.tensor(found.ar),
        "recalls": found.recalls,
        "thresholds": found.thresholds,
        "gt_overlaps": found.overlaps,
        "num_pos": found.num_objects,
    }


def box_proposal_recall(
    predictions: list[dict],
    coco_api: Any,
    area: str = "all",
    limit: int | None = None,
    thresholds: torch.Tensor | None = None,
) -> ProposalRecall:
    """Recall of the best `limit` proposals of each image, averaged over `thresholds`, by default IoU 0.5:0.95.

    predictions: dicts of image_id and proposals (with proposal_boxes and objectness_logits). coco_api: ground truth.
    area: a key of `AREAS`, or 96-128, 128-256, 256-512, 512-inf. Rotated proposals are compared with the `rotated_bbox`
    XYWHA of annotations. Each object is covered by at most one proposal, the best-fitting pair first. Images without
    any proposal are left out, as in Detectron2. Without objects the recall is nan.
    """
    low, high = (AREAS | _FINER_AREAS)[area]
    overlaps, num_objects = [], 0
    for prediction in predictions:
        proposals = prediction["proposals"]
        is_rotated = isinstance(proposals.proposal_boxes, RotatedBoxes)
        boxes, areas = _objects(coco_api, prediction["image_id"], is_rotated)
        if len(boxes) == 0 or len(proposals) == 0:
            continue
        boxes = boxes[(areas >= low) & (areas <= high)]
        num_objects += len(boxes)
        if len(boxes) == 0:
            continue
        order = proposals.objectness_logits.sort(descending=True).indices[:limit]
        chosen = proposals.proposal_boxes[order]
        iou = pairwise_iou_rotated(chosen, RotatedBoxes(boxes)) if is_rotated else pairwise_iou(chosen, Boxes(boxes))
        overlaps.append(_best_overlaps(iou))
    if thresholds is None:
        thresholds = torch.arange(0.5, 0.95 + 1e-5, 0.05, dtype=torch.float32)  # (T,)
    covered = torch.cat(overlaps).sort().values if overlaps else torch.zeros(0)
    recalls = (covered[None] >= thresholds[:, None]).sum(dim=1).float() / float(num_objects)  # (T,)
    return ProposalRecall(recalls.mean().item(), recalls, thresholds, num_objects, covered)


def _objects(coco_api: Any, image_id: int, is_rotated: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Boxes (G, 4) XYXY, or (G, 5) rotated, and areas (G,) of the objects of an image, crowds left out."""
    annotations = coco_api.loadAnns(coco_api.getAnnIds(imgIds=[image_id]))
    annotations = [annotation for annotation in annotations if not annotation.get("iscrowd", 0)]
    areas = torch.as_tensor([annotation["area"] for annotation in annotations], dtype=torch.float32)
    key, width = ("rotated_bbox", 5) if is_rotated else ("bbox", 4)
    boxes = torch.as_tensor([annotation[key] for annotation in annotations], dtype=torch.float32).reshape(-1, width)
    return boxes if is_rotated else BoxMode.convert(boxes, BoxMode.XYWH_ABS, BoxMode.XYXY_ABS), areas


def _best_overlaps(iou: torch.Tensor) -> torch.Tensor:
    """(G,) overlaps of the pairs that are taken one after the other, the best first. iou: (P, G), is used up."""
    num_proposals, num_objects = iou.shape
    best = torch.zeros(num_objects)
    for taken in range(min(num_proposals, num_objects)):
        # the object that is covered best, and the proposal that covers it
        overlap, position = iou.flatten().max(dim=0)
        best[taken] = overlap
        proposal, found = divmod(int(position), num_objects)
        iou[proposal, :] = -1
        iou[:, found] = -1
    return best
