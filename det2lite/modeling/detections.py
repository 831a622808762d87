"""From scored candidates of a batch to the detections of each image."""

from collections.abc import Callable

import torch

from det2lite.layers import batched_nms
from det2lite.modeling.proposal_generator.proposal_utils import best_of_level
from det2lite.structures import Boxes, Instances

__all__ = ["best_candidates", "dense_detections", "suppress"]


def suppress(
    boxes: torch.Tensor,
    scores: torch.Tensor,
    labels: torch.Tensor,
    image_of: torch.Tensor,
    image_sizes: list[tuple[int, int]],
    num_classes: int,
    nms_thresh: float,
    topk_per_image: int,
    box_type: type[Boxes] = Boxes,
    nms: Callable[..., torch.Tensor] = batched_nms,
) -> tuple[list[Instances], list[torch.Tensor]]:
    """Detections of each image, best first, and the indices of the candidates that they are.

    boxes `(D, B)`, scores, labels and image_of `(D,)`, of all images. Suppression is by class, in one call for all
    images. A negative `topk_per_image` keeps all. Fields: `pred_boxes`, `scores`, `pred_classes`.
    """
    keep = nms(boxes, scores, image_of * num_classes + labels, nms_thresh)  # best first, over all images
    image_of_kept = image_of[keep]
    instances, kept = [], []
    for image, size in enumerate(image_sizes):
        own = keep[image_of_kept == image]
        own = own[:topk_per_image] if topk_per_image >= 0 else own
        fields = {"pred_boxes": box_type(boxes[own]), "scores": scores[own], "pred_classes": labels[own]}
        instances.append(Instances(size, **fields))
        kept.append(own)
    return instances, kept


def best_candidates(scores: torch.Tensor, topk: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Score, row and class, each `(N, min(R * K, topk))`, of the best of `scores (N, R, K)`, best first."""
    num_classes = scores.shape[2]
    # the best pairs lie in the rows that are best by their best class: sorting rows is K times less to do
    _, rows = best_of_level(scores.amax(dim=2), topk)  # (N, k)
    pairs = scores.gather(1, rows[..., None].expand(-1, -1, num_classes)).flatten(1)  # (N, k * K)
    top, index = best_of_level(pairs, topk)
    return top, rows.gather(1, index // num_classes), index % num_classes


def dense_detections(
    anchors: list[Boxes],
    scores: list[torch.Tensor],
    deltas: list[torch.Tensor],
    box2box_transform,
    image_sizes: list[tuple[int, int]],
    *,
    score_thresh: float,
    topk_candidates: int,
    nms_thresh: float,
    topk_per_image: int,
    activation: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> list[Instances]:
    """Detections of each image from predictions at every position; only the best candidates are decoded.

    One of each a level: anchors `(R_l, 4)`, scores `(N, R_l, K)`, deltas `(N, R_l, 4)`. topk_candidates: of each level
    and image. activation: rising function that makes probabilities of the scores, on the candidates alone. Boxes may
    reach over the image's edge.
    """
    boxes, top_scores, labels = [], [], []
    for level_anchors, level_scores, level_deltas in zip(anchors, scores, deltas, strict=True):
        top, rows, classes = best_candidates(level_scores, topk_candidates)  # (N, k)
        top_deltas = level_deltas.gather(1, rows[..., None].expand(-1, -1, level_deltas.shape[2]))
        boxes.append(box2box_transform.apply_deltas(top_deltas, level_anchors.tensor[rows]))
        top_scores.append(top)
        labels.append(classes)
    boxes, scores_of_all, labels = (torch.cat(parts, dim=1) for parts in (boxes, top_scores, labels))
    if activation is not None:
        scores_of_all = activation(scores_of_all)
    usable = (scores_of_all > score_thresh) & torch.isfinite(boxes).all(dim=2)  # (N, C); no NaN is above a threshold
    image_of, column = usable.nonzero(as_tuple=True)
    instances, _ = suppress(
        boxes[image_of, column],
        scores_of_all[image_of, column],
        labels[image_of, column],
        image_of,
        image_sizes,
        scores[0].shape[2],
        nms_thresh,
        topk_per_image,
    )
    return instances
