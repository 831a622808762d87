"""Deterministic transforms of images and of all that is marked on them, beside those that fvcore has.

Coordinates are continuous: a pixel is a square of side 1, an image of shape (H, W) covers [0, W] x [0, H].
`apply_coords` may change the array it is given.
"""

import math
from collections.abc import Callable

import numpy as np
from fvcore.transforms.transform import CropTransform, HFlipTransform, NoOpTransform, Transform, TransformList
from PIL import Image

from det2lite.data.transforms.pixels import resize, through_pil

__all__ = ["ExtentTransform", "ResizeTransform", "RotationTransform", "ColorTransform", "PILColorTransform"]


class ExtentTransform(Transform):
    """Cuts a rectangle, which may reach outside the image, and scales it to the output size.

    src_rect: x0, y0, x1, y1 in pixels. output_size: (h, w). interp: a PIL resampling method.
    fill: value of the pixels that lie outside the image.
    """

    def __init__(self, src_rect, output_size, interp=Image.BILINEAR, fill=0):
        super().__init__()
        self._set_attributes(locals())

    def apply_image(self, img: np.ndarray, interp: int | None = None) -> np.ndarray:
        h, w = self.output_size
        method = self.interp if interp is None else interp

        def cut(picture: Image.Image) -> Image.Image:
            fill = (self.fill,) * len(picture.getbands()) if len(picture.getbands()) > 1 else self.fill
            return picture.transform((w, h), Image.EXTENT, tuple(self.src_rect), resample=method, fillcolor=fill)

        if img.dtype == bool:
            return through_pil(img.view(np.uint8), cut).astype(bool)
        if img.ndim == 2 and img.dtype != np.uint8:  # PIL reads 32-bit planes
            plane = np.float32 if np.issubdtype(img.dtype, np.floating) else np.int32
            return np.asarray(cut(Image.fromarray(img.astype(plane)))).astype(img.dtype)
        if img.dtype != np.uint8:
            return np.stack([self.apply_image(channel, interp) for channel in np.moveaxis(img, -1, 0)], axis=-1)
        return through_pil(img, cut)  # (h, w) or (h, w, C)

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        h, w = self.output_size
        x0, y0, x1, y1 = self.src_rect
        coords = coords.astype(np.float32)
        coords[:, 0] = (coords[:, 0] - x0) * (w / (x1 - x0))
        coords[:, 1] = (coords[:, 1] - y0) * (h / (y1 - y0))
        return coords

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        return self.apply_image(segmentation, interp=Image.NEAREST)


class ResizeTransform(Transform):
    """Resizes from (h, w) to (new_h, new_w). interp: a PIL resampling method; bilinear if None."""

    def __init__(self, h, w, new_h, new_w, interp=None):
        super().__init__()
        interp = Image.BILINEAR if interp is None else interp
        self._set_attributes(locals())

    def apply_image(self, img: np.ndarray, interp: int | None = None) -> np.ndarray:
        assert img.shape[:2] == (self.h, self.w), f"{self} is given an image of shape {img.shape}"
        assert img.ndim <= 4, f"an image has at most 4 dimensions, not shape {img.shape}"
        return resize(img, self.new_h, self.new_w, self.interp if interp is None else interp)

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        coords[:, 0] = coords[:, 0] * (self.new_w * 1.0 / self.w)
        coords[:, 1] = coords[:, 1] * (self.new_h * 1.0 / self.h)
        return coords

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        return self.apply_image(segmentation, interp=Image.NEAREST)

    def inverse(self) -> Transform:
        return ResizeTransform(self.new_h, self.new_w, self.h, self.w, self.interp)


class RotationTransform(Transform):
    """Rotates an (h, w) image counter-clockwise by `angle` degrees.

    expand: the output grows (or shrinks) to hold the rotated image exactly, else it keeps the input's size.
    center: (x, y) that stays where it is, the image's centre if None; without effect where `expand`.
    interp: a cv2 interpolation method; bilinear if None.
    """

    def __init__(self, h, w, angle, expand=True, center=None, interp=None):
        super().__init__()
        image_center = np.array((w / 2, h / 2))
        center = image_center if center is None else center
        self._set_attributes(locals())
        self.bound_w, self.bound_h = self._output_size() if expand else (w, h)
        self.rm_coords = self.create_rotation_matrix()
        # cv2 puts the coordinate 0 into the middle of the first pixel
        self.rm_image = self.create_rotation_matrix(offset=-0.5)

    def _output_size(self) -> tuple[int, int]:
        """(w, h) of the upright rectangle around the rotated image, rounded to pixels."""
        sin, cos = abs(math.sin(math.radians(self.angle))), abs(math.cos(math.radians(self.angle)))
        return round(self.h * sin + self.w * cos), round(self.h * cos + self.w * sin)

    def apply_image(self, img: np.ndarray, interp: int | None = None) -> np.ndarray:
        import cv2

        if len(img) == 0 or self.angle % 360 == 0:
            return img
        assert img.shape[:2] == (self.h, self.w), f"{self} is given an image of shape {img.shape}"
        method = next((m for m in (interp, self.interp) if m is not None), cv2.INTER_LINEAR)
        size = (self.bound_w, self.bound_h)
        if img.dtype == bool:
            return cv2.warpAffine(img.view(np.uint8), self.rm_image, size, flags=method).astype(bool)
        if img.dtype in (np.int64, np.int32) and method == cv2.INTER_NEAREST:
            # cv2 has no integers this wide; float64 holds them exactly up to 2^53
            return cv2.warpAffine(img.astype(np.float64), self.rm_image, size, flags=method).astype(img.dtype)
        rotated = cv2.warpAffine(np.ascontiguousarray(img), self.rm_image, size, flags=method)
        return rotated.reshape(*rotated.shape[:2], *img.shape[2:])  # cv2 drops a last dimension of 1

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        coords = np.asarray(coords, dtype=float)
        if len(coords) == 0 or self.angle % 360 == 0:
            return coords
        return coords @ self.rm_coords[:, :2].T + self.rm_coords[:, 2]

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        import cv2

        return self.apply_image(segmentation, interp=cv2.INTER_NEAREST)

    def create_rotation_matrix(self, offset: float = 0) -> np.ndarray:
        """(2, 3) affine matrix from input to output (x, y), both shifted by `offset` pixels."""
        cos, sin = math.cos(math.radians(self.angle)), math.sin(math.radians(self.angle))
        source = np.asarray(self.image_center if self.expand else self.center, dtype=float) + offset
        target = np.array((self.bound_w / 2, self.bound_h / 2)) + offset if self.expand else source
        rotation = np.array(((cos, sin), (-sin, cos)))  # counter-clockwise to the eye: y points down
        return np.column_stack((rotation, target - rotation @ source))

    def inverse(self) -> Transform:
        """Rotates back and cuts off the corners that rotating twice has added."""
        if not self.expand:
            raise NotImplementedError("a rotation with expand=False loses parts of the image and has no inverse")
        back = RotationTransform(self.bound_h, self.bound_w, -self.angle, True, None, self.interp)
        x0, y0 = (back.bound_w - self.w) // 2, (back.bound_h - self.h) // 2
        return TransformList([back, CropTransform(x0, y0, self.w, self.h)])


class ColorTransform(Transform):
    """Changes colours by `op`, a function from image array to image array; geometry stays."""

    def __init__(self, op: Callable):
        if not callable(op):
            raise ValueError(f"op must be a function of an image, not {type(op).__name__}")
        super().__init__()
        self.op = op

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        return self.op(img)

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        return coords

    def inverse(self) -> Transform:
        return NoOpTransform()

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        return segmentation


class PILColorTransform(ColorTransform):
    """Changes colours by `op`, a function from PIL image to PIL image, such as those of ImageOps or ImageEnhance."""

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        return np.asarray(super().apply_image(Image.fromarray(img)))


def HFlip_rotated_box(transform: HFlipTransform, rotated_boxes: np.ndarray) -> np.ndarray:
    """Flips boxes (N, 5) XYWHA (degrees, counter-clockwise) in place and returns them."""
    rotated_boxes[:, 0] = transform.width - rotated_boxes[:, 0]
    rotated_boxes[:, 4] = -rotated_boxes[:, 4]
    return rotated_boxes


def Resize_rotated_box(transform: ResizeTransform, rotated_boxes: np.ndarray) -> np.ndarray:
    """Resizes boxes (N, 5) XYWHA in place and returns them.

    Where the two scales differ a rectangle becomes a parallelogram: width and height are kept true to the lengths of
    its sides, the angle to the direction of those that were upright.
    """
    scale_x, scale_y = transform.new_w / transform.w, transform.new_h / transform.h
    radians = np.radians(rotated_boxes[:, 4])
    cos, sin = np.cos(radians), np.sin(radians)
    rotated_boxes[:, 0] *= scale_x
    rotated_boxes[:, 1] *= scale_y
    rotated_boxes[:, 2] *= np.hypot(scale_x * cos, scale_y * sin)
    rotated_boxes[:, 3] *= np.hypot(scale_x * sin, scale_y * cos)
    rotated_boxes[:, 4] = np.degrees(np.arctan2(scale_x * sin, scale_y * cos))
    return rotated_boxes


HFlipTransform.register_type("rotated_box", HFlip_rotated_box)
ResizeTransform.register_type("rotated_box", Resize_rotated_box)
NoOpTransform.register_type("rotated_box", lambda t, x: x)
