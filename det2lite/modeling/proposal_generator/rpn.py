"""Region proposal network, Faster R-CNN, arXiv 1506.01497."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from det2lite.config import CfgNode, configurable
from det2lite.layers import Conv2d, ShapeSpec
from det2lite.layers.full_precision import FullPrecisionConv2d, in_full_precision
from det2lite.layers.sparse_gradient import head_with_sparse_gradient, hooked
from det2lite.modeling.anchor_generator import build_anchor_generator
from det2lite.modeling.box_coders.delta import Box2BoxTransform
from det2lite.modeling.box_coders.loss import dense_box_regression_loss
from det2lite.modeling.matcher import Matcher
from det2lite.modeling.proposal_generator.build import PROPOSAL_GENERATOR_REGISTRY
from det2lite.modeling.proposal_generator.proposal_utils import best_of_level, select_proposals
from det2lite.modeling.sampling import subsample_labels
from det2lite.structures import Boxes, ImageList, Instances, pairwise_iou
from det2lite.utils.errors import BadCall, BadValue
from det2lite.utils.events import get_event_storage
from det2lite.utils.memory import retry_if_cuda_oom
from det2lite.utils.registry import Registry

RPN_HEAD_REGISTRY = Registry("RPN_HEAD")
RPN_HEAD_REGISTRY.__doc__ = "Modules called with `(cfg, input_shape)`; see `StandardRPNHead` for what they return."


def build_rpn_head(cfg: CfgNode, input_shape: list[ShapeSpec]) -> nn.Module:
    """The head of `cfg.MODEL.RPN.HEAD_NAME`."""
    return RPN_HEAD_REGISTRY.get(cfg.MODEL.RPN.HEAD_NAME)(cfg, input_shape)


@RPN_HEAD_REGISTRY.register()
class StandardRPNHead(nn.Module):
    """3x3 convolutions, then 1x1 convolutions for the objectness and the box of each anchor.

    num_anchors: at each position; box_dim: numbers a box; conv_dims: channels of the hidden convolutions, -1 for
    `in_channels`.
    """

    @configurable
    def __init__(self, *, in_channels: int, num_anchors: int, box_dim: int = 4, conv_dims: list[int] = (-1,)):
        super().__init__()
        channels = [in_channels if dim == -1 else dim for dim in conv_dims]
        if not channels or min(channels) <= 0:
            raise BadValue(f"MODEL.RPN.CONV_DIMS {list(conv_dims)} must be positive, or -1 for the input's channels")
        sources = [in_channels, *channels[:-1]]
        convs = [self._get_rpn_conv(i, o) for i, o in zip(sources, channels, strict=True)]
        if len(convs) == 1:
            self.conv = convs[0]
        else:
            self.conv = nn.Sequential()
            for i, conv in enumerate(convs):
                self.conv.add_module(f"conv{i}", conv)
        self.objectness_logits = FullPrecisionConv2d(channels[-1], num_anchors, kernel_size=1)
        self.anchor_deltas = FullPrecisionConv2d(channels[-1], num_anchors * box_dim, kernel_size=1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.01)
                nn.init.zeros_(module.bias)

    @staticmethod
    def _get_rpn_conv(in_channels: int, out_channels: int) -> Conv2d:
        return Conv2d(in_channels, out_channels, kernel_size=3, padding=1, activation=nn.ReLU())

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: list[ShapeSpec]) -> dict[str, Any]:
        generator = build_anchor_generator(cfg, input_shape)
        channels, num_anchors = {shape.channels for shape in input_shape}, set(generator.num_anchors)
        if len(channels) != 1 or len(num_anchors) != 1:
            raise BadValue(
                f"one RPN head serves all levels: they need equal channels ({sorted(channels)}) and equal numbers "
                f"of anchors ({sorted(num_anchors)}); see MODEL.RPN.IN_FEATURES and MODEL.ANCHOR_GENERATOR"
            )
        return {
            "in_channels": channels.pop(),
            "num_anchors": num_anchors.pop(),
            "box_dim": generator.box_dim,
            "conv_dims": cfg.MODEL.RPN.CONV_DIMS,
        }

    def forward(self, features: list[torch.Tensor]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """features: one a level, `(N, C, H, W)`. Returns logits `(N, A, H, W)` and deltas `(N, A * B, H, W)`."""
        if not torch.jit.is_scripting():
            if _learns_from_few_positions(self, features):
                predictors = [(layer.weight, layer.bias) for layer in (self.objectness_logits, self.anchor_deltas)]
                return head_with_sparse_gradient(features, (self.conv.weight, self.conv.bias), predictors)
        hidden = [in_full_precision(self.conv(feature)) for feature in features]
        return [self.objectness_logits(x) for x in hidden], [self.anchor_deltas(x) for x in hidden]


def _learns_from_few_positions(head: StandardRPNHead, features: list[torch.Tensor]) -> bool:
    """Whether `head_with_sparse_gradient` pays, and does what the head's layers do: nobody has changed them."""
    if not torch.is_grad_enabled() or torch.compiler.is_compiling() or torch.jit.is_tracing():
        return False
    if any(x.device.type != "cpu" for x in features):  # elsewhere the number of positions would be waited for
        return False
    conv, predictors = head.conv, (head.objectness_logits, head.anchor_deltas)
    if type(conv) is not Conv2d or any(type(layer) is not FullPrecisionConv2d for layer in predictors):
        return False
    if any(hooked(layer) for layer in (conv, *predictors)) or conv.norm is not None:
        return False
    shape = (conv.kernel_size, conv.padding, conv.stride, conv.dilation, conv.groups, type(conv.activation))
    return shape == ((3, 3), (1, 1), (1, 1), (1, 1), 1, nn.ReLU)


@PROPOSAL_GENERATOR_REGISTRY.register()
class RPN(nn.Module):
    """Proposes boxes from anchors, and learns to.

    in_features: feature maps to look at. pre_nms_topk, post_nms_topk: (training, inference), per level and per image.
    anchor_boundary_thresh: pixels that an anchor may leave the image by and still be trained on; negative: any.
    loss_weight: a factor, or one each for `loss_rpn_cls` and `loss_rpn_loc`.
    """

    @configurable
    def __init__(
        self,
        *,
        in_features: list[str],
        head: nn.Module,
        anchor_generator: nn.Module,
        anchor_matcher: Matcher,
        box2box_transform: Box2BoxTransform,
        batch_size_per_image: int,
        positive_fraction: float,
        pre_nms_topk: tuple[float, float],
        post_nms_topk: tuple[float, float],
        nms_thresh: float = 0.7,
        min_box_size: float = 0.0,
        anchor_boundary_thresh: float = -1.0,
        loss_weight: float | dict[str, float] = 1.0,
        box_reg_loss_type: str = "smooth_l1",
        smooth_l1_beta: float = 0.0,
    ):
        super().__init__()
        self.in_features = in_features
        self.rpn_head = head
        self.anchor_generator = anchor_generator
        self.anchor_matcher = anchor_matcher
        self.box2box_transform = box2box_transform
        self.batch_size_per_image = batch_size_per_image
        self.positive_fraction = positive_fraction
        self.pre_nms_topk = {True: pre_nms_topk[0], False: pre_nms_topk[1]}  # by self.training
        self.post_nms_topk = {True: post_nms_topk[0], False: post_nms_topk[1]}
        self.nms_thresh = nms_thresh
        self.min_box_size = float(min_box_size)
        self.anchor_boundary_thresh = anchor_boundary_thresh
        if isinstance(loss_weight, int | float):
            loss_weight = dict.fromkeys(("loss_rpn_cls", "loss_rpn_loc"), loss_weight)
        self.loss_weight = loss_weight
        self.box_reg_loss_type = box_reg_loss_type
        self.smooth_l1_beta = smooth_l1_beta

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        rpn = cfg.MODEL.RPN
        shapes = [input_shape[name] for name in rpn.IN_FEATURES]
        return {
            "in_features": rpn.IN_FEATURES,
            "head": build_rpn_head(cfg, shapes),
            "anchor_generator": build_anchor_generator(cfg, shapes),
            "anchor_matcher": Matcher(rpn.IOU_THRESHOLDS, rpn.IOU_LABELS, allow_low_quality_matches=True),
            "box2box_transform": Box2BoxTransform(weights=rpn.BBOX_REG_WEIGHTS),
            "batch_size_per_image": rpn.BATCH_SIZE_PER_IMAGE,
            "positive_fraction": rpn.POSITIVE_FRACTION,
            "pre_nms_topk": (rpn.PRE_NMS_TOPK_TRAIN, rpn.PRE_NMS_TOPK_TEST),
            "post_nms_topk": (rpn.POST_NMS_TOPK_TRAIN, rpn.POST_NMS_TOPK_TEST),
            "nms_thresh": rpn.NMS_THRESH,
            "min_box_size": cfg.MODEL.PROPOSAL_GENERATOR.MIN_SIZE,
            "anchor_boundary_thresh": rpn.BOUNDARY_THRESH,
            "loss_weight": {
                "loss_rpn_cls": rpn.LOSS_WEIGHT,
                "loss_rpn_loc": rpn.BBOX_REG_LOSS_WEIGHT * rpn.LOSS_WEIGHT,
            },
            "box_reg_loss_type": rpn.BBOX_REG_LOSS_TYPE,
            "smooth_l1_beta": rpn.SMOOTH_L1_BETA,
        }

    def forward(
        self,
        images: ImageList,
        features: dict[str, torch.Tensor],
        gt_instances: list[Instances] | None = None,
    ) -> tuple[list[Instances], dict[str, torch.Tensor]]:
        """Proposals of each image (`proposal_boxes`, `objectness_logits`), and in training the losses."""
        maps = [features[name] for name in self.in_features]
        anchors = self.anchor_generator(maps)
        logits, deltas = self.rpn_head(maps)
        # one row a prediction, in the order of the anchors
        logits = [x.permute(0, 2, 3, 1).flatten(1) for x in logits]  # (N, H*W*A)
        box_dim = self.anchor_generator.box_dim
        deltas = [x.unflatten(1, [-1, box_dim]).permute(0, 3, 4, 1, 2).flatten(1, 3) for x in deltas]  # (N, H*W*A, B)
        losses = {}
        if self.training:
            if gt_instances is None:
                raise BadCall("the RPN needs gt_instances in training")
            gt_labels, gt_boxes = self.label_and_sample_anchors(anchors, gt_instances)
            losses = self.losses(anchors, logits, gt_labels, deltas, gt_boxes)
        return self.predict_proposals(anchors, logits, deltas, images.image_sizes), losses

    @torch.no_grad()
    def label_and_sample_anchors(
        self, anchors: list[Boxes], gt_instances: list[Instances]
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """For each image: labels `(R,)` int8 of all anchors, 1 object, 0 background, -1 not sampled; and the boxes
        `(R, B)` of their ground truth, zeros where the image has none."""
        all_anchors = type(anchors[0]).cat(anchors)
        labels_per_image, boxes_per_image = [], []
        for instances in gt_instances:
            gt_boxes = instances.gt_boxes
            overlaps = retry_if_cuda_oom(self._overlaps)(gt_boxes, all_anchors)  # (M, R)
            matches, labels = retry_if_cuda_oom(self.anchor_matcher)(overlaps)
            del overlaps
            labels = labels.to(all_anchors.device)
            if self.anchor_boundary_thresh >= 0:
                inside = all_anchors.inside_box(instances.image_size, self.anchor_boundary_thresh)
                labels[~inside] = -1
            labels = self._subsample_labels(labels)
            boxes = gt_boxes.tensor
            matched = boxes[matches.to(boxes.device)] if len(boxes) else torch.zeros_like(all_anchors.tensor)
            labels_per_image.append(labels)
            boxes_per_image.append(matched)
        return labels_per_image, boxes_per_image

    @staticmethod
    def _overlaps(gt_boxes: Boxes, anchors: Boxes) -> torch.Tensor:
        return pairwise_iou(gt_boxes, anchors)

    def _subsample_labels(self, label: torch.Tensor) -> torch.Tensor:
        """Keeps a random sample of the labels, in place; the others become -1."""
        positive, negative = subsample_labels(label, self.batch_size_per_image, self.positive_fraction, 0)
        label.fill_(-1)
        label[positive] = 1
        label[negative] = 0
        return label

    def losses(
        self,
        anchors: list[Boxes],
        pred_objectness_logits: list[torch.Tensor],
        gt_labels: list[torch.Tensor],
        pred_anchor_deltas: list[torch.Tensor],
        gt_boxes: list[torch.Tensor],
    ) -> dict[str, torch.Tensor]:
        """Losses of objectness and boxes, over the number of sampled anchors.

        Predictions: one tensor a level, `(N, R_l)` and `(N, R_l, B)`; targets: one an image, `(R,)` and `(R, B)`.
        """
        labels = torch.stack(gt_labels)  # (N, R)
        positive, valid = labels == 1, labels >= 0
        num_images = len(gt_labels)
        storage = get_event_storage()
        storage.put_scalar("rpn/num_pos_anchors", positive.sum() / num_images)
        storage.put_scalar("rpn/num_neg_anchors", (labels == 0).sum() / num_images)
        logits = torch.cat(pred_objectness_logits, dim=1)  # (N, R)
        loss_cls = F.binary_cross_entropy_with_logits(logits, positive.to(logits.dtype), reduction="none")
        losses = {
            "loss_rpn_cls": torch.where(valid, loss_cls, 0).sum(),
            "loss_rpn_loc": dense_box_regression_loss(
                torch.cat(pred_anchor_deltas, dim=1),
                type(anchors[0]).cat(anchors).tensor,
                torch.stack(gt_boxes),
                positive,
                self.box2box_transform,
                self.box_reg_loss_type,
                self.smooth_l1_beta,
            ),
        }
        normalizer = self.batch_size_per_image * num_images
        return {name: loss / normalizer * self.loss_weight.get(name, 1.0) for name, loss in losses.items()}

    def predict_proposals(
        self,
        anchors: list[Boxes],
        pred_objectness_logits: list[torch.Tensor],
        pred_anchor_deltas: list[torch.Tensor],
        image_sizes: list[tuple[int, int]],
    ) -> list[Instances]:
        """Proposals of each image, best first; only the best candidates of each level are decoded.

        Their coordinates carry no gradient: arXiv 1506.01497 treats proposals as fixed.
        """
        with torch.no_grad():  # a block, as TorchScript does not see through a decorator
            boxes: list[torch.Tensor] = []
            scores: list[torch.Tensor] = []
            levels: list[torch.Tensor] = []
            parts = zip(anchors, pred_objectness_logits, pred_anchor_deltas)  # noqa: B905 - TorchScript
            for level, (level_anchors, logits, deltas) in enumerate(parts):
                top_scores, top = best_of_level(logits, self.pre_nms_topk[self.training])  # (N, K_l)
                top_deltas = deltas.gather(1, top[..., None].expand(-1, -1, deltas.shape[-1]))
                boxes.append(self._decode(top_deltas, level_anchors.tensor[top]))
                scores.append(top_scores)
                levels.append(torch.full((top.shape[1],), level, device=top.device))
            return self._select(torch.cat(boxes, dim=1), torch.cat(scores, dim=1), torch.cat(levels), image_sizes)

    def _decode(self, deltas: torch.Tensor, anchors: torch.Tensor) -> torch.Tensor:
        """Boxes `(N, K, B)`, both arguments alike; a box coder of a project may only know rows `(R, B)`."""
        boxes = self.box2box_transform.apply_deltas(deltas.flatten(0, 1), anchors.flatten(0, 1))
        return boxes.view_as(deltas)

    def _decode_proposals(self, anchors: list[Boxes], pred_anchor_deltas: list[torch.Tensor]) -> list[torch.Tensor]:
        """All boxes of a level `(N, R_l, B)`, for subclasses that choose proposals in a way of their own."""
        parts = zip(anchors, pred_anchor_deltas, strict=True)
        return [self._decode(deltas, level.tensor.expand_as(deltas)) for level, deltas in parts]

    def _select(
        self, boxes: torch.Tensor, scores: torch.Tensor, levels: torch.Tensor, image_sizes: list[tuple[int, int]]
    ) -> list[Instances]:
        return select_proposals(
            boxes,
            scores,
            levels,
            image_sizes,
            self.nms_thresh,
            self.post_nms_topk[self.training],
            self.min_box_size,
            self.training,
        )
