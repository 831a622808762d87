"""Two-stage detectors: backbone, proposals, and heads on regions."""

from typing import Any

import numpy as np
import torch
from torch import nn

from det2lite.config import CfgNode, configurable
from det2lite.data.detection_utils import convert_image_to_rgb
from det2lite.modeling.backbone import Backbone, build_backbone
from det2lite.modeling.meta_arch.build import META_ARCH_REGISTRY
from det2lite.modeling.meta_arch.common import ImageNormalizer, output_size
from det2lite.modeling.postprocessing import detector_postprocess
from det2lite.modeling.proposal_generator import build_proposal_generator
from det2lite.modeling.roi_heads import build_roi_heads
from det2lite.structures import ImageList, Instances
from det2lite.utils.errors import BadCall, WrongMode
from det2lite.utils.events import get_event_storage

__all__ = ["GeneralizedRCNN", "ProposalNetwork"]


@META_ARCH_REGISTRY.register()
class GeneralizedRCNN(ImageNormalizer):
    """Fast, Faster and Mask R-CNN and their kin.

    proposal_generator: None where the batch brings `proposals`. pixel_mean, pixel_std: a value a channel.
    input_format: of the channels, needed for pictures only. vis_period: iterations between pictures of proposals.
    """

    @configurable
    def __init__(
        self,
        *,
        backbone: Backbone,
        proposal_generator: nn.Module | None,
        roi_heads: nn.Module,
        pixel_mean: tuple[float, ...],
        pixel_std: tuple[float, ...],
        input_format: str | None = None,
        vis_period: int = 0,
    ):
        super().__init__(pixel_mean, pixel_std)
        self.backbone = backbone
        self.proposal_generator = proposal_generator
        self.roi_heads = roi_heads
        self.input_format = input_format
        self.vis_period = vis_period
        if vis_period > 0 and input_format is None:
            raise BadCall("input_format is needed to draw training samples")

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        backbone = build_backbone(cfg)
        return {
            "backbone": backbone,
            "proposal_generator": build_proposal_generator(cfg, backbone.output_shape()),
            "roi_heads": build_roi_heads(cfg, backbone.output_shape()),
            "input_format": cfg.INPUT.FORMAT,
            "vis_period": cfg.VIS_PERIOD,
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
        }

    # Of the inputs the types below tell what TorchScript needs to know: tensors. Results have none there, as a scripted
    # model returns `list[Instances]` only.

    def forward(self, batched_inputs: list[dict[str, torch.Tensor]]):
        """batched_inputs: a dict an image, with `image (C, H, W)`; in training `instances` with `gt_boxes`,
        `gt_classes` and what the heads need; `proposals` where there is no generator; `height` and `width` of the
        wanted output. Returns losses in training, else a dict an image with `instances`."""
        if not self.training:
            return self.inference(batched_inputs)
        images = self.preprocess_image(batched_inputs)
        gt_instances = self.ground_truth(batched_inputs)
        features = self.backbone(images.tensor)
        proposals, proposal_losses = self._propose(images, features, batched_inputs, gt_instances)
        _, detector_losses = self.roi_heads(images, features, proposals, gt_instances)
        if self.vis_period > 0 and get_event_storage().iter % self.vis_period == 0:
            self.visualize_training(batched_inputs, proposals)
        losses = dict(detector_losses)
        losses.update(proposal_losses)
        return losses

    def _propose(
        self,
        images: ImageList,
        features: dict[str, torch.Tensor],
        batched_inputs: list[dict[str, torch.Tensor]],
        gt_instances: list[Instances] | None = None,
    ) -> tuple[list[Instances], dict[str, torch.Tensor]]:
        if self.proposal_generator is not None:
            return self.proposal_generator(images, features, gt_instances)
        if "proposals" not in batched_inputs[0]:
            raise BadCall("a model without proposal generator needs 'proposals' in its inputs; see LOAD_PROPOSALS")
        return [x["proposals"].to(self.device) for x in batched_inputs], {}

    def inference(
        self,
        batched_inputs: list[dict[str, torch.Tensor]],
        detected_instances: list[Instances] | None = None,
        do_postprocess: bool = True,
    ):
        """Predictions on a batch. detected_instances: boxes and classes to predict masks or keypoints for, instead of
        finding them. do_postprocess: scale to the wanted size and wrap as dicts, else `Instances` as they are."""
        if self.training:
            raise WrongMode("inference needs model.eval()")
        images = self.preprocess_image(batched_inputs)
        features = self.backbone(images.tensor)
        if detected_instances is None:
            proposals, _ = self._propose(images, features, batched_inputs)
            results, _ = self.roi_heads(images, features, proposals, None)
        else:
            detected_instances = [instances.to(self.device) for instances in detected_instances]
            results = self.roi_heads.forward_with_given_boxes(features, detected_instances)
        if do_postprocess and not torch.jit.is_scripting():
            return self._postprocess(results, batched_inputs, images.image_sizes)
        return results

    @staticmethod
    def _postprocess(
        instances: list[Instances], batched_inputs: list[dict[str, Any]], image_sizes: list[tuple[int, int]]
    ) -> list[dict[str, Any]]:
        parts = zip(instances, batched_inputs, image_sizes, strict=True)
        return [{"instances": detector_postprocess(r, *output_size(inputs, size))} for r, inputs, size in parts]

    def visualize_training(self, batched_inputs: list[dict[str, Any]], proposals: list[Instances]) -> None:
        """Puts a picture of the first image into the events: ground truth left, the best 20 proposals right."""
        from det2lite.utils.visualizer import Visualizer

        inputs, found = batched_inputs[0], proposals[0]
        image = convert_image_to_rgb(inputs["image"].permute(1, 2, 0), self.input_format)
        gt = Visualizer(image, None).overlay_instances(boxes=inputs["instances"].gt_boxes)
        boxes = found.proposal_boxes[:20].tensor.cpu().numpy()
        drawn = Visualizer(image, None).overlay_instances(boxes=boxes)
        both = np.concatenate([gt.get_image(), drawn.get_image()], axis=1).transpose(2, 0, 1)
        get_event_storage().put_image("Left: GT bounding boxes;  Right: Predicted proposals", both)


@META_ARCH_REGISTRY.register()
class ProposalNetwork(ImageNormalizer):
    """A backbone and a proposal generator, the RPN of arXiv 1506.01497 by itself."""

    @configurable
    def __init__(
        self,
        *,
        backbone: Backbone,
        proposal_generator: nn.Module,
        pixel_mean: tuple[float, ...],
        pixel_std: tuple[float, ...],
    ):
        super().__init__(pixel_mean, pixel_std)
        self.backbone = backbone
        self.proposal_generator = proposal_generator

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        backbone = build_backbone(cfg)
        return {
            "backbone": backbone,
            "proposal_generator": build_proposal_generator(cfg, backbone.output_shape()),
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
        }

    def forward(self, batched_inputs: list[dict[str, torch.Tensor]]):
        """As `GeneralizedRCNN.forward`; predictions are under `proposals`."""
        images = self.preprocess_image(batched_inputs)
        features = self.backbone(images.tensor)
        if self.training:
            return self.proposal_generator(images, features, self.ground_truth(batched_inputs))[1]
        proposals, _ = self.proposal_generator(images, features)
        if torch.jit.is_scripting():
            return proposals
        parts = zip(proposals, batched_inputs, images.image_sizes, strict=True)
        return [{"proposals": detector_postprocess(p, *output_size(inputs, size))} for p, inputs, size in parts]
