"""Classification and box regression of regions, Fast R-CNN, arXiv 1504.08083."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from det2lite.config import CfgNode, configurable
from det2lite.data.detection_utils import get_fed_loss_cls_weights
from det2lite.layers import ShapeSpec, cross_entropy, nonzero_tuple, shapes_to_tensor
from det2lite.layers.full_precision import FullPrecisionLinear
from det2lite.layers.losses import federated_classes, federated_sigmoid_loss
from det2lite.modeling.box_coders.delta import Box2BoxTransform
from det2lite.modeling.box_coders.loss import box_regression_loss
from det2lite.modeling.detections import suppress
from det2lite.modeling.proposal_generator.proposal_utils import box_limits
from det2lite.structures import Boxes, Instances
from det2lite.utils.errors import BadCall
from det2lite.utils.events import get_event_storage

__all__ = ["FastRCNNOutputLayers", "fast_rcnn_inference", "fast_rcnn_inference_single_image"]


def fast_rcnn_inference(
    boxes: list[torch.Tensor],
    scores: list[torch.Tensor],
    image_shapes: list[tuple[int, int]],
    score_thresh: float,
    nms_thresh: float,
    topk_per_image: int,
) -> tuple[list[Instances], list[torch.Tensor]]:
    """Detections of each image, best first, and the rows of its boxes that they come from.

    boxes: for each image `(R_i, K * 4)` or `(R_i, 4)` XYXY; scores: `(R_i, K + 1)`, the last the background's.
    Suppression is by class, in one call for all images. A negative `topk_per_image` keeps all. Fields: `pred_boxes`,
    `scores`, `pred_classes`.
    """
    if len(scores) == 0:
        nothing: list[Instances] = []
        return nothing, []
    num_classes = scores[0].shape[1] - 1
    box, score, label, image, row = candidates_above(boxes, scores, score_thresh)
    box = torch.minimum(box.clamp(min=0), box_limits(image_shapes, box)[image])
    instances, kept = suppress(box, score, label, image, image_shapes, num_classes, nms_thresh, topk_per_image)
    return instances, [row[own] for own in kept]


def candidates_above(
    boxes: list[torch.Tensor], scores: list[torch.Tensor], score_thresh: float, box_dim: int = 4
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Boxes `(D, box_dim)`, scores, labels, images and rows in their image, `(D,)`, of all that score above
    `score_thresh`. boxes, scores: as in `fast_rcnn_inference`; regions with a value that is not finite are dropped."""
    counts = shapes_to_tensor([s.shape[0] for s in scores])  # stays a tensor in a trace
    all_scores = torch.cat(scores)  # (R, K + 1)
    all_boxes = torch.cat(boxes).unflatten(1, [-1, box_dim])  # (R, K or 1, box_dim)
    finite = torch.isfinite(all_boxes).flatten(1).all(dim=1) & torch.isfinite(all_scores).all(dim=1)
    row, label = nonzero_tuple((all_scores[:, :-1] > score_thresh) & finite[:, None])
    image, start = _images_and_starts(counts, all_scores.device)
    box = all_boxes[row, label if all_boxes.shape[1] > 1 else torch.zeros_like(label)]
    return box, all_scores[row, label], label, image[row], row - start[row]


def fast_rcnn_inference_single_image(
    boxes: torch.Tensor,
    scores: torch.Tensor,
    image_shape: tuple[int, int],
    score_thresh: float,
    nms_thresh: float,
    topk_per_image: int,
) -> tuple[Instances, torch.Tensor]:
    """`fast_rcnn_inference` of one image."""
    results, rows = fast_rcnn_inference(
        [boxes], [scores], [image_shape], score_thresh, nms_thresh, topk_per_image
    )
    return results[0], rows[0]


@torch.no_grad()
def _log_classification_stats(
    pred_logits: torch.Tensor, gt_classes: torch.Tensor, prefix: str = "fast_rcnn"
) -> None:
    """Puts accuracies into the events. pred_logits: `(R, K + 1)`, the last the background's; gt_classes: `(R,)`."""
    if gt_classes.numel() == 0:
        return
    predicted, background = pred_logits.argmax(dim=1), pred_logits.shape[1] - 1
    foreground = (gt_classes >= 0) & (gt_classes < background)
    right = predicted == gt_classes
    storage = get_event_storage()
    storage.put_scalar(f"{prefix}/cls_accuracy", right.float().mean())
    num_foreground = foreground.sum().clamp(min=1)
    storage.put_scalar(f"{prefix}/fg_cls_accuracy", (right & foreground).sum() / num_foreground)
    missed = (predicted == background) & foreground
    storage.put_scalar(f"{prefix}/false_negative", missed.sum() / num_foreground)


def _images_and_starts(counts: torch.Tensor, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Of each row of all images `(R,)`: its image, and that image's first row. counts: `(N,)` rows of the images."""
    starts = counts.cumsum(0) - counts
    image = torch.repeat_interleave(torch.arange(len(counts)), counts)
    return image.to(device, non_blocking=True), starts[image].to(device, non_blocking=True)


class FastRCNNOutputLayers(nn.Module):
    """Two linear layers: class scores and box deltas.

    test_topk_per_image: detections kept. cls_agnostic_bbox_reg: one box for all classes. loss_weight: a factor, or one
    each for `loss_cls` and `loss_box_reg`. use_fed_loss, fed_loss_num_classes, get_fed_loss_cls_weights: federated
    loss of LVIS, on the classes present and a random sample of others. use_sigmoid_ce: a sigmoid for each class.
    """

    @configurable
    def __init__(
        self,
        input_shape: ShapeSpec,
        *,
        box2box_transform: Box2BoxTransform,
        num_classes: int,
        test_score_thresh: float = 0.0,
        test_nms_thresh: float = 0.5,
        test_topk_per_image: int = 100,
        cls_agnostic_bbox_reg: bool = False,
        smooth_l1_beta: float = 0.0,
        box_reg_loss_type: str = "smooth_l1",
        loss_weight: float | dict[str, float] = 1.0,
        use_fed_loss: bool = False,
        use_sigmoid_ce: bool = False,
        get_fed_loss_cls_weights: Callable[[], torch.Tensor] | None = None,
        fed_loss_num_classes: int = 50,
    ):
        super().__init__()
        if isinstance(input_shape, int):
            input_shape = ShapeSpec(channels=input_shape)
        input_size = input_shape.channels * (input_shape.width or 1) * (input_shape.height or 1)
        self.num_classes = num_classes
        self.cls_score = FullPrecisionLinear(input_size, num_classes + 1)
        num_boxes = 1 if cls_agnostic_bbox_reg else num_classes
        self.bbox_pred = FullPrecisionLinear(input_size, num_boxes * len(box2box_transform.weights))
        for layer, std in ((self.cls_score, 0.01), (self.bbox_pred, 0.001)):
            nn.init.normal_(layer.weight, std=std)
            nn.init.zeros_(layer.bias)
        self.box2box_transform = box2box_transform
        self.smooth_l1_beta = smooth_l1_beta
        self.test_score_thresh = test_score_thresh
        self.test_nms_thresh = test_nms_thresh
        self.test_topk_per_image = test_topk_per_image
        self.box_reg_loss_type = box_reg_loss_type
        if isinstance(loss_weight, int | float):
            loss_weight = {"loss_cls": loss_weight, "loss_box_reg": loss_weight}
        self.loss_weight = loss_weight
        self.use_fed_loss = use_fed_loss
        self.use_sigmoid_ce = use_sigmoid_ce
        self.fed_loss_num_classes = fed_loss_num_classes
        if use_fed_loss:
            if not use_sigmoid_ce or get_fed_loss_cls_weights is None:
                raise BadCall("federated loss needs sigmoid cross-entropy and the weights of the classes")
            self.register_buffer("fed_loss_cls_weights", get_fed_loss_cls_weights(), persistent=False)
            if len(self.fed_loss_cls_weights) != num_classes:
                raise BadCall(f"{len(self.fed_loss_cls_weights)} class weights for {num_classes} classes")

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict[str, Any]:
        roi, box = cfg.MODEL.ROI_HEADS, cfg.MODEL.ROI_BOX_HEAD
        return {
            "input_shape": input_shape,
            "box2box_transform": Box2BoxTransform(weights=box.BBOX_REG_WEIGHTS),
            "num_classes": roi.NUM_CLASSES,
            "cls_agnostic_bbox_reg": box.CLS_AGNOSTIC_BBOX_REG,
            "smooth_l1_beta": box.SMOOTH_L1_BETA,
            "test_score_thresh": roi.SCORE_THRESH_TEST,
            "test_nms_thresh": roi.NMS_THRESH_TEST,
            "test_topk_per_image": cfg.TEST.DETECTIONS_PER_IMAGE,
            "box_reg_loss_type": box.BBOX_REG_LOSS_TYPE,
            "loss_weight": {"loss_box_reg": box.BBOX_REG_LOSS_WEIGHT},
            "use_fed_loss": box.USE_FED_LOSS,
            "use_sigmoid_ce": box.USE_SIGMOID_CE,
            "get_fed_loss_cls_weights": lambda: get_fed_loss_cls_weights(
                dataset_names=cfg.DATASETS.TRAIN, freq_weight_power=box.FED_LOSS_FREQ_WEIGHT_POWER
            ),
            "fed_loss_num_classes": box.FED_LOSS_NUM_CLASSES,
        }

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """x: `(R, C, ...)`. Returns scores `(R, K + 1)`, logits, and deltas `(R, 4)` or `(R, K * 4)`."""
        x = x.flatten(1)
        return self.cls_score(x), self.bbox_pred(x)

    def losses(
        self, predictions: tuple[torch.Tensor, torch.Tensor], proposals: list[Instances]
    ) -> dict[str, torch.Tensor]:
        """`loss_cls` and `loss_box_reg`. proposals have `proposal_boxes`, `gt_classes` and, for objects, `gt_boxes`."""
        scores, deltas = predictions
        gt_classes = torch.cat([p.gt_classes for p in proposals]) if proposals else scores.new_zeros(0).long()
        _log_classification_stats(scores, gt_classes)
        proposal_boxes = _cat_boxes([p.proposal_boxes for p in proposals], deltas)
        if proposal_boxes.requires_grad:
            raise BadCall("proposal boxes must carry no gradient")
        gt_boxes = _cat_boxes([(p.gt_boxes if p.has("gt_boxes") else p.proposal_boxes) for p in proposals], deltas)
        if self.use_sigmoid_ce:
            loss_cls = self.sigmoid_cross_entropy_loss(scores, gt_classes)
        else:
            loss_cls = cross_entropy(scores, gt_classes, reduction="mean")
        losses = {
            "loss_cls": loss_cls,
            "loss_box_reg": self.box_reg_loss(proposal_boxes, gt_boxes, deltas, gt_classes),
        }
        return {name: loss * self.loss_weight.get(name, 1.0) for name, loss in losses.items()}

    def get_fed_loss_classes(
        self, gt_classes: torch.Tensor, num_fed_loss_classes: int, num_classes: int, weight: torch.Tensor
    ) -> torch.Tensor:
        """The classes in `gt_classes (R,)`, filled up to `num_fed_loss_classes` by others drawn by `weight (K,)`."""
        return federated_classes(gt_classes, num_fed_loss_classes, num_classes, weight)

    def sigmoid_cross_entropy_loss(self, pred_class_logits: torch.Tensor, gt_classes: torch.Tensor) -> torch.Tensor:
        """Binary cross-entropy of each class, summed, over the number of regions."""
        classes = None
        if self.use_fed_loss and len(gt_classes):
            classes = self.get_fed_loss_classes(
                gt_classes, self.fed_loss_num_classes, self.num_classes, self.fed_loss_cls_weights
            )
        return federated_sigmoid_loss(pred_class_logits[:, :-1], gt_classes, classes)

    def box_reg_loss(
        self,
        proposal_boxes: torch.Tensor,
        gt_boxes: torch.Tensor,
        pred_deltas: torch.Tensor,
        gt_classes: torch.Tensor,
    ) -> torch.Tensor:
        """Loss of the objects' boxes, over the number of all regions, so that each object counts alike.

        proposal_boxes, gt_boxes `(R, B)`; pred_deltas `(R, B)` or `(R, K * B)`; gt_classes `(R,)`.
        """
        box_dim = proposal_boxes.shape[1]
        objects = torch.nonzero((gt_classes >= 0) & (gt_classes < self.num_classes)).squeeze(1)
        deltas = pred_deltas[objects].unflatten(1, (pred_deltas.shape[1] // box_dim, box_dim))  # (F, K or 1, B)
        if deltas.shape[1] == 1:
            deltas = deltas[:, 0]
        else:
            deltas = deltas[torch.arange(len(objects), device=objects.device), gt_classes[objects]]
        loss = box_regression_loss(
            deltas,
            proposal_boxes[objects],
            gt_boxes[objects],
            self.box2box_transform,
            self.box_reg_loss_type,
            self.smooth_l1_beta,
        )
        return loss / max(gt_classes.numel(), 1.0)

    def inference(
        self, predictions: tuple[torch.Tensor, torch.Tensor], proposals: list[Instances]
    ) -> tuple[list[Instances], list[torch.Tensor]]:
        """See `fast_rcnn_inference`."""
        return fast_rcnn_inference(
            self.predict_boxes(predictions, proposals),
            self.predict_probs(predictions, proposals),
            [p.image_size for p in proposals],
            self.test_score_thresh,
            self.test_nms_thresh,
            self.test_topk_per_image,
        )

    def predict_boxes_for_gt_classes(
        self, predictions: tuple[torch.Tensor, torch.Tensor], proposals: list[Instances]
    ) -> tuple[torch.Tensor, ...]:
        """For each image `(R_i, B)`: the boxes predicted for the true class of each region, any for background."""
        if not proposals:
            return ()
        boxes = torch.cat(self.predict_boxes(predictions, proposals))  # (R, B) or (R, K * B)
        box_dim = proposals[0].proposal_boxes.tensor.shape[1]
        if boxes.shape[1] > box_dim:
            label = torch.cat([p.gt_classes for p in proposals]).clamp(0, self.num_classes - 1)
            boxes = boxes.unflatten(1, (self.num_classes, box_dim))
            boxes = boxes[torch.arange(len(label), device=label.device), label]
        return boxes.split([len(p) for p in proposals])

    def predict_boxes(
        self, predictions: tuple[torch.Tensor, torch.Tensor], proposals: list[Instances]
    ) -> list[torch.Tensor]:
        """For each image `(R_i, B)` or `(R_i, K * B)`: the predicted boxes."""
        if len(proposals) == 0:
            return []
        boxes = _cat_boxes([p.proposal_boxes for p in proposals], predictions[1])
        return list(self.box2box_transform.apply_deltas(predictions[1], boxes).split([len(p) for p in proposals]))

    def predict_probs(
        self, predictions: tuple[torch.Tensor, torch.Tensor], proposals: list[Instances]
    ) -> list[torch.Tensor]:
        """For each image `(R_i, K + 1)`: the predicted probabilities."""
        scores = predictions[0].float()  # half precision has ties where the order matters
        probabilities = scores.sigmoid() if self.use_sigmoid_ce else scores.softmax(dim=-1)
        return list(probabilities.split([len(p) for p in proposals]))


def _cat_boxes(boxes: list[Boxes], like: torch.Tensor) -> torch.Tensor:
    return torch.cat([b.tensor for b in boxes]) if len(boxes) > 0 else like.new_zeros((0, 4))
