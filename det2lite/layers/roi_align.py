"""Features of boxes."""

import torch
from torch import nn
from torch.nn.modules.utils import _pair
from torchvision.ops import roi_align

from det2lite.layers.roi_align_cpu import roi_align_cpu

__all__ = ["ROIAlign", "roi_align"]


class ROIAlign(nn.Module):
    """Features of each box, averaged in the cells of a fixed grid. Mask R-CNN, arXiv 1703.06870.

    output_size: (height, width) of the grid. spatial_scale: feature cells per unit of the boxes.
    sampling_ratio: points per cell and axis; 0 takes as many as the box has features. aligned: the centre
    of the first feature is 0.5, as it should be; False leaves out this half and shifts all results.
    """

    def __init__(self, output_size, spatial_scale, sampling_ratio, aligned=True):
        super().__init__()
        self.output_size = output_size
        self.spatial_scale = spatial_scale
        self.sampling_ratio = sampling_ratio
        self.aligned = aligned

    def forward(self, input, rois):
        """input: (N, C, H, W). rois: (R, 5): index of the image, XYXY. Returns (R, C, *output_size)."""
        assert rois.dim() == 2 and rois.size(1) == 5, rois.shape
        if input.is_quantized:
            input = input.dequantize()
        dtype = input.dtype
        settings = (_pair(self.output_size), self.spatial_scale, self.sampling_ratio, self.aligned)
        if not torch.jit.is_scripting() and table_pays(input):
            return roi_align_cpu(input, rois, *settings)
        if dtype in (torch.float16, torch.bfloat16):
            input = input.float()  # coordinates of half precision would be wrong by whole pixels
        rois = rois.to(dtype=input.dtype)
        if input.device.type == "cpu" and not torch.jit.is_tracing():
            rois = rois.nan_to_num(nan=0.0, posinf=1e8, neginf=-1e8)  # of others the operator ends the process
        return roi_align(input, rois, *settings).to(dtype)

    def __repr__(self):
        return (
            f"{type(self).__name__}(output_size={self.output_size}, spatial_scale={self.spatial_scale}, "
            f"sampling_ratio={self.sampling_ratio}, aligned={self.aligned})"
        )


def table_pays(input: torch.Tensor) -> bool:
    """Whether `roi_align_cpu` is faster for `input (N, C, H, W)`, and nobody wants to see one operator instead."""
    return (
        input.device.type == "cpu"
        and input.is_floating_point()
        and input.shape[1] >= 16  # with few channels the sampling costs less than finding what to look up
        and not torch.jit.is_tracing()
        and not torch.compiler.is_compiling()
    )
