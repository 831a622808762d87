"""What all region heads share: matching proposals to ground truth and sampling them for training."""

from typing import Any

import torch
from torch import nn

from det2lite.config import CfgNode, configurable
from det2lite.layers import ShapeSpec, nonzero_of_count
from det2lite.modeling.matcher import Matcher
from det2lite.modeling.proposal_generator.proposal_utils import add_ground_truth_to_proposals
from det2lite.modeling.sampling import subsample_labels
from det2lite.structures import Boxes, ImageList, Instances, pairwise_iou
from det2lite.utils.errors import BadCall, WrongMode
from det2lite.utils.events import get_event_storage
from det2lite.utils.registry import Registry

ROI_HEADS_REGISTRY = Registry("ROI_HEADS")
ROI_HEADS_REGISTRY.__doc__ = "Modules called with `(cfg, input_shape)`; see `ROIHeads`."


def build_roi_heads(cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> nn.Module:
    """The region heads of `cfg.MODEL.ROI_HEADS.NAME`."""
    return ROI_HEADS_REGISTRY.get(cfg.MODEL.ROI_HEADS.NAME)(cfg, input_shape)


def select_foreground_proposals(
    proposals: list[Instances], bg_label: int
) -> tuple[list[Instances], list[torch.Tensor]]:
    """The proposals of each image whose `gt_classes` is an object, and the masks `(R_i,)` that selected them."""
    assert isinstance(proposals, (list, tuple)) and all(isinstance(p, Instances) for p in proposals), type(proposals)
    masks = [(p.gt_classes != -1) & (p.gt_classes != bg_label) for p in proposals]
    # all numbers at once: the host waits for the device once, not for each image
    sizes = torch.stack([mask.sum() for mask in masks]).tolist() if masks else []
    parts = zip(proposals, masks, sizes, strict=True)
    return [p[nonzero_of_count(mask, size)] for p, mask, size in parts], masks


def select_proposals_with_visible_keypoints(proposals: list[Instances]) -> list[Instances]:
    """The proposals of each image that have a visible keypoint of their object inside their box."""
    selected, count = [], 0
    for p in proposals:
        if not len(p):
            selected.append(p)
            continue
        keypoints, boxes = p.gt_keypoints.tensor, p.proposal_boxes.tensor[:, None]  # (R, K, 3), (R, 1, 4)
        point = keypoints[..., :2]
        inside = ((point >= boxes[..., :2]) & (point <= boxes[..., 2:])).all(dim=2)
        kept = ((keypoints[..., 2] >= 1) & inside).any(dim=1).nonzero().squeeze(1)
        count += len(kept)
        selected.append(p[kept])
    get_event_storage().put_scalar("keypoint_head/num_fg_samples", count / max(len(proposals), 1))
    return selected


class ROIHeads(nn.Module):
    """Base of region heads. batch_size_per_image: proposals trained on; positive_fraction: objects among them at most;
    proposal_append_gt: ground-truth boxes are proposals too."""

    @configurable
    def __init__(
        self,
        *,
        num_classes: int,
        batch_size_per_image: int,
        positive_fraction: float,
        proposal_matcher: Matcher,
        proposal_append_gt: bool = True,
    ):
        super().__init__()
        self.num_classes = num_classes
        self.batch_size_per_image = batch_size_per_image
        self.positive_fraction = positive_fraction
        self.proposal_matcher = proposal_matcher
        self.proposal_append_gt = proposal_append_gt

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        roi = cfg.MODEL.ROI_HEADS
        return {
            "batch_size_per_image": roi.BATCH_SIZE_PER_IMAGE,
            "positive_fraction": roi.POSITIVE_FRACTION,
            "num_classes": roi.NUM_CLASSES,
            "proposal_append_gt": roi.PROPOSAL_APPEND_GT,
            "proposal_matcher": Matcher(roi.IOU_THRESHOLDS, roi.IOU_LABELS, allow_low_quality_matches=False),
        }

    def _sample_proposals(
        self, matched_idxs: torch.Tensor, matched_labels: torch.Tensor, gt_classes: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Indices of sampled proposals, objects first, and their classes, `num_classes` for background.

        matched_idxs, matched_labels `(R,)`: what the matcher says; gt_classes `(M,)`.
        """
        if len(gt_classes):
            labels = gt_classes[matched_idxs]
            labels = torch.where(matched_labels == 0, self.num_classes, labels)
            labels = torch.where(matched_labels == -1, -1, labels)
        else:
            labels = torch.full_like(matched_idxs, self.num_classes)
        foreground, background = subsample_labels(
            labels, self.batch_size_per_image, self.positive_fraction, self.num_classes
        )
        chosen = torch.cat([foreground, background])
        return chosen, labels[chosen]

    @staticmethod
    def _overlaps(gt_boxes: Boxes, proposal_boxes: Boxes) -> torch.Tensor:
        return pairwise_iou(gt_boxes, proposal_boxes)

    @torch.no_grad()
    def label_and_sample_proposals(self, proposals: list[Instances], targets: list[Instances]) -> list[Instances]:
        """Proposals of each image sampled for training, with `gt_classes` and every `gt_*` field of their object.

        Fields other than `gt_classes` are only meaningful for objects, and absent where the image has none.
        """
        if self.proposal_append_gt:
            proposals = add_ground_truth_to_proposals(targets, proposals)
        sampled, num_foreground, num_background = [], 0, 0
        for per_image, target in zip(proposals, targets, strict=True):
            overlaps = self._overlaps(target.gt_boxes, per_image.proposal_boxes)  # (M, R)
            matches, labels = self.proposal_matcher(overlaps)
            chosen, classes = self._sample_proposals(matches, labels, target.gt_classes)
            per_image = per_image[chosen]
            per_image.gt_classes = classes
            if len(target):
                source = matches[chosen]
                for name, value in target.get_fields().items():
                    if name.startswith("gt_") and not per_image.has(name):
                        per_image.set(name, value[source])
            background = (classes == self.num_classes).sum()
            num_background = num_background + background
            num_foreground = num_foreground + (len(classes) - background)
            sampled.append(per_image)
        storage = get_event_storage()
        storage.put_scalar("roi_head/num_fg_samples", num_foreground / max(len(sampled), 1))
        storage.put_scalar("roi_head/num_bg_samples", num_background / max(len(sampled), 1))
        return sampled

    def _check_given_boxes(self, instances: list[Instances]) -> None:
        """What `forward_with_given_boxes` of any region heads needs."""
        if self.training:
            raise WrongMode("forward_with_given_boxes needs model.eval()")
        for per_image in instances:
            if not (per_image.has("pred_boxes") and per_image.has("pred_classes")):
                raise BadCall("forward_with_given_boxes needs instances with pred_boxes and pred_classes")

    def forward(
        self,
        images: ImageList,
        features: dict[str, torch.Tensor],
        proposals: list[Instances],
        targets: list[Instances] | None = None,
    ) -> tuple[list[Instances], dict[str, torch.Tensor]]:
        """Detections of each image in evaluation, and the losses in training.

        proposals: with `proposal_boxes`; targets: with `gt_boxes`, `gt_classes` and what the heads need.
        """
        raise NotImplementedError
