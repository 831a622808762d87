"""Features of boxes."""

from torch import nn
from torchvision.ops import roi_align

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
        return roi_align(
            input,
            rois.to(dtype=input.dtype),
            self.output_size,
            self.spatial_scale,
            self.sampling_ratio,
            self.aligned,
        )

    def __repr__(self):
        return (
            f"{type(self).__name__}(output_size={self.output_size}, spatial_scale={self.spatial_scale}, "
            f"sampling_ratio={self.sampling_ratio}, aligned={self.aligned})"
        )
