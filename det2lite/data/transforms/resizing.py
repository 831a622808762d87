"""Augmentations that choose the size of the image."""

import sys

import numpy as np
import torch
from fvcore.transforms.transform import NoOpTransform, Transform
from PIL import Image

from det2lite.data.transforms.augmentation import Augmentation
from det2lite.data.transforms.transform import ResizeTransform

__all__ = ["RandomResize", "Resize", "ResizeScale", "ResizeShortestEdge"]


class Resize(Augmentation):
    """Resizes to a fixed size. shape: (h, w), or one number for both. interp: a PIL resampling method."""

    def __init__(self, shape, interp=Image.BILINEAR):
        shape = (shape, shape) if isinstance(shape, int) else tuple(shape)
        self._init(locals())

    def get_transform(self, image: np.ndarray) -> Transform:
        return ResizeTransform(*image.shape[:2], *self.shape, self.interp)


class RandomResize(Augmentation):
    """Resizes to one of several sizes. shape_list: of (h, w). interp: a PIL resampling method."""

    def __init__(self, shape_list, interp=Image.BILINEAR):
        self._init(locals())

    def get_transform(self, image: np.ndarray) -> Transform:
        h, w = self.shape_list[np.random.randint(len(self.shape_list))]
        return ResizeTransform(*image.shape[:2], h, w, self.interp)


class ResizeShortestEdge(Augmentation):
    """Resizes, keeping the aspect ratio, so that the short edge gets a random length and the long edge stays in bounds.

    short_edge_length: pixels; bounds [min, max] with sample_style "range", lengths to choose from with "choice"; one
    number is always taken. A length of 0 leaves the image as it is. max_size: pixels, upper bound of the long edge,
    which wins. interp: a PIL resampling method.
    """

    # TorchScript compiles the whole class when `get_output_shape` is called. It cannot read the methods marked unused,
    # and would compile the types that they name
    @torch.jit.unused
    def __init__(self, short_edge_length, max_size=sys.maxsize, sample_style="range", interp=Image.BILINEAR):
        assert sample_style in ("range", "choice"), f"sample_style is 'range' or 'choice', not {sample_style!r}"
        if isinstance(short_edge_length, int):
            short_edge_length = (short_edge_length, short_edge_length)
        self.is_range = sample_style == "range"
        assert not self.is_range or len(short_edge_length) == 2, (
            f"short_edge_length with sample_style 'range' is two numbers, not {short_edge_length}"
        )
        self._init(locals())

    @torch.jit.unused
    def get_transform(self, image):
        if self.is_range:
            short_edge = np.random.randint(self.short_edge_length[0], self.short_edge_length[1] + 1)
        else:
            short_edge = np.random.choice(self.short_edge_length)
        if short_edge == 0:
            return NoOpTransform()
        h, w = image.shape[:2]
        new_h, new_w = self.get_output_shape(h, w, short_edge, self.max_size)
        return ResizeTransform(h, w, new_h, new_w, self.interp)

    @staticmethod
    def get_output_shape(oldh: int, oldw: int, short_edge_length: int, max_size: int) -> tuple[int, int]:
        """(h, w) of the resized image, at least one pixel each. Can be compiled by TorchScript."""
        short_edge = float(short_edge_length)
        scale = short_edge / min(oldh, oldw)
        # the short edge is set, not computed: scale * length may miss it by a rounding error
        new_h, new_w = (short_edge, scale * oldw) if oldh < oldw else (scale * oldh, short_edge)
        if max(new_h, new_w) > max_size:
            shrink = max_size * 1.0 / max(new_h, new_w)
            new_h, new_w = new_h * shrink, new_w * shrink
        return max(1, int(new_h + 0.5)), max(1, int(new_w + 0.5))


class ResizeScale(Augmentation):
    """Resizes, keeping the aspect ratio, to fit into a target size times a random scale ("large scale jitter").

    min_scale, max_scale: bounds of the scale. target_height, target_width: pixels. interp: a PIL resampling method.
    """

    def __init__(
        self,
        min_scale: float,
        max_scale: float,
        target_height: int,
        target_width: int,
        interp: int = Image.BILINEAR,
    ):
        super().__init__()
        self._init(locals())

    def get_transform(self, image: np.ndarray) -> Transform:
        return self._get_resize(image, np.random.uniform(self.min_scale, self.max_scale))

    def _get_resize(self, image: np.ndarray, scale: float) -> Transform:
        """The resize that fits the image into the target size times `scale`."""
        h, w = image.shape[:2]
        ratio = min(self.target_height * scale / h, self.target_width * scale / w)
        return ResizeTransform(h, w, max(1, round(h * ratio)), max(1, round(w * ratio)), self.interp)
