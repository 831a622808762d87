"""Boxes as shifts of the centre and logarithms of the size's change, R-CNN, arXiv 1311.2524."""

import math
from typing import List, Tuple  # noqa: UP035 - TorchScript reads the annotations of the coders

import torch

from det2lite.utils.errors import BadCall

# sizes never grow by more than this factor, so that exp() of a wild prediction stays finite
MAX_GROWTH = 1000.0 / 16
SCALE_CLAMP = math.log(MAX_GROWTH)


class Box2BoxTransform:
    """Encodes boxes (XYXY) as `(dx, dy, dw, dh)`.

    weights: factors of the four deltas. scale_clamp: largest dw and dh that is decoded.
    """

    def __init__(
        self,
        weights: Tuple[float, float, float, float],  # noqa: UP006
        scale_clamp: float = SCALE_CLAMP,
    ):
        self.weights = weights
        self.scale_clamp = scale_clamp

    def get_deltas(self, src_boxes: torch.Tensor, target_boxes: torch.Tensor) -> torch.Tensor:
        """Deltas `(..., 4)` that `apply_deltas` turns `src_boxes` into `target_boxes` by. Both `(..., 4)` XYXY."""
        assert isinstance(src_boxes, torch.Tensor) and isinstance(target_boxes, torch.Tensor), "boxes are tensors here"
        size, center = _size_and_center(src_boxes)
        if not size.is_cuda and (size[..., 0] <= 0).any():  # on a GPU the check would wait for the device
            raise BadCall("boxes to encode relative to must have a positive width")
        target_size, target_center = _size_and_center(target_boxes)
        shift = (target_center - center) / size
        growth = torch.log(target_size / size)
        return torch.cat([shift, growth], dim=-1) * self._weights_like(shift)

    def apply_deltas(self, deltas: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
        """Boxes `(..., k * 4)` XYXY from deltas `(..., k * 4)` on `boxes (..., 4)`."""
        deltas = deltas.float()  # half precision cannot tell neighbouring pixels of a large image
        boxes = boxes.to(deltas.dtype)
        parts = deltas.unflatten(-1, [-1, 4]) / self._weights_like(deltas)  # (..., k, 4)
        size, center = _size_and_center(boxes.unsqueeze(-2))  # (..., 1, 2)
        center = center + parts[..., :2] * size
        half = 0.5 * size * torch.exp(parts[..., 2:].clamp(max=self.scale_clamp))
        return torch.cat([center - half, center + half], dim=-1).flatten(-2)

    def _weights_like(self, deltas: torch.Tensor) -> torch.Tensor:
        x, y, width, height = self.weights
        return _tensor_like([x, y, width, height], deltas)


class Box2BoxTransformRotated:
    """Encodes rotated boxes `(x, y, w, h, degrees)` as `(dx, dy, dw, dh, da)`, RRPN, arXiv 1703.01086.

    weights: factors of the five deltas, the angle's applied to radians.
    """

    def __init__(
        self,
        weights: Tuple[float, float, float, float, float],  # noqa: UP006
        scale_clamp: float = SCALE_CLAMP,
    ):
        self.weights = weights
        self.scale_clamp = scale_clamp

    def get_deltas(self, src_boxes: torch.Tensor, target_boxes: torch.Tensor) -> torch.Tensor:
        """Deltas `(..., 5)` that `apply_deltas` turns `src_boxes` into `target_boxes` by."""
        assert isinstance(src_boxes, torch.Tensor) and isinstance(target_boxes, torch.Tensor), "boxes are tensors here"
        if not src_boxes.is_cuda and (src_boxes[..., 2] <= 0).any():
            raise BadCall("boxes to encode relative to must have a positive width")
        shift = (target_boxes[..., :2] - src_boxes[..., :2]) / src_boxes[..., 2:4]
        growth = torch.log(target_boxes[..., 2:4] / src_boxes[..., 2:4])
        turn = _wrap_degrees(target_boxes[..., 4:] - src_boxes[..., 4:]) * (math.pi / 180)
        return torch.cat([shift, growth, turn], dim=-1) * self._weights_like(shift)

    def apply_deltas(self, deltas: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
        """Boxes `(..., k * 5)` from deltas `(..., k * 5)` on `boxes (..., 5)`; angles in [-180, 180)."""
        deltas = deltas.float()
        boxes = boxes.to(deltas.dtype).unsqueeze(-2)  # (..., 1, 5)
        parts = deltas.unflatten(-1, [-1, 5]) / self._weights_like(deltas)  # (..., k, 5)
        center = boxes[..., :2] + parts[..., :2] * boxes[..., 2:4]
        size = boxes[..., 2:4] * torch.exp(parts[..., 2:4].clamp(max=self.scale_clamp))
        angle = _wrap_degrees(boxes[..., 4:] + parts[..., 4:] * (180 / math.pi))
        return torch.cat([center, size, angle], dim=-1).flatten(-2)

    def _weights_like(self, deltas: torch.Tensor) -> torch.Tensor:
        x, y, width, height, angle = self.weights
        return _tensor_like([x, y, width, height, angle], deltas)


def _tensor_like(values: List[float], like: torch.Tensor) -> torch.Tensor:  # noqa: UP006
    """`like.new_tensor(values)` that does not make the host wait for an accelerator."""
    return torch.tensor(values, dtype=like.dtype).to(like.device, non_blocking=True)


def _size_and_center(boxes: torch.Tensor) -> Tuple[torch.Tensor, torch.Tensor]:  # noqa: UP006
    """`(width, height)` and `(x, y)` of boxes `(..., 4)`, each `(..., 2)`."""
    size = boxes[..., 2:] - boxes[..., :2]
    return size, boxes[..., :2] + 0.5 * size


def _wrap_degrees(angle: torch.Tensor) -> torch.Tensor:
    """The same angle in [-180, 180)."""
    return (angle + 180.0) % 360.0 - 180.0
