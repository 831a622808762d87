"""The masks of one image, each kept as the part of the image that it covers, eight pixels a byte."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from det2lite.evaluation.coco_results import encode_crop
from det2lite.structures.mask_paste import mask_regions, paste_in_region


class CroppedMasks:
    """R masks of an image of `image_size` (height, width).

    `windows` (R, 4) int64 is XYXY: where each mask is; it is empty outside. Nothing of the image's size is kept, so
    that hundreds of objects of a very large image take little memory.
    """

    def __init__(self, image_size: tuple[int, int], windows: np.ndarray, packed: Sequence[np.ndarray]):
        self.image_size = int(image_size[0]), int(image_size[1])
        self.windows = np.asarray(windows, dtype=np.int64).reshape(len(packed), 4)
        self._packed = list(packed)  # np.packbits of each crop

    @classmethod
    def from_crops(cls, image_size: tuple[int, int], corners: Sequence, crops: Sequence[np.ndarray]) -> "CroppedMasks":
        """crops: (h, w) bool each. corners: (left, top) of each in the image."""
        windows = [(x, y, x + crop.shape[1], y + crop.shape[0]) for (x, y), crop in zip(corners, crops, strict=True)]
        return cls(image_size, np.array(windows).reshape(-1, 4), [np.packbits(crop) for crop in crops])

    @classmethod
    def from_dense(cls, masks: torch.Tensor) -> "CroppedMasks":
        """masks: (R, H, W) bool or 0/1, on any device; only what is covered is copied from there."""
        masks = masks if masks.dtype == torch.bool else masks > 0
        size = masks.shape[-2], masks.shape[-1]
        windows = np.stack([*_extent(masks.any(dim=1)), *_extent(masks.any(dim=2))], axis=1)[:, [0, 2, 1, 3]]
        rows = zip(masks, windows.tolist(), strict=True)
        return cls(size, windows, [np.packbits(mask[y0:y1, x0:x1].cpu().numpy()) for mask, (x0, y0, x1, y1) in rows])

    @classmethod
    def from_roi_masks(
        cls, masks: torch.Tensor, boxes: torch.Tensor, image_size: tuple[int, int], threshold: float = 0.5
    ) -> "CroppedMasks":
        """masks: (R, M, M) in 0..1, each in the frame of its box. boxes: (R, 4) XYXY pixels of the image.

        What `paste_masks_in_image` gives, but each mask takes the memory of its box, and that only while it is made.
        """
        height, width = image_size
        corners, crops = [], []
        for index, region in enumerate(mask_regions(boxes, height, width).tolist()):
            one = slice(index, index + 1)
            pasted = paste_in_region(masks[one], boxes[one], region, threshold).cpu().numpy()
            left, top, crop = _tight(pasted, region[0], region[1])
            corners.append((left, top))
            crops.append(crop)
        return cls.from_crops(image_size, corners, crops)

    @classmethod
    def cat(cls, parts: Sequence["CroppedMasks"]) -> "CroppedMasks":
        """The masks of several such objects, at least one, of one image."""
        packed = [mask for part in parts for mask in part._packed]
        return cls(parts[0].image_size, np.concatenate([part.windows for part in parts]), packed)

    def __len__(self) -> int:
        return len(self._packed)

    def __getitem__(self, index: np.ndarray | slice) -> "CroppedMasks":
        chosen = np.arange(len(self))[index]
        return CroppedMasks(self.image_size, self.windows[chosen], [self._packed[i] for i in chosen])

    def crop(self, index: int) -> np.ndarray:
        """The covered part of one mask, (h, w) bool, whose place is `windows[index]`."""
        x0, y0, x1, y1 = self.windows[index]
        shape = y1 - y0, x1 - x0
        return np.unpackbits(self._packed[index], count=int(shape[0] * shape[1])).reshape(shape).astype(bool)

    def dense(self) -> np.ndarray:
        """All masks at the size of the image, (R, H, W) bool."""
        masks = np.zeros((len(self), *self.image_size), dtype=bool)
        for index, (x0, y0, x1, y1) in enumerate(self.windows):
            masks[index, y0:y1, x0:x1] = self.crop(index)
        return masks

    def areas(self) -> np.ndarray:
        """Covered pixels, (R,) int64."""
        return np.array([self.crop(i).sum() for i in range(len(self))], dtype=np.int64)

    def rles(self) -> Iterator[dict]:
        """The run-length code of each mask, as COCO's files have it."""
        for index, (x0, y0) in enumerate(self.windows[:, :2].tolist()):
            yield encode_crop(self.crop(index), x0, y0, self.image_size)

    def shifted(self, left: int, top: int, image_size: tuple[int, int]) -> "CroppedMasks":
        """The masks in a larger image, of which this image is the part at (left, top)."""
        return CroppedMasks(image_size, self.windows + np.array([left, top, left, top]), self._packed)

    def union(self, indices: Sequence[int]) -> tuple[tuple[int, int], np.ndarray]:
        """Several masks as one: its (left, top) and crop (h, w) bool."""
        windows = self.windows[list(indices)]
        full = windows[(windows[:, 2:] > windows[:, :2]).all(axis=1)]
        if not len(full):
            return (0, 0), np.zeros((0, 0), dtype=bool)
        left, top = full[:, :2].min(axis=0).tolist()
        right, bottom = full[:, 2:].max(axis=0).tolist()
        joined = np.zeros((bottom - top, right - left), dtype=bool)
        for index, (x0, y0, x1, y1) in zip(indices, windows, strict=True):
            joined[y0 - top : y1 - top, x0 - left : x1 - left] |= self.crop(index)
        return (left, top), joined

    def part(self, index: int, region: np.ndarray) -> np.ndarray:
        """One mask within a region (4,) int XYXY of the image. Returns (h, w) bool of the region's size."""
        x0, y0, x1, y1 = region
        part = np.zeros((y1 - y0, x1 - x0), dtype=bool)
        left, top = np.maximum(self.windows[index, :2], (x0, y0))
        right, bottom = np.minimum(self.windows[index, 2:], (x1, y1))
        if right > left and bottom > top:
            own_x, own_y = self.windows[index, :2]
            crop = self.crop(index)[top - own_y : bottom - own_y, left - own_x : right - own_x]
            part[top - y0 : bottom - y0, left - x0 : right - x0] = crop
        return part

    def scaled(self, width: int, height: int) -> "CroppedMasks":
        """The masks of the image resized to width x height; a pixel is covered where half of it is."""
        import cv2

        stretch = np.array([width / self.image_size[1], height / self.image_size[0]] * 2)
        corners, crops = [], []
        for index in range(len(self)):
            x0, y0, x1, y1 = self.windows[index] * stretch
            left, top, right, bottom = int(x0), int(y0), int(np.ceil(x1)), int(np.ceil(y1))
            crop = self.crop(index).astype(np.float32)
            if crop.size:
                move = np.array([[stretch[0], 0, x0 - left], [0, stretch[1], y0 - top]])
                move[:, 2] += 0.5 * stretch[:2] - 0.5  # centres of pixels, not their corners
                crop = cv2.warpAffine(_blurred(crop, stretch), move, (right - left, bottom - top))
            corners.append((left, top))
            crops.append(crop >= 0.5)
        return CroppedMasks.from_crops((height, width), corners, crops)


def _tight(crop: np.ndarray, left: int, top: int) -> tuple[int, int, np.ndarray]:
    """The part of a crop (h, w) at (left, top) that is covered, and where that is; (0, 0) and nothing if none is."""
    rows, columns = np.flatnonzero(crop.any(axis=1)), np.flatnonzero(crop.any(axis=0))
    if not len(rows):
        return 0, 0, crop[:0, :0]
    y0, x0 = int(rows[0]), int(columns[0])
    return left + x0, top + y0, crop[y0 : rows[-1] + 1, x0 : columns[-1] + 1]


def _blurred(crop: np.ndarray, stretch: np.ndarray) -> np.ndarray:
    """The crop averaged over the pixels that become one."""
    import cv2

    kernel = [max(1, round(1 / factor)) for factor in stretch[:2]]
    return cv2.blur(crop, kernel, borderType=cv2.BORDER_CONSTANT) if max(kernel) > 1 else crop


def _extent(covered: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """First and one past the last covered position of each row, both 0 where there is none. covered: (R, N) bool."""
    if covered.shape[1] == 0 or covered.shape[0] == 0:
        none = np.zeros(covered.shape[0], dtype=np.int64)
        return none, none
    length = covered.shape[1]
    numbers = covered.to(torch.uint8)
    first, last = numbers.argmax(dim=1), length - numbers.flip(1).argmax(dim=1)
    found = covered.any(dim=1)
    both = torch.stack([first * found, last * found]).cpu().numpy()
    return both[0], both[1]
