"""RetinaNet, arXiv 1708.02002."""

from typing import Any

import torch
from torch import nn

from det2lite.config import CfgNode, configurable
from det2lite.layers.losses import focal_loss_of_labels
from det2lite.modeling.anchor_generator import build_anchor_generator
from det2lite.modeling.backbone import Backbone, build_backbone
from det2lite.modeling.box_coders.delta import Box2BoxTransform
from det2lite.modeling.box_coders.loss import dense_box_regression_loss
from det2lite.modeling.dense_heads.retinanet import RetinaNetHead
from det2lite.modeling.matcher import Matcher
from det2lite.modeling.meta_arch.build import META_ARCH_REGISTRY
from det2lite.modeling.meta_arch.dense_detector import DenseDetector, permute_to_N_HWA_K
from det2lite.structures import Boxes, ImageList, Instances, pairwise_iou
from det2lite.utils.events import get_event_storage
from det2lite.utils.memory import retry_if_cuda_oom

__all__ = ["RetinaNet", "RetinaNetHead", "permute_to_N_HWA_K"]

USUAL_NUM_POSITIVE = 100  # objects' anchors in a batch, to begin the running mean with


@META_ARCH_REGISTRY.register()
class RetinaNet(DenseDetector):
    """Classes by focal loss and boxes relative to anchors, at every position of a feature pyramid.

    smooth_l1_beta: where L1 begins, of the loss type "smooth_l1". test_score_thresh: detections score above it.
    test_topk_candidates: of each level, before suppression. vis_period: iterations between pictures of detections.
    """

    @configurable
    def __init__(
        self,
        *,
        backbone: Backbone,
        head: nn.Module,
        head_in_features: list[str],
        anchor_generator: nn.Module,
        box2box_transform: Box2BoxTransform,
        anchor_matcher: Matcher,
        num_classes: int,
        focal_loss_alpha: float = 0.25,
        focal_loss_gamma: float = 2.0,
        smooth_l1_beta: float = 0.0,
        box_reg_loss_type: str = "smooth_l1",
        test_score_thresh: float = 0.05,
        test_topk_candidates: int = 1000,
        test_nms_thresh: float = 0.5,
        max_detections_per_image: int = 100,
        pixel_mean: tuple[float, ...],
        pixel_std: tuple[float, ...],
        vis_period: int = 0,
        input_format: str = "BGR",
    ):
        super().__init__(backbone, head, head_in_features, pixel_mean=pixel_mean, pixel_std=pixel_std)
        self.num_classes = num_classes
        self.anchor_generator = anchor_generator
        self.box2box_transform = box2box_transform
        self.anchor_matcher = anchor_matcher
        self.focal_loss_alpha = focal_loss_alpha
        self.focal_loss_gamma = focal_loss_gamma
        self.smooth_l1_beta = smooth_l1_beta
        self.box_reg_loss_type = box_reg_loss_type
        self.test_score_thresh = test_score_thresh
        self.test_topk_candidates = test_topk_candidates
        self.test_nms_thresh = test_nms_thresh
        self.max_detections_per_image = max_detections_per_image
        self.vis_period = vis_period
        self.input_format = input_format

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        retinanet = cfg.MODEL.RETINANET
        backbone = build_backbone(cfg)
        shapes = backbone.output_shape()
        shapes = [shapes[name] for name in retinanet.IN_FEATURES]
        return {
            "backbone": backbone,
            "head": RetinaNetHead(cfg, shapes),
            "head_in_features": retinanet.IN_FEATURES,
            "anchor_generator": build_anchor_generator(cfg, shapes),
            "box2box_transform": Box2BoxTransform(weights=retinanet.BBOX_REG_WEIGHTS),
            "anchor_matcher": Matcher(
                retinanet.IOU_THRESHOLDS, retinanet.IOU_LABELS, allow_low_quality_matches=True
            ),
            "num_classes": retinanet.NUM_CLASSES,
            "focal_loss_alpha": retinanet.FOCAL_LOSS_ALPHA,
            "focal_loss_gamma": retinanet.FOCAL_LOSS_GAMMA,
            "smooth_l1_beta": retinanet.SMOOTH_L1_LOSS_BETA,
            "box_reg_loss_type": retinanet.BBOX_REG_LOSS_TYPE,
            "test_score_thresh": retinanet.SCORE_THRESH_TEST,
            "test_topk_candidates": retinanet.TOPK_CANDIDATES_TEST,
            "test_nms_thresh": retinanet.NMS_THRESH_TEST,
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
        predictions: tuple[list[torch.Tensor], list[torch.Tensor]],
        gt_instances: list[Instances],
    ) -> dict[str, torch.Tensor]:
        """See `DenseDetector.forward_training`; predictions are those of `RetinaNetHead`."""
        logits, deltas = self._transpose_dense_predictions(predictions, [self.num_classes, 4])
        anchors = self.anchor_generator(features)
        gt_labels, gt_boxes = self.label_anchors(anchors, gt_instances)
        return self.losses(anchors, logits, gt_labels, deltas, gt_boxes)

    @torch.no_grad()
    def label_anchors(
        self, anchors: list[Boxes], gt_instances: list[Instances]
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """For each image: labels `(R,)` of all anchors, a class, `num_classes` for background, -1 for ignored; and the
        boxes `(R, 4)` of their ground truth, zeros where the image has none."""
        all_anchors = Boxes.cat(anchors)
        labels_per_image, boxes_per_image = [], []
        for instances in gt_instances:
            overlaps = retry_if_cuda_oom(pairwise_iou)(instances.gt_boxes, all_anchors)  # (M, R)
            matches, match_labels = self.anchor_matcher(overlaps)
            del overlaps
            if len(instances):
                labels = torch.where(match_labels == 0, self.num_classes, instances.gt_classes[matches])
                labels = torch.where(match_labels == -1, -1, labels)
                boxes = instances.gt_boxes.tensor[matches]
            else:
                labels = torch.full_like(matches, self.num_classes)
                boxes = torch.zeros_like(all_anchors.tensor)
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
    ) -> dict[str, torch.Tensor]:
        """`loss_cls` and `loss_box_reg`, over a running mean of the number of objects' anchors in a batch.

        Predictions: one tensor a level, `(N, R_l, K)` and `(N, R_l, 4)`; targets: one an image, `(R,)` and `(R, 4)`.
        """
        labels = torch.stack(gt_labels)  # (N, R)
        positive = (labels >= 0) & (labels != self.num_classes)
        num_positive = positive.sum()
        get_event_storage().put_scalar("num_pos_anchors", num_positive / len(gt_labels))
        normalizer = self._ema_update("loss_normalizer", num_positive.clamp(min=1), USUAL_NUM_POSITIVE)
        logits = torch.cat(pred_logits, dim=1)  # (N, R, K)
        loss_cls = focal_loss_of_labels(logits, labels, self.focal_loss_alpha, self.focal_loss_gamma)
        loss_box_reg = dense_box_regression_loss(
            torch.cat(pred_anchor_deltas, dim=1),
            Boxes.cat(anchors).tensor,
            torch.stack(gt_boxes),
            positive,
            self.box2box_transform,
            self.box_reg_loss_type,
            self.smooth_l1_beta,
        )
        return {"loss_cls": loss_cls / normalizer, "loss_box_reg": loss_box_reg / normalizer}

    def forward_inference(
        self,
        images: ImageList,
        features: list[torch.Tensor],
        predictions: tuple[list[torch.Tensor], list[torch.Tensor]],
    ) -> list[Instances]:
        """See `DenseDetector.forward_inference`; predictions are those of `RetinaNetHead`."""
        logit_maps, delta_maps = predictions
        logits, deltas = self._transpose_dense_predictions([logit_maps, delta_maps], [self.num_classes, 4])
        return self._detect(self.anchor_generator(features), logits, deltas, images.image_sizes)

    def _scores_of(self, best: torch.Tensor) -> torch.Tensor:
        return best.float().sigmoid()  # half precision has ties where the order matters
