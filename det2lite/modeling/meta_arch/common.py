"""What the meta-architectures share: images in, original sizes out."""

from typing import Any

import torch
from torch import nn

from det2lite.layers import fast_for_convolutions
from det2lite.structures import ImageList, Instances
from det2lite.utils.errors import BadCall


class ImageNormalizer(nn.Module):
    """Base of the models: batches and normalises images by `pixel_mean` and `pixel_std`, which are no state.

    A subclass has `self.backbone`, whose padding constraints hold for the batch.
    """

    def __init__(self, pixel_mean: tuple[float, ...], pixel_std: tuple[float, ...]):
        super().__init__()
        mean, std = (torch.tensor(values, dtype=torch.float32).view(-1, 1, 1) for values in (pixel_mean, pixel_std))
        if mean.shape != std.shape:
            raise BadCall(f"PIXEL_MEAN has {len(mean)} values, PIXEL_STD {len(std)}")
        self.register_buffer("pixel_mean", mean, persistent=False)
        self.register_buffer("pixel_std", std, persistent=False)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.pixel_mean.device

    def _move_to_current_device(self, x: torch.Tensor) -> torch.Tensor:
        return x.to(self.device, non_blocking=True)

    def preprocess_image(self, batched_inputs: list[dict[str, torch.Tensor]]) -> ImageList:
        """The `image` of each input, `(C, H, W)`, normalised and padded with zeros to one tensor."""
        images = [self._move_to_current_device(x["image"]) for x in batched_inputs]
        images = [(x - self.pixel_mean) / self.pixel_std for x in images]
        batch = ImageList.from_tensors(
            images, self.backbone.size_divisibility, padding_constraints=self.backbone.padding_constraints
        )
        batch.tensor = fast_for_convolutions(batch.tensor)
        return batch

    def ground_truth(self, batched_inputs: list[dict[str, Any]]) -> list[Instances] | None:
        """The `instances` of each input on the model's device, or None."""
        if "instances" not in batched_inputs[0]:
            return None
        return [x["instances"].to(self.device) for x in batched_inputs]


def output_size(inputs: dict[str, Any], image_size: tuple[int, int]) -> tuple[int, int]:
    """`(height, width)` that predictions on this input are wanted for."""
    return inputs.get("height", image_size[0]), inputs.get("width", image_size[1])
