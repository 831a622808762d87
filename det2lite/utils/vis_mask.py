"""Masks for drawing: one object for bitmap, polygons and RLE, and a layer that blends many masks."""

from functools import cached_property
from typing import Any

import numpy as np

from det2lite.utils.errors import BadValue

ROWS_AT_ONCE = 256  # of large pictures, whose intermediate values would take much memory


class GenericMask:
    """A mask given as (H, W) bitmap, list of flat polygons [x0, y0, x1, y1, ...] or COCO RLE, in any of these forms."""

    def __init__(self, mask_or_polygons: Any, height: int, width: int):
        self.height = height
        self.width = width
        self._bitmap: np.ndarray | None = None
        self._polygons: list[np.ndarray] | None = None
        source = mask_or_polygons
        if isinstance(source, GenericMask):
            self._bitmap, self._polygons = source._bitmap, source._polygons
        elif isinstance(source, dict):
            self._bitmap = _decode_rle(source, height, width)
        elif isinstance(source, (list, tuple)):
            self._polygons = clean_polygons(source, height, width)
        elif hasattr(source, "ndim") and source.ndim == 2:
            self._bitmap = self._checked(np.asarray(source) > 0)
        else:
            raise BadValue(f"a mask is an (H, W) array, a list of polygons or an RLE, not {type(source).__name__}")

    def _checked(self, bitmap: np.ndarray) -> np.ndarray:
        if bitmap.shape != (self.height, self.width):
            raise BadValue(f"mask of size {bitmap.shape} does not fit the image of size {(self.height, self.width)}")
        return bitmap

    @property
    def mask(self) -> np.ndarray:
        """The bitmap, (H, W) bool."""
        if self._bitmap is None:
            self._bitmap = fill_polygons(self._polygons, self.height, self.width)
        return self._bitmap

    @property
    def polygons(self) -> list[np.ndarray]:
        """The outlines, each (2K,) x and y in turn; holes are outlines too."""
        if self._polygons is None:
            self._polygons = _as_polygons(self._rings[0])
        return self._polygons

    @property
    def has_holes(self) -> bool:
        return self._rings[1]

    @cached_property
    def _rings(self) -> tuple[list[np.ndarray], bool]:
        return find_rings(self.mask)

    def mask_to_polygons(self, mask: np.ndarray) -> tuple[list[np.ndarray], bool]:
        """The outlines of a bitmap (H, W), each (2K,), and whether one of them is a hole."""
        rings, has_holes = find_rings(mask)
        return _as_polygons(rings), has_holes

    def polygons_to_mask(self, polygons: list) -> np.ndarray:
        """The union of polygons (2K,) in the image of this mask. Returns (H, W) uint8."""
        polygons = clean_polygons(polygons, self.height, self.width)
        return fill_polygons(polygons, self.height, self.width).astype(np.uint8)

    def outlines(self) -> list[np.ndarray]:
        """What to draw a line along. Returns a list of (K, 2) XY."""
        if self._polygons is not None:
            return [polygon.reshape(-1, 2) for polygon in self._polygons]
        return self._rings[0]

    def area(self) -> int:
        """Number of pixels."""
        return int(self.mask.sum())

    def bbox(self) -> np.ndarray:
        """The tight box, (4,) XYXY; zeros where the mask is empty."""
        xs, ys = np.flatnonzero(self.mask.any(axis=0)), np.flatnonzero(self.mask.any(axis=1))
        if len(xs) == 0:
            return np.zeros(4)
        return np.array([xs[0], ys[0], xs[-1] + 1, ys[-1] + 1], dtype=np.float64)

    def on_canvas(self, width: int, height: int) -> np.ndarray:
        """How much of each canvas pixel is covered. Returns (height, width) bool or float32 in [0, 1]."""
        if (height, width) == (self.height, self.width):
            return self.mask
        if self._polygons is not None:
            stretch = np.tile([width / self.width, height / self.height], 1)
            polygons = [(p.reshape(-1, 2) * stretch).reshape(-1) for p in self._polygons]
            return fill_polygons(polygons, height, width)
        import cv2

        how = cv2.INTER_NEAREST if width > self.width else cv2.INTER_AREA
        return cv2.resize(self.mask.astype(np.float32), (width, height), interpolation=how)

    def patch_on_canvas(self, width: int, height: int) -> tuple[int, int, np.ndarray]:
        """The part of `on_canvas` that is covered at all: left, top, and the share of its pixels (h, w)."""
        return _tight(self.on_canvas(width, height))


class CroppedMask(GenericMask):
    """A mask that is empty outside of `crop` (h, w), whose upper left pixel is at (left, top) of the image.

    The bitmap of the whole image is made anew whenever it is asked for, so that many masks of a large image take
    little memory.
    """

    def __init__(self, crop: np.ndarray, left: int, top: int, height: int, width: int):
        self.height, self.width = height, width
        self.crop, self.left, self.top = np.asarray(crop) > 0, left, top
        self._bitmap = self._polygons = None

    @property
    def mask(self) -> np.ndarray:
        bitmap = np.zeros((self.height, self.width), dtype=bool)
        rows, columns = self.crop.shape
        bitmap[self.top : self.top + rows, self.left : self.left + columns] = self.crop
        return bitmap

    @cached_property
    def _rings(self) -> tuple[list[np.ndarray], bool]:
        rings, has_holes = find_rings(self.crop) if self.crop.size else ([], False)
        return [ring + (self.left, self.top) for ring in rings], has_holes

    def area(self) -> int:
        return int(self.crop.sum())

    def bbox(self) -> np.ndarray:
        xs, ys = np.flatnonzero(self.crop.any(axis=0)), np.flatnonzero(self.crop.any(axis=1))
        if len(xs) == 0:
            return np.zeros(4)
        box = np.array([xs[0], ys[0], xs[-1] + 1, ys[-1] + 1], dtype=np.float64)
        return box + np.tile((self.left, self.top), 2)

    def patch_on_canvas(self, width: int, height: int) -> tuple[int, int, np.ndarray]:
        if (height, width) != (self.height, self.width):
            return super().patch_on_canvas(width, height)
        return self.left, self.top, self.crop


def _tight(share: np.ndarray) -> tuple[int, int, np.ndarray]:
    """left, top, and the smallest part (h, w) of `share` (H, W) that holds all that is not zero."""
    ys, xs = np.flatnonzero(share.any(axis=1)), np.flatnonzero(share.any(axis=0))
    if len(xs) == 0:
        return 0, 0, share[:0, :0]
    return int(xs[0]), int(ys[0]), share[ys[0] : ys[-1] + 1, xs[0] : xs[-1] + 1]


def clean_polygons(polygons: list, height: int, width: int) -> list[np.ndarray]:
    """Polygons with at least three finite points, kept near the image so that no coordinate can blow up a raster."""
    cleaned = []
    for polygon in polygons:
        points = np.asarray(polygon, dtype=np.float64).reshape(-1)
        points = points[: len(points) // 2 * 2].reshape(-1, 2)
        if len(points) >= 3 and np.isfinite(points).all():
            cleaned.append(points.clip((-width, -height), (2 * width, 2 * height)).reshape(-1))
    return cleaned


def fill_polygons(polygons: list[np.ndarray], height: int, width: int) -> np.ndarray:
    """The union of the polygons as COCO draws it. polygons: list of (2K,). Returns (height, width) bool."""
    if not polygons:
        return np.zeros((height, width), dtype=bool)
    from pycocotools import mask as coco_mask

    parts = coco_mask.frPyObjects([polygon.tolist() for polygon in polygons], height, width)
    return coco_mask.decode(coco_mask.merge(parts)).astype(bool)


def find_rings(mask: np.ndarray) -> tuple[list[np.ndarray], bool]:
    """Boundaries of a bitmap, and whether one of them is a hole. mask: (H, W). Returns a list of (K, 2) XY."""
    import cv2

    found = cv2.findContours(np.ascontiguousarray(mask, dtype=np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    contours, hierarchy = found[-2:]
    if hierarchy is None:
        return [], False
    # contours run through the centres of the border pixels, half a pixel off their corners
    rings = [contour.reshape(-1, 2).astype(np.float64) + 0.5 for contour in contours]
    return rings, bool((hierarchy.reshape(-1, 4)[:, 3] >= 0).any())


def _as_polygons(rings: list[np.ndarray]) -> list[np.ndarray]:
    """Boundaries (K, 2) of at least three points, each as (2K,)."""
    return [ring.reshape(-1) for ring in rings if len(ring) > 2]


def label_point(mask: np.ndarray) -> tuple[float, float] | None:
    """The point deepest inside the mask's largest part, XY; None where the mask is empty. mask: (H, W) bool."""
    ys, xs = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if len(xs) == 0:
        return None
    import cv2

    part = mask[ys[0] : ys[-1] + 1, xs[0] : xs[-1] + 1].astype(np.uint8)
    distance = cv2.distanceTransform(np.pad(part, 1), cv2.DIST_L2, 3)[1:-1, 1:-1]
    y, x = np.unravel_index(distance.argmax(), distance.shape)
    return float(x + xs[0] + 0.5), float(y + ys[0] + 0.5)


class MaskLayer:
    """Colours blended over each other, to be laid over the image at once. size: (width, height) of the canvas."""

    def __init__(self, size: tuple[int, int]):
        self.size = size
        self.color = np.zeros((size[1], size[0], 3), dtype=np.float32)  # times coverage
        self.coverage = np.zeros((size[1], size[0], 1), dtype=np.float32)

    def paint(self, share: np.ndarray, color: tuple[float, ...], alpha: float) -> None:
        """Blend `color` (RGB in [0, 1]) over the layer. share: (height, width) of the canvas, coverage per pixel."""
        self.paint_patch(*_tight(share), color, alpha)

    def paint_patch(self, left: int, top: int, share: np.ndarray, color: tuple[float, ...], alpha: float) -> None:
        """As `paint`, where only the pixels of `share` (h, w) at (left, top) are covered."""
        window = slice(top, top + share.shape[0]), slice(left, left + share.shape[1])
        share = share.astype(np.float32)[:, :, None] * alpha  # (h, w, 1)
        self.color[window] = self.color[window] * (1 - share) + share * np.asarray(color[:3], np.float32)
        self.coverage[window] = self.coverage[window] * (1 - share) + share

    def pixels(self) -> np.ndarray:
        """Returns (height, width, 4) uint8 RGBA, colour not multiplied by coverage."""
        pixels = np.empty((*self.coverage.shape[:2], 4), dtype=np.uint8)
        for top in range(0, len(pixels), ROWS_AT_ONCE):
            rows = slice(top, top + ROWS_AT_ONCE)
            color = self.color[rows] / np.maximum(self.coverage[rows], 1e-6)
            pixels[rows] = (np.concatenate([color, self.coverage[rows]], axis=2) * 255 + 0.5).clip(0, 255)
        return pixels


def _decode_rle(rle: dict, height: int, width: int) -> np.ndarray:
    """A COCO run-length encoding, compressed or not, of an image of this size. Returns (H, W) bool."""
    from pycocotools import mask as coco_mask

    size = rle.get("size")
    if size is None or list(size) != [height, width]:  # asked before decoding, which would allocate any size
        raise BadValue(f"RLE mask of size {size} does not fit the image of size [{height}, {width}]")
    try:
        counts = rle["counts"]
        if isinstance(counts, (list, tuple)):
            rle = coco_mask.frPyObjects({"size": [height, width], "counts": list(counts)}, height, width)
        return coco_mask.decode(rle).astype(bool)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise BadValue(f"the counts of an RLE mask cannot be decoded: {error!r}") from None
