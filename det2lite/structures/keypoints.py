"""Keypoints of objects, and the heat maps they are learnt and read from."""

import numpy as np
import torch
from torch.nn import functional as F

__all__ = ["Keypoints", "heatmaps_to_keypoints"]


class Keypoints:
    """K keypoints of each of N objects: `.tensor` is (N, K, 3) float32: x, y, visibility.

    x and y are continuous pixel coordinates. Visibility is COCO's: 0 not labelled (x and y mean nothing),
    1 labelled but hidden, 2 labelled and visible.
    """

    def __init__(self, keypoints: torch.Tensor | np.ndarray | list[list[float]]):
        device = keypoints.device if isinstance(keypoints, torch.Tensor) else torch.device("cpu")
        keypoints = torch.as_tensor(keypoints, dtype=torch.float32, device=device)
        assert keypoints.dim() == 3 and keypoints.shape[2] == 3, keypoints.shape
        self.tensor = keypoints

    def __len__(self) -> int:
        return self.tensor.size(0)

    def to(self, *args, **kwargs) -> "Keypoints":
        """The keypoints moved as `Tensor.to` does."""
        return type(self)(self.tensor.to(*args, **kwargs))

    @property
    def device(self) -> torch.device:
        return self.tensor.device

    def to_heatmap(self, boxes: torch.Tensor, heatmap_size: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Where each keypoint lies in a grid laid over its object's box.

        boxes: (N, 4) XYXY. Returns the cell y * heatmap_size + x, (N, K) int64, and whether it is valid,
        (N, K) int64 0 or 1: labelled, and inside the box. The cell of an invalid keypoint is 0.
        """
        return _keypoints_to_heatmap(self.tensor, boxes, heatmap_size)

    def __getitem__(self, item: int | slice | torch.Tensor) -> "Keypoints":
        """An int gives one object as Keypoints (1, K, 3)."""
        if isinstance(item, int):
            return Keypoints(self.tensor[item].unsqueeze(0))
        return Keypoints(self.tensor[item])

    def __repr__(self) -> str:
        return f"{type(self).__name__}(num_instances={len(self.tensor)})"

    @staticmethod
    def cat(keypoints_list: list["Keypoints"]) -> "Keypoints":
        """The objects of all in one."""
        assert isinstance(keypoints_list, (list, tuple)) and len(keypoints_list) > 0
        assert all(isinstance(keypoints, Keypoints) for keypoints in keypoints_list)
        return type(keypoints_list[0])(torch.cat([keypoints.tensor for keypoints in keypoints_list], dim=0))


def _keypoints_to_heatmap(
    keypoints: torch.Tensor, rois: torch.Tensor, heatmap_size: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """`Keypoints.to_heatmap` of (N, K, 3) keypoints and (N, 4) rois.

    The discretisation is Heckbert's: the cell of a continuous coordinate c is floor(c), its centre +0.5.
    """
    scale = heatmap_size / (rois[:, 2:] - rois[:, :2])  # (N, 2)
    cell = ((keypoints[..., :2] - rois[:, None, :2]) * scale[:, None]).floor()  # (N, K, 2)
    on_far_side = keypoints[..., :2] == rois[:, None, 2:]
    cell = torch.where(on_far_side, heatmap_size - 1, cell)  # the box includes its far sides
    inside = ((cell >= 0) & (cell < heatmap_size)).all(dim=2)
    valid = (inside & (keypoints[..., 2] > 0)).long()  # (N, K)
    cell = torch.where(valid[..., None] > 0, cell, 0).long()  # before the cast: NaN of a flat box has no integer
    return (cell[..., 1] * heatmap_size + cell[..., 0]) * valid, valid


@torch.jit.script_if_tracing
def heatmaps_to_keypoints(maps: torch.Tensor, rois: torch.Tensor) -> torch.Tensor:
    """Keypoints read from heat maps, by the convention of Mask R-CNN (arXiv 1703.06870).

    maps: (R, K, S, S) logits. rois: (R, 4) XYXY. Returns (R, K, 4): x, y, logit, and the score of the
    best position. Each map is enlarged to the whole number of pixels its roi covers, and a keypoint is the
    centre of the best pixel; its score is normalised over the S * S cells, not the pixels.
    """
    maps, rois = maps.detach(), rois.detach()
    size = (rois[:, 2:] - rois[:, :2]).clamp(min=1)  # (R, 2) XY
    pixels = size.ceil()
    best_logit = maps[:0, :, 0, 0]  # (0, K), and a row more for each roi
    best = torch.zeros_like(best_logit, dtype=torch.int64)
    sizes = pixels.long().to(torch.device("cpu"))
    # One roi at a time, as together they would need the memory of the largest; only the sizes come to the host.
    for i in range(sizes.shape[0]):
        size_of_one = [int(sizes[i, 1]), int(sizes[i, 0])]
        enlarged = F.interpolate(maps[i : i + 1], size=size_of_one, mode="bicubic", align_corners=False)
        logit, position_of_one = enlarged.reshape(1, maps.shape[1], -1).max(dim=2)  # (1, K)
        best_logit, best = torch.cat([best_logit, logit]), torch.cat([best, position_of_one])
    width = pixels[:, :1].long()  # (R, 1)
    position = torch.stack([best % width, best.div(width, rounding_mode="floor")], dim=2)  # (R, K, 2) XY
    points = (position + 0.5) * (size / pixels)[:, None] + rois[:, None, :2]
    # softmax over the cells, shifted by the best pixel: exp(best - best) / sum(exp(cell - best))
    score = (maps - best_logit[..., None, None]).exp().sum(dim=[2, 3]).reciprocal()
    return torch.cat([points.to(maps.dtype), best_logit[..., None], score[..., None]], dim=2)
