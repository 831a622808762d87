"""FCOS, arXiv 1904.01355 and 2006.09214: one prediction at each position, no anchors."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from det2lite.config import CfgNode, configurable
from det2lite.layers.losses import focal_loss_of_labels
from det2lite.modeling.anchor_generator import DefaultAnchorGenerator
from det2lite.modeling.assigners.center_region import match_points
from det2lite.modeling.backbone import Backbone, build_backbone
from det2lite.modeling.box_coders.linear import Box2BoxTransformLinear
from det2lite.modeling.box_coders.loss import dense_box_regression_loss
from det2lite.modeling.dense_heads.fcos import FCOSHead
from det2lite.modeling.meta_arch.build import META_ARCH_REGISTRY
from det2lite.modeling.meta_arch.dense_detector import DenseDetector
from det2lite.structures import Boxes, ImageList, Instances
from det2lite.utils.events import get_event_storage

__all__ = ["FCOS", "FCOSHead"]

USUAL_NUM_POSITIVE = 300  # objects' positions in a batch, to begin the running mean with


@META_ARCH_REGISTRY.register()
class FCOS(DenseDetector):
    """Positions near an object's centre predict its class, the distances to its sides, and how central they are.

    An anchor is the square of a level's stride around a position; distances are in strides. box2box_transform: None
    for `Box2BoxTransformLinear`. center_sampling_radius: strides from the centre within which an object is learnt.
    test_*: see `RetinaNet`; scores are the geometric mean of the class's and the centre-ness.
    """

    @configurable
    def __init__(
        self,
        *,
        backbone: Backbone,
        head: nn.Module,
        head_in_features: list[str] | None = None,
        box2box_transform: Box2BoxTransformLinear | None = None,
        num_classes: int,
        center_sampling_radius: float = 1.5,
        focal_loss_alpha: float = 0.25,
        focal_loss_gamma: float = 2.0,
        test_score_thresh: float = 0.2,
        test_topk_candidates: int = 1000,
        test_nms_thresh: float = 0.6,
        max_detections_per_image: int = 100,
        pixel_mean: tuple[float, ...],
        pixel_std: tuple[float, ...],
        vis_period: int = 0,
        input_format: str = "BGR",
    ):
        super().__init__(backbone, head, head_in_features, pixel_mean=pixel_mean, pixel_std=pixel_std)
        self.num_classes = num_classes
        shapes = backbone.output_shape()
        strides = [shapes[name].stride for name in self.head_in_features]
        self.anchor_generator = DefaultAnchorGenerator(
            sizes=[[stride] for stride in strides], aspect_ratios=[1.0], strides=strides
        )
        self.box2box_transform = box2box_transform or Box2BoxTransformLinear(normalize_by_size=True)
        self.center_sampling_radius = float(center_sampling_radius)
        self.focal_loss_alpha = focal_loss_alpha
        self.focal_loss_gamma = focal_loss_gamma
        self.test_score_thresh = test_score_thresh
        self.test_topk_candidates = test_topk_candidates
        self.test_nms_thresh = test_nms_thresh
        self.max_detections_per_image = max_detections_per_image
        self.vis_period = vis_period
        self.input_format = input_format

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        fcos = cfg.MODEL.FCOS
        backbone = build_backbone(cfg)
        shapes = backbone.output_shape()
        return {
            "backbone": backbone,
            "head": FCOSHead(cfg, [shapes[name] for name in fcos.IN_FEATURES]),
            "head_in_features": fcos.IN_FEATURES,
            "num_classes": fcos.NUM_CLASSES,
            "center_sampling_radius": fcos.CENTER_SAMPLING_RADIUS,
            "focal_loss_alpha": fcos.FOCAL_LOSS_ALPHA,
            "focal_loss_gamma": fcos.FOCAL_LOSS_GAMMA,
            "test_score_thresh": fcos.SCORE_THRESH_TEST,
            "test_topk_candidates": fcos.TOPK_CANDIDATES_TEST,
            "test_nms_thresh": fcos.NMS_THRESH_TEST,
            "max_detections_per_image": cfg.TEST.DETECTIONS_PER_IMAGE,
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "vis_period": cfg.VIS_PERIOD,
            "input_format": cfg.INPUT.FORMAT,
        }

    def forward_training(
        self,
        images: ImageList,
        features: list[torch.Tensor],
        predictions: tuple[list[torch.Tensor], list[torch.Tensor], list[torch.Tensor]],
        gt_instances: list[Instances],
    ) -> dict[str, torch.Tensor]:
        """See `DenseDetector.forward_training`; predictions are those of `FCOSHead`."""
        logits, deltas, centerness = self._transpose_dense_predictions(predictions, [self.num_classes, 4, 1])
        anchors = self.anchor_generator(features)
        gt_labels, gt_boxes = self.label_anchors(anchors, gt_instances)
        return self.losses(anchors, logits, gt_labels, deltas, gt_boxes, centerness)

    @torch.no_grad()
    def label_anchors(
        self, anchors: list[Boxes], gt_instances: list[Instances]
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """For each image: labels `(R,)` of all positions, `num_classes` for background; and the boxes `(R, 4)` of
        their ground truth, zeros where the image has none."""
        cells = [level.tensor for level in anchors]
        labels_per_image, boxes_per_image = [], []
        for instances in gt_instances:
            index = match_points(instances.gt_boxes.tensor, cells, self.center_sampling_radius)  # (R,)
            source = index.clamp(min=0)
            if len(instances):
                labels = torch.where(index < 0, self.num_classes, instances.gt_classes[source])
                boxes = instances.gt_boxes.tensor[source]
            else:
                labels = torch.full_like(index, self.num_classes)
                boxes = cells[0].new_zeros((len(index), 4))
            labels_per_image.append(labels)
            boxes_per_image.append(boxes)
        return labels_per_image, boxes_per_image

    def losses(
        self,
        anchors: list[Boxes],
        pred_logits: list[torch.Tensor],
        gt_labels: list[torch.Tensor],
        pred_anchor_deltas: list[torch.Tensor],
        gt_boxes: list[torch.Tensor],
        pred_centerness: list[torch.Tensor],
    ) -> dict[str, torch.Tensor]:
        """`loss_fcos_cls`, `loss_fcos_loc` (GIoU) and `loss_fcos_ctr`, over a running mean of the number of objects'
        positions in a batch.

        Predictions: one tensor a level, `(N, R_l, K)`, `(N, R_l, 4)`, `(N, R_l, 1)`; targets: one an image, `(R,)`
        and `(R, 4)`.
        """
        labels = torch.stack(gt_labels)  # (N, R)
        positive = (labels >= 0) & (labels != self.num_classes)
        num_positive = positive.sum()
        get_event_storage().put_scalar("num_pos_anchors", num_positive / len(gt_labels))
        normalizer = self._ema_update("loss_normalizer", num_positive.clamp(min=1), USUAL_NUM_POSITIVE)
        logits = torch.cat(pred_logits, dim=1)  # (N, R, K)
        loss_loc = dense_box_regression_loss(
            torch.cat(pred_anchor_deltas, dim=1),
            Boxes.cat(anchors).tensor,
            torch.stack(gt_boxes),
            positive,
            self.box2box_transform,
            "giou",
        )
        centerness = torch.cat(pred_centerness, dim=1).squeeze(2)  # (N, R)
        target = self.compute_ctrness_targets(anchors, gt_boxes)
        loss_ctr = F.binary_cross_entropy_with_logits(centerness, target.to(centerness.dtype), reduction="none")
        losses = {
            "loss_fcos_cls": focal_loss_of_labels(logits, labels, self.focal_loss_alpha, self.focal_loss_gamma),
            "loss_fcos_loc": loss_loc,
            "loss_fcos_ctr": torch.where(positive, loss_ctr, 0).sum(),
        }
        return {name: loss / normalizer for name, loss in losses.items()}

    def compute_ctrness_targets(self, anchors: list[Boxes], gt_boxes: list[torch.Tensor]) -> torch.Tensor:
        """How central each position is in its box, `(N, R)`: 1 in the middle, 0 on the border and outside.

        gt_boxes: for each image `(R, 4)` XYXY.
        """
        sides = self.box2box_transform.get_deltas(Boxes.cat(anchors).tensor, torch.stack(gt_boxes))  # (N, R, 4)
        pairs = sides.unflatten(2, (2, 2))  # (N, R, 2, 2): left and top, right and bottom
        nearest, farthest = pairs.amin(dim=2), pairs.amax(dim=2)  # (N, R, 2): along x, along y
        ratio = torch.where(farthest > 0, nearest / farthest, 0).clamp(min=0)
        return ratio.prod(dim=2).sqrt()

    def forward_inference(
        self,
        images: ImageList,
        features: list[torch.Tensor],
        predictions: tuple[list[torch.Tensor], list[torch.Tensor], list[torch.Tensor]],
    ) -> list[Instances]:
        """See `DenseDetector.forward_inference`; predictions are those of `FCOSHead`."""
        logit_maps, delta_maps, centerness_maps = predictions
        logits, deltas, centerness = self._transpose_dense_predictions(
            [logit_maps, delta_maps, centerness_maps], [self.num_classes, 4, 1]
        )
        # in float32, as half precision has ties where the order matters
        scores = [(x.float().sigmoid() * c.float().sigmoid()).sqrt() for x, c in zip(logits, centerness)]  # noqa: B905
        return self._detect(self.anchor_generator(features), scores, deltas, images.image_sizes)
