"""Prediction on images that are too large to be seen at once: tile by tile, with what lies on seams put together."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from det2lite.apis.batching import Prepared
from det2lite.apis.merging import MERGES, merge_views
from det2lite.apis.result import DetectionResult
from det2lite.utils.errors import BadValue


@dataclass(frozen=True)
class Tiling:
    """How an image is cut and put together again.

    size: side of the square tiles, pixels of the image. overlap: pixels that neighbours share, at least; None for a
    quarter of `size`. It should be as wide as a usual object. merge: "ios" joins the views of an object in several
    tiles, "nms" keeps the best of them; see `merging.merge_views`. threshold: of their overlap, 0..1.
    """

    size: int
    overlap: int | None = None
    merge: str = "ios"
    threshold: float = 0.5

    def __post_init__(self) -> None:
        if self.size < 1:
            raise BadValue(f"a tile has a side of at least 1 pixel, not {self.size}")
        if self.overlap is None:
            object.__setattr__(self, "overlap", self.size // 4)
        if not 0 <= self.overlap < self.size:
            raise BadValue(f"tiles of {self.size} pixels overlap by 0 to {self.size - 1} pixels, not {self.overlap}")
        if self.merge not in MERGES:
            raise BadValue(f"tiles are merged by {' or '.join(MERGES)}, not {self.merge!r}")
        if not 0 < self.threshold <= 1:
            raise BadValue(f"the threshold of overlap is a number in 0..1, not {self.threshold}")

    def windows(self, height: int, width: int) -> list[tuple[int, int, int, int]]:
        """The tiles of an image, XYXY, row by row. All have the same size; the last ones overlap more."""
        rows = [(y, min(y + self.size, height)) for y in self._starts(height)]
        columns = [(x, min(x + self.size, width)) for x in self._starts(width)]
        return [(x0, y0, x1, y1) for y0, y1 in rows for x0, x1 in columns]

    def _starts(self, length: int) -> list[int]:
        last = max(0, length - self.size)
        return [*range(0, last, self.size - self.overlap), last]


def predict_tiled(
    prepare: Callable[[int, np.ndarray], Prepared],
    predict: Callable[[list[Prepared]], list[DetectionResult]],
    image: np.ndarray,
    tiling: Tiling,
    batch_size: int,
) -> DetectionResult:
    """What is found in an image (H, W, 3) BGR tile by tile, in its own pixels; masks stay cropped.

    prepare, predict: those of a `Detector`. Semantic maps are not put together: a model that has nothing else is
    refused with `BadValue`.
    """
    height, width = image.shape[:2]
    windows = tiling.windows(height, width)
    views: list[DetectionResult] = []
    for start in range(0, len(windows), batch_size):
        part = windows[start : start + batch_size]
        tiles = [prepare(i, np.ascontiguousarray(image[y0:y1, x0:x1])) for i, (x0, y0, x1, y1) in enumerate(part)]
        for result, window in zip(predict(tiles), part, strict=True):
            if not result.finds_objects:
                raise BadValue("tiles are for models that find objects; this one only has a map of classes")
            views.append(moved(result, window[:2], (height, width)))
    if len(views) == 1:
        return views[0]
    return merge_views(views, windows, method=tiling.merge, threshold=tiling.threshold)


def moved(result: DetectionResult, corner: Sequence[int], image_size: tuple[int, int]) -> DetectionResult:
    """The objects of a tile in the pixels of its image. corner: (left, top) of the tile. Maps of pixels are dropped."""
    left, top = corner
    points = np.array([left, top, 0], dtype=np.float32)
    masks, keypoints, rotated = result.cropped_masks, result.keypoints, result.rotated_boxes
    return replace(
        result,
        image_size=image_size,
        boxes=result.boxes + np.array([left, top, left, top], dtype=np.float32),
        cropped_masks=None if masks is None else masks.shifted(left, top, image_size),
        keypoints=None if keypoints is None else keypoints + points,
        rotated_boxes=None if rotated is None else rotated + np.array([left, top, 0, 0, 0], dtype=np.float32),
        sem_seg=None,
        panoptic_seg=None,
        image=None,
    )
