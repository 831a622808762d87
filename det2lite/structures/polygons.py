"""Masks of objects as polygons."""

import itertools
from collections.abc import Iterator

import numpy as np
import pycocotools.mask as coco_mask
import torch

from det2lite.structures.boxes import Boxes

__all__ = ["PolygonMasks", "polygon_area", "polygons_to_bitmask", "rasterize_polygons_within_box"]

MIN_BOX_SIDE = 0.1  # pixels; a degenerate box must not blow its polygon up to infinity
MAX_OUTLINE = 5e6  # pixels; the rasterizer takes 40 bytes for each


def polygon_area(x: np.ndarray, y: np.ndarray) -> float:
    """Area of the polygon with the corners (x[i], y[i]), by the shoelace formula."""
    return 0.5 * np.abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1)))


def polygons_to_bitmask(polygons: list[np.ndarray], height: int, width: int) -> np.ndarray:
    """The union of polygons, each x0, y0, x1, y1, ..., as a (height, width) bool mask; empty without polygons."""
    if len(polygons) == 0:
        return np.zeros((height, width), dtype=bool)
    return _rasterize([polygons], height, width)[0]


def rasterize_polygons_within_box(polygons: list[np.ndarray], box: np.ndarray, mask_size: int) -> torch.Tensor:
    """What a box (4,) XYXY sees of an object's polygons, scaled to a (mask_size, mask_size) bool mask."""
    box = np.asarray(box)
    return torch.from_numpy(_rasterize_in_boxes([polygons], box[None], mask_size)[0])


def _rasterize(polygons_per_object: list[list[np.ndarray]], height: int, width: int) -> np.ndarray:
    """(N, height, width) bool masks, drawn in one call of the rasterizer."""
    counts = [len(polygons) for polygons in polygons_per_object]
    if sum(counts) == 0:
        return np.zeros((len(counts), height, width), dtype=bool)
    flat = [polygon for polygons in polygons_per_object for polygon in polygons]
    parts = iter(_encode_polygons(flat, height, width))
    empty = coco_mask.encode(np.zeros((height, width), np.uint8, order="F"))
    rles = []
    for count in counts:
        own = list(itertools.islice(parts, count))
        rles.append(own[0] if count == 1 else coco_mask.merge(own) if count else empty)
    masks = np.asarray(coco_mask.decode(rles), order="F")  # (H, W, N)
    return np.ascontiguousarray(masks.transpose(2, 0, 1)).view(bool)  # (N, H, W)


def _encode_polygons(polygons: list[np.ndarray], height: int, width: int) -> list[dict]:
    """One RLE per polygon. The encoder reads 4 numbers as a box, and its memory grows with the outline."""
    for polygon in polygons:
        if len(polygon) < 6:
            raise ValueError(f"a polygon has at least 3 points, this one has {len(polygon)} numbers")
        if not _outline_length(polygon) <= MAX_OUTLINE:  # NaN is refused too
            raise ValueError(f"a polygon's points are not finite or too far apart to draw: {polygon[:6]}...")
    return coco_mask.frPyObjects(polygons, height, width)


def _outline_length(polygon: np.ndarray) -> float:
    points = np.asarray(polygon, dtype=np.float64).reshape(-1, 2)
    return float(np.abs(points - np.roll(points, 1, axis=0)).max(axis=1).sum() + np.abs(points[0]).max())


def _rasterize_in_boxes(
    polygons_per_object: list[list[np.ndarray]], boxes: np.ndarray, mask_size: int
) -> np.ndarray:
    """(N, mask_size, mask_size) bool: each object's polygons seen through its box of boxes (N, 4) XYXY."""
    sides = boxes[:, 2:] - boxes[:, :2]
    scales = mask_size / np.maximum(sides, MIN_BOX_SIDE)  # (N, 2) XY
    moved = [
        [_move_polygon(polygon, box[:2], scale, mask_size) for polygon in polygons]
        for polygons, box, scale in zip(polygons_per_object, boxes, scales, strict=True)
    ]
    return _rasterize(moved, mask_size, mask_size)


def _move_polygon(polygon: np.ndarray, origin: np.ndarray, scale: np.ndarray, mask_size: int) -> np.ndarray:
    moved = ((np.asarray(polygon).reshape(-1, 2) - origin) * scale).reshape(-1)
    if _outline_length(moved) > MAX_OUTLINE:  # a box of a fraction of a pixel: what is far outside does not matter
        moved = moved.clip(-mask_size, 2 * mask_size)
    return moved


class PolygonMasks:
    """Masks of N objects, each a list of polygons: float64 arrays x0, y0, x1, y1, ... in pixels, on the host.

    Attributes:
        polygons: list of N lists of arrays.
    """

    def __init__(self, polygons: list[list[torch.Tensor | np.ndarray]]):
        """polygons: for each object the list of its polygons, each at least 3 points as a flat array."""
        if not isinstance(polygons, list):
            raise ValueError(
                "Cannot create PolygonMasks: Expect a list of list of polygons per image. "
                f"Got '{type(polygons)}' instead."
            )
        self.polygons: list[list[np.ndarray]] = [_check_polygons(own) for own in polygons]

    def to(self, *args, **kwargs) -> "PolygonMasks":
        """Itself: polygons stay on the host."""
        return self

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    def get_bounding_boxes(self) -> Boxes:
        """The tight box around each object; zeros where it has no polygon."""
        boxes = np.zeros((len(self.polygons), 4), dtype=np.float32)
        for box, polygons in zip(boxes, self.polygons, strict=True):
            if polygons:
                points = np.concatenate(polygons).reshape(-1, 2)
                box[:2], box[2:] = points.min(axis=0), points.max(axis=0)
        return Boxes(torch.from_numpy(boxes))

    def nonempty(self) -> torch.Tensor:
        """(N,) bool: the object has a polygon."""
        return torch.tensor([len(polygons) > 0 for polygons in self.polygons], dtype=torch.bool)

    def __getitem__(self, item: int | slice | list[int] | torch.Tensor | np.ndarray) -> "PolygonMasks":
        if isinstance(item, (int, np.integer)):
            return PolygonMasks([self.polygons[item]])
        if isinstance(item, slice):
            return PolygonMasks(self.polygons[item])
        if isinstance(item, (torch.Tensor, np.ndarray)):
            item = torch.as_tensor(item)
            assert item.dim() == 1, item.shape
            if item.dtype == torch.bool:
                item = item.nonzero().squeeze(1)
            elif item.dtype not in (torch.int32, torch.int64):
                raise ValueError(f"Unsupported tensor dtype={item.dtype} for indexing!")
            item = item.tolist()
        return PolygonMasks([self.polygons[i] for i in item])

    def __iter__(self) -> Iterator[list[np.ndarray]]:
        """Yields the list of polygons of each object."""
        return iter(self.polygons)

    def __len__(self) -> int:
        return len(self.polygons)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(num_instances={len(self.polygons)})"

    def crop_and_resize(self, boxes: torch.Tensor, mask_size: int) -> torch.Tensor:
        """(N, mask_size, mask_size) bool on the device of `boxes`: what each box sees of its object.

        boxes: (N, 4) XYXY pixels, one for each object.
        """
        assert len(boxes) == len(self), f"{len(boxes)} != {len(self)}"
        if len(self) == 0:
            return torch.empty((0, mask_size, mask_size), dtype=torch.bool, device=boxes.device)
        masks = _rasterize_in_boxes(self.polygons, boxes.detach().cpu().numpy(), mask_size)
        return torch.from_numpy(masks).to(device=boxes.device)

    def area(self) -> torch.Tensor:
        """(N,) areas in square pixels, the sum over an object's polygons; overlaps count twice."""
        areas = [sum(polygon_area(p[0::2], p[1::2]) for p in polygons) for polygons in self.polygons]
        return torch.tensor(areas)

    @staticmethod
    def cat(polymasks_list: list["PolygonMasks"]) -> "PolygonMasks":
        """The objects of all in one."""
        assert isinstance(polymasks_list, (list, tuple)) and len(polymasks_list) > 0
        assert all(isinstance(polymasks, PolygonMasks) for polymasks in polymasks_list)
        return type(polymasks_list[0])(list(itertools.chain.from_iterable(m.polygons for m in polymasks_list)))


def _check_polygons(polygons: list) -> list[np.ndarray]:
    """One object's polygons as float64 arrays; ValueError where one is no polygon."""
    if not isinstance(polygons, list):
        raise ValueError(
            f"Cannot create polygons: Expect a list of polygons per instance. Got '{type(polygons)}' instead."
        )
    arrays = [np.asarray(p.cpu() if isinstance(p, torch.Tensor) else p).astype("float64") for p in polygons]
    for array in arrays:
        if array.ndim != 1 or len(array) % 2 != 0 or len(array) < 6:
            raise ValueError(f"Cannot create a polygon from {array.size} coordinates.")
    return arrays
