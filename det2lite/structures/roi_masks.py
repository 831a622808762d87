"""Masks of objects in the frame of their box."""

import torch
from torch import device

from det2lite.structures.bitmasks import BitMasks
from det2lite.structures.mask_paste import paste_masks_in_image

__all__ = ["ROIMasks"]


class ROIMasks:
    """Soft masks of N objects, each in the frame of its box: `.tensor` is (N, M, M) in [0, 1].

    They belong to the boxes of the same objects, which are kept elsewhere.
    """

    def __init__(self, tensor: torch.Tensor):
        if tensor.dim() != 3:
            raise ValueError(f"ROIMasks must take a masks of 3 dimension, got {tensor.dim()}.")
        self.tensor = tensor

    def to(self, device: torch.device) -> "ROIMasks":
        """The masks on another device."""
        return ROIMasks(self.tensor.to(device))

    @property
    def device(self) -> device:
        return self.tensor.device

    def __len__(self) -> int:
        return self.tensor.shape[0]

    def __getitem__(self, item) -> "ROIMasks":
        chosen = self.tensor[item]
        if chosen.dim() != 3:
            raise ValueError(f"Indexing on ROIMasks with {item} returns a tensor with shape {chosen.shape}!")
        return ROIMasks(chosen)

    @torch.jit.unused
    def __repr__(self) -> str:
        return f"{type(self).__name__}(num_instances={len(self.tensor)})"

    @torch.jit.unused
    def to_bitmasks(self, boxes: torch.Tensor, height, width, threshold=0.5) -> BitMasks:
        """Masks of the whole image. boxes: Boxes or (N, 4) XYXY; see `paste_masks_in_image`."""
        return BitMasks(paste_masks_in_image(self.tensor, boxes, (height, width), threshold=threshold))
