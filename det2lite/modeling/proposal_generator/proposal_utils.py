"""From scored boxes to proposals: the best of each level, non-maximum suppression, the best of each image."""

import torch

from det2lite.layers import batched_nms, shapes_to_tensor
from det2lite.structures import Boxes, Instances
from det2lite.utils.errors import BadCall, UserError

__all__ = ["add_ground_truth_to_proposals", "box_limits", "find_top_rpn_proposals"]


class Diverged(UserError, FloatingPointError):
    """Predictions in training are NaN or infinite."""


def find_top_rpn_proposals(
    proposals: list[torch.Tensor],
    pred_objectness_logits: list[torch.Tensor],
    image_sizes: list[tuple[int, int]],
    nms_thresh: float,
    pre_nms_topk: int,
    post_nms_topk: int,
    min_box_size: float,
    training: bool,
) -> list[Instances]:
    """Proposals of each image, best first.

    proposals: one a level, `(N, R_l, 4)` XYXY; pred_objectness_logits: one a level, `(N, R_l)`; image_sizes:
    `(height, width)`. Suppression is by level. Fields: `proposal_boxes`, `objectness_logits`. Raises
    `Diverged` in training where a value is not finite; in inference such boxes are dropped.
    """
    boxes, scores, levels = best_of_levels(proposals, pred_objectness_logits, pre_nms_topk)
    return select_proposals(
        boxes, scores, levels, image_sizes, nms_thresh, post_nms_topk, min_box_size, training
    )


def best_of_levels(
    proposals: list[torch.Tensor], logits: list[torch.Tensor], topk: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The best `topk` of each level and image: boxes `(N, K, B)`, scores `(N, K)`, levels `(K,)`."""
    boxes: list[torch.Tensor] = []
    scores: list[torch.Tensor] = []
    levels: list[torch.Tensor] = []
    for level, (level_boxes, level_logits) in enumerate(zip(proposals, logits)):  # noqa: B905 - TorchScript
        top_scores, top = best_of_level(level_logits, topk)
        boxes.append(level_boxes.gather(1, top[..., None].expand(-1, -1, level_boxes.shape[-1])))
        scores.append(top_scores)
        levels.append(torch.full((top.shape[1],), level, device=top.device))
    return torch.cat(boxes, dim=1), torch.cat(scores, dim=1), torch.cat(levels)


def best_of_level(logits: torch.Tensor, topk: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores and indices `(N, min(R, topk))` of the best predictions of each image. logits: `(N, R)`."""
    count = logits.shape[1]
    # a traced size stays a tensor, so that the trace serves inputs of other sizes
    count = count.clamp(max=topk) if isinstance(count, torch.Tensor) else min(count, topk)
    return logits.topk(count, dim=1)


def select_proposals(
    boxes: torch.Tensor,
    scores: torch.Tensor,
    levels: torch.Tensor,
    image_sizes: list[tuple[int, int]],
    nms_thresh: float,
    post_nms_topk: int,
    min_box_size: float,
    training: bool,
) -> list[Instances]:
    """Proposals of each image from candidates of all levels, all images in one suppression.

    boxes `(N, K, 4)` XYXY, scores `(N, K)`, levels `(K,)`.
    """
    finite = finite_candidates(boxes, scores, training)
    boxes = torch.where(finite[..., None], boxes, 0).clamp(min=0)
    boxes = torch.minimum(boxes, box_limits(image_sizes, boxes)[:, None])
    size = boxes[..., 2:] - boxes[..., :2]
    usable = finite & (size > min_box_size).all(dim=2)
    return suppress_levels(boxes, scores, levels, usable, image_sizes, nms_thresh, post_nms_topk)


def finite_candidates(boxes: torch.Tensor, scores: torch.Tensor, training: bool) -> torch.Tensor:
    """Where boxes `(N, K, B)` and scores `(N, K)` are finite; in training they must be."""
    finite = torch.isfinite(boxes).all(dim=2) & torch.isfinite(scores)  # (N, K)
    if training and not finite.all():
        raise Diverged(
            "predicted boxes or scores contain Inf or NaN, training has diverged: lower SOLVER.BASE_LR, lengthen the"
            " warm-up, or set SOLVER.CLIP_GRADIENTS.ENABLED True"
        )
    return finite


def suppress_levels(
    boxes: torch.Tensor,
    scores: torch.Tensor,
    levels: torch.Tensor,
    usable: torch.Tensor,
    image_sizes: list[tuple[int, int]],
    nms_thresh: float,
    topk: int,
) -> list[Instances]:
    """Proposals of each image, best first, from its `usable (N, K)` candidates; suppression is by level."""
    boxes, scores, groups, image_of = pick_candidates(boxes, scores, levels, usable)
    keep = batched_nms(boxes, scores, groups, nms_thresh)  # best first, over all images
    results: list[Instances] = []
    for image_size, own in zip(image_sizes, split_by_image(keep, image_of[keep], len(image_sizes), topk)):  # noqa: B905
        results.append(Instances(image_size, proposal_boxes=Boxes(boxes[own]), objectness_logits=scores[own]))
    return results


def pick_candidates(
    boxes: torch.Tensor, scores: torch.Tensor, levels: torch.Tensor, usable: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """The `usable (N, K)` ones of boxes `(N, K, B)` and scores `(N, K)`: boxes `(P, B)`, scores, groups and images.

    levels: `(K,)`. A group `(P,)` is a level of an image.
    """
    num_images = scores.shape[0]
    image_of = torch.arange(num_images, device=boxes.device)[:, None].expand_as(scores)
    groups = (image_of + levels * num_images).flatten()
    picked = usable.flatten().nonzero().squeeze(1)
    return boxes.flatten(0, 1)[picked], scores.flatten()[picked], groups[picked], image_of.flatten()[picked]


def split_by_image(keep: torch.Tensor, image_of: torch.Tensor, num_images: int, topk: int) -> list[torch.Tensor]:
    """The first `topk` indices of each image from those of all `keep (P,)`; a negative `topk` is no limit."""
    own = [keep[image_of == image] for image in range(num_images)]
    return [indices[:topk] for indices in own] if topk >= 0 else own


def box_limits(image_sizes: list[tuple[int, int]], like: torch.Tensor) -> torch.Tensor:
    """The largest coordinates of a box in each image of `(height, width)`: `(N, 4)` XYXY, type and device of `like`."""
    sides: list[int] = []
    for height, width in image_sizes:
        sides += [width, height, width, height]
    limits = shapes_to_tensor(sides)
    return limits.reshape(-1, 4).to(like.dtype).to(like.device, non_blocking=True)


def add_ground_truth_to_proposals(
    gt: list[Instances] | list[Boxes], proposals: list[Instances]
) -> list[Instances]:
    """Each image's proposals with its ground-truth boxes behind them, scored as sure objects."""
    if len(gt) != len(proposals):
        raise BadCall(f"ground truth of {len(gt)} images for proposals of {len(proposals)}")
    return [add_ground_truth_to_proposals_single_image(*pair) for pair in zip(gt, proposals, strict=True)]


# the logit of a probability that float32 can still tell from 1
SURE_LOGIT = 23.025850929940457  # log((1 - 1e-10) / 1e-10)


def add_ground_truth_to_proposals_single_image(gt: Instances | Boxes, proposals: Instances) -> Instances:
    """`add_ground_truth_to_proposals` of one image."""
    boxes = gt if isinstance(gt, Boxes) else gt.gt_boxes
    extra = Instances(proposals.image_size)
    if isinstance(gt, Instances):
        for name, value in gt.get_fields().items():
            if name in proposals.get_fields():
                extra.set(name, value)
    extra.proposal_boxes = boxes
    extra.objectness_logits = torch.full((len(boxes),), SURE_LOGIT, device=proposals.objectness_logits.device)
    for name in proposals.get_fields():
        if not extra.has(name):
            raise BadCall(f"proposals have the field {name!r}, which the ground truth lacks")
    return Instances.cat([proposals, extra])
