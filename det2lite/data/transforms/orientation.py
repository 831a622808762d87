"""Augmentations that flip or rotate, and the one that applies another only sometimes."""

import numpy as np
from fvcore.transforms.transform import HFlipTransform, NoOpTransform, Transform, VFlipTransform

from det2lite.data.transforms.augmentation import AugInput, Augmentation, as_augmentation
from det2lite.data.transforms.transform import RotationTransform
from det2lite.utils.errors import BadValue

__all__ = ["RandomApply", "RandomFlip", "RandomRotation"]


class RandomApply(Augmentation):
    """Applies a transform or augmentation with probability `prob`, else nothing."""

    def __init__(self, tfm_or_aug, prob=0.5):
        super().__init__()
        assert 0.0 <= prob <= 1.0, f"prob is a probability, in [0, 1], not {prob}"
        self.aug = as_augmentation(tfm_or_aug)
        self.tfm_or_aug = tfm_or_aug
        self.prob = prob

    def get_transform(self, *args) -> Transform:
        return self.aug.get_transform(*args) if self._happens() else NoOpTransform()

    def __call__(self, aug_input: AugInput) -> Transform:
        return self.aug(aug_input) if self._happens() else NoOpTransform()

    def _happens(self) -> bool:
        return self._rand_range() < self.prob


class RandomFlip(Augmentation):
    """Flips horizontally or vertically with probability `prob`. For both, apply two of them."""

    def __init__(self, prob=0.5, *, horizontal=True, vertical=False):
        super().__init__()
        if horizontal == vertical:
            raise BadValue(
                "RandomFlip flips either horizontally or vertically, set just one of the two; "
                "apply two RandomFlip for both"
            )
        self._init(locals())

    def get_transform(self, image: np.ndarray) -> Transform:
        h, w = image.shape[:2]
        if self._rand_range() >= self.prob:
            return NoOpTransform()
        return HFlipTransform(w) if self.horizontal else VFlipTransform(h)


class RandomRotation(Augmentation):
    """Rotates counter-clockwise by a random angle, around a random point.

    angle: degrees; bounds [min, max] with sample_style "range", angles to choose from with "choice"; one number is
    always taken. expand: the output grows to hold the rotated image. center: points (x, y) in shares of the image's
    width and height, as `angle`: two corners of a rectangle, a list, or one point; the image's centre if None.
    interp: a cv2 interpolation method; bilinear if None.
    """

    def __init__(self, angle, expand=True, center=None, sample_style="range", interp=None):
        super().__init__()
        assert sample_style in ("range", "choice"), f"sample_style is 'range' or 'choice', not {sample_style!r}"
        self.is_range = sample_style == "range"
        if isinstance(angle, (float, int)):
            angle = (angle, angle)
        if center is not None and isinstance(center[0], (float, int)):
            center = (center, center)
        self._init(locals())

    def get_transform(self, image: np.ndarray) -> Transform:
        h, w = image.shape[:2]
        angle, center = self._draw()
        if angle % 360 == 0:
            return NoOpTransform()
        if center is not None:
            center = (w * center[0], h * center[1])
        return RotationTransform(h, w, angle, expand=self.expand, center=center, interp=self.interp)

    def _draw(self) -> tuple[float, tuple[float, float] | None]:
        """A random angle and, if the centre is chosen at all, a random centre in shares of the image."""
        angle = float(np.random.uniform(*self.angle) if self.is_range else np.random.choice(self.angle))
        if self.center is None:
            return angle, None
        if not self.is_range:
            return angle, self.center[np.random.randint(len(self.center))]
        (x0, y0), (x1, y1) = self.center
        return angle, (np.random.uniform(x0, x1), np.random.uniform(y0, y1))
