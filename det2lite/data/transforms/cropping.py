"""Augmentations that choose a part of the image."""

import numpy as np
import torch
from fvcore.transforms.transform import CropTransform, NoOpTransform, PadTransform, Transform, TransformList

from det2lite.data.transforms.augmentation import Augmentation
from det2lite.data.transforms.transform import ExtentTransform
from det2lite.structures import Boxes, pairwise_iou

__all__ = ["FixedSizeCrop", "MinIoURandomCrop", "RandomCrop", "RandomCrop_CategoryAreaConstraint", "RandomExtent"]

CROP_TYPES = ("relative_range", "relative", "absolute", "absolute_range")


class FixedSizeCrop(Augmentation):
    """Crops at random where the image is larger than `crop_size` (h, w), and pads right and below where it is smaller.

    pad: whether to pad. pad_value, seg_pad_value: what image and segmentation are padded with.
    """

    def __init__(
        self,
        crop_size: tuple[int],
        pad: bool = True,
        pad_value: float = 128.0,
        seg_pad_value: int = 255,
    ):
        super().__init__()
        self._init(locals())

    def get_transform(self, image: np.ndarray) -> TransformList:
        transforms = [self._get_crop(image)]
        if self.pad:
            transforms.append(self._get_pad(image))
        return TransformList(transforms)

    def _get_crop(self, image: np.ndarray) -> Transform:
        (h, w), (crop_h, crop_w) = image.shape[:2], self.crop_size
        where = np.random.uniform(0.0, 1.0)  # one number: the crop moves along the diagonal
        y0, x0 = round(max(h - crop_h, 0) * where), round(max(w - crop_w, 0) * where)
        return CropTransform(x0, y0, crop_w, crop_h, w, h)

    def _get_pad(self, image: np.ndarray) -> Transform:
        (h, w), (crop_h, crop_w) = image.shape[:2], self.crop_size
        missing_h, missing_w = max(crop_h - h, 0), max(crop_w - w, 0)
        cropped_h, cropped_w = min(h, crop_h), min(w, crop_w)
        return PadTransform(0, 0, missing_w, missing_h, cropped_w, cropped_h, self.pad_value, self.seg_pad_value)


class RandomCrop(Augmentation):
    """Crops a rectangle at a random place.

    crop_type says what crop_size means:
    - "relative": (h, w) in shares of the image's height and width, in (0, 1].
    - "relative_range": as before, lower bounds: each share is drawn between its bound and 1.
    - "absolute": (h, w) in pixels, at most the image's.
    - "absolute_range": (min, max) in pixels, at most the image's; height and width are both drawn from it.
    """

    def __init__(self, crop_type: str, crop_size):
        super().__init__()
        assert crop_type in CROP_TYPES, f"crop_type is one of {', '.join(CROP_TYPES)}, not {crop_type!r}"
        self._init(locals())

    def get_transform(self, image: np.ndarray) -> Transform:
        h, w = image.shape[:2]
        crop_h, crop_w = self.get_crop_size((h, w))
        assert crop_h <= h and crop_w <= w, f"{self} is larger than an image of {h} x {w}"
        y0, x0 = np.random.randint(h - crop_h + 1), np.random.randint(w - crop_w + 1)
        return CropTransform(x0, y0, crop_w, crop_h)

    def get_crop_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """(h, w) in pixels of a crop from an image of size (h, w); random for the range types."""
        h, w = image_size
        if self.crop_type == "absolute":
            return min(self.crop_size[0], h), min(self.crop_size[1], w)
        if self.crop_type == "absolute_range":
            low, high = self.crop_size
            assert low <= high, f"crop_size of 'absolute_range' is (min, max), not {self.crop_size}"
            crop_h = np.random.randint(min(h, low), min(h, high) + 1)
            return crop_h, np.random.randint(min(w, low), min(w, high) + 1)
        share_h, share_w = self.crop_size
        if self.crop_type == "relative_range":
            least = np.asarray(self.crop_size, dtype=np.float32)
            share_h, share_w = least + np.random.rand(2) * (1 - least)
        return int(h * share_h + 0.5), int(w * share_w + 0.5)


class RandomCrop_CategoryAreaConstraint(Augmentation):
    """A `RandomCrop` in which no category of the segmentation covers too much, if 10 tries find one.

    crop_type, crop_size: as for `RandomCrop`. single_category_max_area: greatest share of the labelled pixels that one
    category may take; 1 for no constraint. ignored_category: label of the pixels that do not count, or None.
    """

    TRIES = 10

    def __init__(
        self,
        crop_type: str,
        crop_size,
        single_category_max_area: float = 1.0,
        ignored_category: int = None,
    ):
        self.crop_aug = RandomCrop(crop_type, crop_size)
        self._init(locals())

    def get_transform(self, image: np.ndarray, sem_seg: np.ndarray) -> Transform:
        if self.single_category_max_area >= 1.0:
            return self.crop_aug.get_transform(image)
        for _ in range(self.TRIES):
            crop = self.crop_aug.get_transform(sem_seg)
            if self._is_varied(crop.apply_segmentation(sem_seg)):
                break
        return crop

    def _is_varied(self, labels: np.ndarray) -> bool:
        categories, areas = np.unique(labels, return_counts=True)
        if self.ignored_category is not None:
            areas = areas[categories != self.ignored_category]
        return len(areas) > 1 and areas.max() < areas.sum() * self.single_category_max_area


class RandomExtent(Augmentation):
    """Takes a rectangle of random size around a random point; what lies outside the image is filled with black.

    scale_range: (min, max) of the rectangle's sides in shares of the image's. shift_range: (x, y), greatest distance
    of the rectangle's centre from the image's, times 2, in shares of the image's width and height.
    """

    def __init__(self, scale_range, shift_range):
        super().__init__()
        self._init(locals())

    def get_transform(self, image: np.ndarray) -> Transform:
        h, w = image.shape[:2]
        scale = np.random.uniform(self.scale_range[0], self.scale_range[1])
        center_x = w * (0.5 + self.shift_range[0] * (np.random.rand() - 0.5))
        center_y = h * (0.5 + self.shift_range[1] * (np.random.rand() - 0.5))
        half_w, half_h = 0.5 * w * scale, 0.5 * h * scale
        return ExtentTransform(
            src_rect=(center_x - half_w, center_y - half_h, center_x + half_w, center_y + half_h),
            output_size=(int(2 * half_h), int(2 * half_w)),
        )


class MinIoURandomCrop(Augmentation):
    """A random crop whose IoU with every box is at least a randomly chosen bound. SSD, arXiv 1512.02325.

    min_ious: the bounds to choose from, beside 0 and "leave the image as it is". min_crop_size: least side of the crop
    in shares of the image's. mode_trials: bounds tried until a crop is found. crop_trials: crops tried for each bound.
    """

    def __init__(self, min_ious=(0.1, 0.3, 0.5, 0.7, 0.9), min_crop_size=0.3, mode_trials=1000, crop_trials=50):
        self._init(locals())
        self.sample_mode = (1, *min_ious, 0)

    def get_transform(self, image: np.ndarray, boxes: np.ndarray | None) -> Transform:
        if boxes is None:
            return NoOpTransform()
        h, w = image.shape[:2]
        boxes = np.asarray(boxes).reshape(-1, 4)
        for _ in range(self.mode_trials):
            mode = np.random.choice(self.sample_mode)
            if mode == 1:
                break
            for _ in range(self.crop_trials):
                crop = self._try_crop(h, w, boxes, mode)
                if crop is not None:
                    return crop
        return NoOpTransform()

    def _try_crop(self, h: int, w: int, boxes: np.ndarray, min_iou: float) -> Transform | None:
        """A random crop if it is good: not too narrow, over all boxes by `min_iou`, with some box's centre inside."""
        crop_w, crop_h = np.random.uniform(self.min_crop_size * w, w), np.random.uniform(self.min_crop_size * h, h)
        if not 0.5 <= crop_h / crop_w <= 2:
            return None
        # between the last possible place and 1, not 0: the reference implementation's draw, kept for equal numbers
        left, top = np.random.uniform(w - crop_w, 1.0), np.random.uniform(h - crop_h, 1.0)
        x0, y0, x1, y1 = patch = np.array((int(left), int(top), int(left + crop_w), int(top + crop_h)))
        if x0 == x1 or y0 == y1:
            return None
        if len(boxes) > 0:
            overlaps = pairwise_iou(Boxes(torch.as_tensor(patch[None])), Boxes(torch.as_tensor(boxes.copy())))  # (1, N)
            if overlaps.min() < min_iou or not _has_center_in(boxes, patch):
                return None
        return CropTransform(int(left), int(top), int(crop_w), int(crop_h))


def _has_center_in(boxes: np.ndarray, patch: np.ndarray) -> bool:
    centers = (boxes[:, :2] + boxes[:, 2:]) / 2  # (N, 2)
    return bool(((centers > patch[:2]) & (centers < patch[2:])).all(axis=1).any())
