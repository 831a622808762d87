"""Augmentations of colour: each blends the image with another one. The image's channels are taken as they come."""

import numpy as np
from fvcore.transforms.transform import BlendTransform, Transform

from det2lite.data.transforms.augmentation import Augmentation

__all__ = ["RandomBrightness", "RandomContrast", "RandomLighting", "RandomSaturation"]

LUMA = np.array((0.299, 0.587, 0.114))  # of R, G, B: ITU-R BT.601

# principal components of the colours of ImageNet's pixels, and their variances. AlexNet, NIPS 2012
LIGHTING_VECTORS = ((-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.8140), (-0.5836, -0.6948, 0.4203))
LIGHTING_VALUES = (0.2175, 0.0188, 0.0045)


class _RandomIntensity(Augmentation):
    """Blends the image with a plain one: intensity 1 keeps it, 0 leaves the plain one, more than 1 exaggerates.

    The intensity is uniform in [intensity_min, intensity_max).
    """

    def __init__(self, intensity_min, intensity_max):
        super().__init__()
        self._init(locals())

    def get_transform(self, image: np.ndarray) -> Transform:
        plain = self._plain(image)
        intensity = np.random.uniform(self.intensity_min, self.intensity_max)
        return BlendTransform(src_image=plain, src_weight=1 - intensity, dst_weight=intensity)

    def _plain(self, image: np.ndarray) -> np.ndarray | float:
        raise NotImplementedError


class RandomContrast(_RandomIntensity):
    """Blends the image with its mean: a lower intensity is less contrast, a higher one more."""

    def _plain(self, image: np.ndarray) -> float:
        return image.mean()


class RandomBrightness(_RandomIntensity):
    """Blends the image with black: a lower intensity is darker, a higher one brighter."""

    def _plain(self, image: np.ndarray) -> float:
        return 0


class RandomSaturation(_RandomIntensity):
    """Blends an RGB image with its grey values: a lower intensity is paler, a higher one more colourful."""

    def _plain(self, image: np.ndarray) -> np.ndarray:
        assert image.shape[-1] == 3, f"RandomSaturation needs 3 channels, the image's shape is {image.shape}"
        return image.dot(LUMA)[:, :, np.newaxis]  # (H, W, 1)


class RandomLighting(Augmentation):
    """Adds a random colour along the principal components of natural images. AlexNet, NIPS 2012.

    scale: standard deviation of the weights of the components; for images in [0, 255] their sizes are in [0, 1].
    """

    def __init__(self, scale):
        super().__init__()
        self._init(locals())
        self.eigen_vecs = np.array(LIGHTING_VECTORS)
        self.eigen_vals = np.array(LIGHTING_VALUES)

    def get_transform(self, image: np.ndarray) -> Transform:
        assert image.shape[-1] == 3, f"RandomLighting needs 3 channels, the image's shape is {image.shape}"
        weights = np.random.normal(scale=self.scale, size=3)
        return BlendTransform(
            src_image=self.eigen_vecs.dot(weights * self.eigen_vals), src_weight=1.0, dst_weight=1.0
        )
