"""One-stage detectors: backbone, and a head that predicts at every position."""

from typing import Any

import numpy as np
import torch
from torch import nn

from det2lite.data.detection_utils import convert_image_to_rgb
from det2lite.modeling.backbone import Backbone
from det2lite.modeling.detections import best_of_dense_levels, dense_detections
from det2lite.modeling.meta_arch.common import ImageNormalizer, output_size
from det2lite.modeling.postprocessing import detector_postprocess
from det2lite.structures import Boxes, ImageList, Instances
from det2lite.utils.errors import BadCall
from det2lite.utils.events import get_event_storage

__all__ = ["DenseDetector", "permute_to_N_HWA_K"]

MAX_DRAWN = 20  # detections in a picture of training


def permute_to_N_HWA_K(tensor: torch.Tensor, K: int) -> torch.Tensor:
    """Predictions `(N, A * K, H, W)` as `(N, H * W * A, K)`, in the order of the anchors."""
    # not by `unflatten`, which the ONNX exporter takes for a constant shape
    batch, channels, height, width = tensor.shape
    return tensor.reshape(batch, channels // K, K, height, width).permute(0, 3, 4, 1, 2).flatten(1, 3)


class DenseDetector(ImageNormalizer):
    """Base of one-stage detectors; a subclass has `forward_training` and `forward_inference`.

    One that uses `_detect` also sets `num_classes`, `box2box_transform`, `test_score_thresh`, `test_topk_candidates`,
    `test_nms_thresh` and `max_detections_per_image`.

    head: called with a list of feature maps, gives a tuple of lists of maps. head_in_features: names of the feature
    maps, None for all of the backbone's, from high to low resolution.
    """

    vis_period = 0  # iterations between pictures of detections; with it a subclass sets `input_format`

    def __init__(
        self,
        backbone: Backbone,
        head: nn.Module,
        head_in_features: list[str] | None = None,
        *,
        pixel_mean: tuple[float, ...],
        pixel_std: tuple[float, ...],
    ):
        super().__init__(pixel_mean, pixel_std)
        self.backbone = backbone
        self.head = head
        if head_in_features is None:
            shapes = backbone.output_shape()
            head_in_features = sorted(shapes, key=lambda name: shapes[name].stride)
        self.head_in_features = head_in_features
        self._running_means: set[str] = set()

    # of the inputs the type tells what TorchScript needs to know; a scripted model returns `list[Instances]`
    def forward(self, batched_inputs: list[dict[str, torch.Tensor]]):
        """batched_inputs: a dict an image, with `image (C, H, W)`; in training `instances` with `gt_boxes` and
        `gt_classes`; `height` and `width` of the wanted output. Returns losses in training, else a dict an image with
        `instances`."""
        images = self.preprocess_image(batched_inputs)
        features = self.backbone(images.tensor)
        maps = [features[name] for name in self.head_in_features]
        predictions = self.head(maps)
        if self.training:
            gt_instances = self.ground_truth(batched_inputs)
            if gt_instances is None:
                raise BadCall("training needs 'instances' in its inputs")
            losses = self.forward_training(images, maps, predictions, gt_instances)
            if self.vis_period > 0 and get_event_storage().iter % self.vis_period == 0:
                with torch.no_grad():
                    results = self.forward_inference(images, maps, predictions)
                self.visualize_training(batched_inputs, results)
            return losses
        results = self.forward_inference(images, maps, predictions)
        if torch.jit.is_scripting():
            return results
        parts = zip(results, batched_inputs, images.image_sizes, strict=True)
        return [{"instances": detector_postprocess(r, *output_size(inputs, size))} for r, inputs, size in parts]

    def forward_training(
        self,
        images: ImageList,
        features: list[torch.Tensor],
        predictions: tuple[list[torch.Tensor], ...],
        gt_instances: list[Instances],
    ) -> dict[str, torch.Tensor]:
        """Losses of what the head gave."""
        raise NotImplementedError

    def forward_inference(
        self, images: ImageList, features: list[torch.Tensor], predictions: tuple[list[torch.Tensor], ...]
    ) -> list[Instances]:
        """Detections of each image, on the model's input, from what the head gave."""
        raise NotImplementedError

    def inference_single_image(
        self,
        anchors: list[Boxes],
        box_cls: list[torch.Tensor],
        box_delta: list[torch.Tensor],
        image_size: tuple[int, int],
    ) -> Instances:
        """Detections of one image. One of each a level: anchors, class predictions `(R_l, K)`, deltas `(R_l, 4)`."""
        return self._detect(anchors, [x[None] for x in box_cls], [x[None] for x in box_delta], [image_size])[0]

    def _detect(
        self,
        anchors: list[Boxes],
        box_cls: list[torch.Tensor],
        box_delta: list[torch.Tensor],
        image_sizes: list[tuple[int, int]],
    ) -> list[Instances]:
        """Detections of each image. One of each a level: anchors, class predictions `(N, R_l, K)`, deltas."""
        anchor_boxes, deltas, best, labels = best_of_dense_levels(
            anchors, box_cls, box_delta, self.test_topk_candidates
        )
        return dense_detections(
            self.box2box_transform.apply_deltas(deltas, anchor_boxes),
            self._scores_of(best),
            labels,
            image_sizes,
            self.num_classes,
            self.test_score_thresh,
            self.test_nms_thresh,
            self.max_detections_per_image,
        )

    def _scores_of(self, best: torch.Tensor) -> torch.Tensor:
        """Scores of the best class predictions, in the same order."""
        return best

    @staticmethod
    def _transpose_dense_predictions(
        predictions: list[list[torch.Tensor]], dims_per_anchor: list[int]
    ) -> list[list[torch.Tensor]]:
        """Each map `(N, A * K, H, W)` as `(N, H * W * A, K)`; K of each kind of prediction is in `dims_per_anchor`."""
        transposed: list[list[torch.Tensor]] = []
        for maps, dim in zip(predictions, dims_per_anchor):  # noqa: B905 - TorchScript
            transposed.append([permute_to_N_HWA_K(x, dim) for x in maps])
        return transposed

    def _ema_update(
        self, name: str, value: torch.Tensor, initial_value: float, momentum: float = 0.9
    ) -> torch.Tensor:
        """Moves the running mean `name` towards `value`, and returns it. It stays on the device: nothing waits."""
        if name not in self._running_means:
            self.load_training_state({name: value.new_full((), initial_value, dtype=torch.float32)})
        mean = getattr(self, name)
        mean.mul_(momentum).add_(value.detach().float(), alpha=1 - momentum)
        return mean.clone()

    def training_state(self) -> dict[str, torch.Tensor]:
        """Running means, which a training run goes on with and which Detectron2's checkpoints do not have."""
        return {name: getattr(self, name).clone() for name in self._running_means}

    def load_training_state(self, state: dict[str, torch.Tensor]) -> None:
        """Takes over what `training_state` gave."""
        for name, value in state.items():
            self._running_means.add(name)
            self.register_buffer(name, value.to(self.device), persistent=False)

    def visualize_training(self, batched_inputs: list[dict[str, Any]], results: list[Instances]) -> None:
        """Puts a picture of the first image into the events: ground truth above, the best 20 detections below."""
        from det2lite.utils.visualizer import Visualizer

        inputs = batched_inputs[0]
        image = convert_image_to_rgb(inputs["image"].permute(1, 2, 0), self.input_format)
        gt = Visualizer(image, None).overlay_instances(boxes=inputs["instances"].gt_boxes)
        found = detector_postprocess(results[0], *image.shape[:2]).pred_boxes.tensor[:MAX_DRAWN]
        drawn = Visualizer(image, None).overlay_instances(boxes=found.detach().cpu().numpy())
        both = np.vstack([gt.get_image(), drawn.get_image()]).transpose(2, 0, 1)
        name = f"Top: GT bounding boxes; Bottom: {MAX_DRAWN} Highest Scoring Results"
        get_event_storage().put_image(name, both)
