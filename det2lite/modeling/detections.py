"""From scored candidates of a batch to the detections of each image."""

import torch

from det2lite.layers import batched_nms, nonzero_tuple
from det2lite.modeling.proposal_generator.proposal_utils import best_of_level, split_by_image
from det2lite.structures import Boxes, Instances

__all__ = ["best_candidates", "best_of_dense_levels", "dense_detections", "suppress"]


def suppress(
    boxes: torch.Tensor,
    scores: torch.Tensor,
    labels: torch.Tensor,
    image_of: torch.Tensor,
    image_sizes: list[tuple[int, int]],
    num_classes: int,
    nms_thresh: float,
    topk_per_image: int,
) -> tuple[list[Instances], list[torch.Tensor]]:
    """Detections of each image, best first, and the indices of the candidates that they are.

    boxes `(D, 4)`, scores, labels and image_of `(D,)`, of all images. Suppression is by class, in one call for all
    images. A negative `topk_per_image` keeps all. Fields: `pred_boxes`, `scores`, `pred_classes`.
    """
    keep = batched_nms(boxes, scores, image_of * num_classes + labels, nms_thresh)  # best first, over all images
    kept = split_by_image(keep, image_of[keep], len(image_sizes), topk_per_image)
    instances: list[Instances] = []
    for size, own in zip(image_sizes, kept):  # noqa: B905 - TorchScript
        instances.append(Instances(size, pred_boxes=Boxes(boxes[own]), scores=scores[own], pred_classes=labels[own]))
    return instances, kept


def best_candidates(scores: torch.Tensor, topk: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Score, row and class, each `(N, min(R * K, topk))`, of the best of `scores (N, R, K)`, best first."""
    num_classes = scores.shape[2]
    # the best pairs lie in the rows that are best by their best class: sorting rows is K times less to do
    _, rows = best_of_level(scores.amax(dim=2), topk)  # (N, k)
    pairs = scores.gather(1, rows[..., None].expand(-1, -1, num_classes)).flatten(1)  # (N, k * K)
    top, index = best_of_level(pairs, topk)
    return top, rows.gather(1, index // num_classes), index % num_classes


def best_of_dense_levels(
    anchors: list[Boxes], scores: list[torch.Tensor], deltas: list[torch.Tensor], topk: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Anchors and deltas `(N, C, 4)`, scores and labels `(N, C)` of the best `topk` of each level and image.

    One of each a level: anchors `(R_l, 4)`, scores `(N, R_l, K)`, deltas `(N, R_l, 4)`.
    """
    top_anchors: list[torch.Tensor] = []
    top_deltas: list[torch.Tensor] = []
    top_scores: list[torch.Tensor] = []
    labels: list[torch.Tensor] = []
    for level_anchors, level_scores, level_deltas in zip(anchors, scores, deltas):  # noqa: B905 - TorchScript
        top, rows, classes = best_candidates(level_scores, topk)  # (N, k)
        top_anchors.append(level_anchors.tensor[rows])
        top_deltas.append(level_deltas.gather(1, rows[..., None].expand(-1, -1, level_deltas.shape[2])))
        top_scores.append(top)
        labels.append(classes)
    return (
        torch.cat(top_anchors, dim=1),
        torch.cat(top_deltas, dim=1),
        torch.cat(top_scores, dim=1),
        torch.cat(labels, dim=1),
    )


def dense_detections(
    boxes: torch.Tensor,
    scores: torch.Tensor,
    labels: torch.Tensor,
    image_sizes: list[tuple[int, int]],
    num_classes: int,
    score_thresh: float,
    nms_thresh: float,
    topk_per_image: int,
) -> list[Instances]:
    """Detections of each image from the candidates of a one-stage detector that score above `score_thresh`.

    boxes `(N, C, 4)`, scores and labels `(N, C)`. Boxes may reach over the image's edge; see `suppress`.
    """
    usable = (scores > score_thresh) & torch.isfinite(boxes).all(dim=2)  # (N, C); no NaN is above a threshold
    image_of, column = nonzero_tuple(usable)
    instances, _ = suppress(
        boxes[image_of, column],
        scores[image_of, column],
        labels[image_of, column],
        image_of,
        image_sizes,
        num_classes,
        nms_thresh,
        topk_per_image,
    )
    return instances
