"""Masks of objects as one bool per pixel."""

import numpy as np
import torch
import torchvision
from torch import device

from det2lite.structures.boxes import Boxes
from det2lite.structures.polygons import PolygonMasks, polygons_to_bitmask

__all__ = ["BitMasks"]


class BitMasks:
    """Masks of N objects of one image: `.tensor` is (N, H, W) bool."""

    def __init__(self, tensor: torch.Tensor):
        """tensor: (N, H, W), a tensor or array, nonzero where the object is."""
        if isinstance(tensor, torch.Tensor):
            tensor = tensor.to(torch.bool)
        else:
            tensor = torch.as_tensor(tensor, dtype=torch.bool, device=torch.device("cpu"))
        assert tensor.dim() == 3, tensor.size()
        self.image_size = tensor.shape[1:]
        self.tensor = tensor

    @torch.jit.unused
    def to(self, *args, **kwargs) -> "BitMasks":
        """The masks moved as `Tensor.to` does."""
        return BitMasks(self.tensor.to(*args, **kwargs))

    @property
    def device(self) -> device:
        return self.tensor.device

    @torch.jit.unused
    def __getitem__(self, item: int | slice | torch.Tensor) -> "BitMasks":
        """An int gives one mask as BitMasks (1, H, W)."""
        if isinstance(item, int):
            return BitMasks(self.tensor[item].unsqueeze(0))
        chosen = self.tensor[item]
        assert chosen.dim() == 3, f"indexing BitMasks with {item} gives a tensor of shape {chosen.shape}"
        return BitMasks(chosen)

    @torch.jit.unused
    def __iter__(self):
        yield from self.tensor

    @torch.jit.unused
    def __repr__(self) -> str:
        return f"{type(self).__name__}(num_instances={len(self.tensor)})"

    def __len__(self) -> int:
        return self.tensor.shape[0]

    def nonempty(self) -> torch.Tensor:
        """(N,) bool: the mask has a pixel."""
        return self.tensor.flatten(1).any(dim=1)

    @staticmethod
    @torch.jit.unused
    def from_polygon_masks(
        polygon_masks: PolygonMasks | list[list[np.ndarray]], height: int, width: int
    ) -> "BitMasks":
        """Polygons drawn into an image of (height, width)."""
        polygons = polygon_masks.polygons if isinstance(polygon_masks, PolygonMasks) else polygon_masks
        masks = [polygons_to_bitmask(own, height, width) for own in polygons]
        if len(masks) == 0:
            return BitMasks(torch.empty(0, height, width, dtype=torch.bool))
        return BitMasks(torch.from_numpy(np.stack(masks)))

    @staticmethod
    @torch.jit.unused
    def from_roi_masks(roi_masks, height: int, width: int, boxes: Boxes | torch.Tensor | None = None) -> "BitMasks":
        """ROIMasks pasted into an image of (height, width). boxes: (N, 4) XYXY, where each mask belongs."""
        if boxes is None:
            raise ValueError("ROIMasks do not know where they belong: give their boxes=, (N, 4) XYXY")
        return roi_masks.to_bitmasks(boxes, height, width)

    def crop_and_resize(self, boxes: torch.Tensor, mask_size: int) -> torch.Tensor:
        """(N, mask_size, mask_size) bool: what each box (N, 4) XYXY sees of its mask, averaged and cut at 0.5."""
        assert len(boxes) == len(self), f"{len(boxes)} != {len(self)}"
        device = self.tensor.device
        index = torch.arange(len(boxes), device=device, dtype=torch.float32)
        rois = torch.cat([index[:, None], boxes.to(device=device, dtype=torch.float32)], dim=1)  # (N, 5)
        with torch.no_grad():
            soft = torchvision.ops.roi_align(
                self.tensor[:, None].float(), rois, (mask_size, mask_size), sampling_ratio=0, aligned=True
            )
        return soft.squeeze(1) >= 0.5

    def get_bounding_boxes(self) -> Boxes:
        """The tight box around each mask, its last pixel included; zeros for an empty mask."""
        x0, x1 = _extent(self.tensor.any(dim=1))  # of (N, W)
        y0, y1 = _extent(self.tensor.any(dim=2))  # of (N, H)
        return Boxes(torch.stack([x0, y0, x1, y1], dim=1).float())

    @staticmethod
    def cat(bitmasks_list: list["BitMasks"]) -> "BitMasks":
        """The masks of all in one."""
        assert isinstance(bitmasks_list, (list, tuple)) and len(bitmasks_list) > 0
        assert all(isinstance(bitmasks, BitMasks) for bitmasks in bitmasks_list)
        return type(bitmasks_list[0])(torch.cat([bitmasks.tensor for bitmasks in bitmasks_list], dim=0))


def _extent(occupied: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """First True and one past the last True of each row of (N, L); both 0 where a row has none."""
    length = occupied.shape[1]
    position = torch.arange(1, length + 1, device=occupied.device)
    zero = torch.zeros((len(occupied), 1), dtype=position.dtype, device=occupied.device)
    # the added column makes rows and lengths of zero reducible
    end = torch.cat([position * occupied, zero], dim=1).amax(dim=1)
    from_end = torch.cat([position.flip(0) * occupied, zero], dim=1).amax(dim=1)  # length - first
    return torch.where(end > 0, length - from_end, zero[:, 0]), end
