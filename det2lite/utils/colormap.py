"""A palette of colours that differ from each other, and colour arithmetic for drawing.

The palette walks round the hue circle of OKLCH (B. Ottosson, 2020) by the golden angle at alternating
lightness, so that any first N colours are far apart, and all are bright enough to be seen on a photograph.
"""

from functools import lru_cache

import numpy as np

from det2lite.utils.errors import BadValue

__all__ = ["colormap", "random_color", "random_colors"]

PALETTE_SIZE = 80
GOLDEN_ANGLE = np.pi * (3 - np.sqrt(5))
LIGHTNESS = (0.7, 0.82, 0.63, 0.76, 0.56)
CHROMA = 0.3  # of the most vivid colour; each is reduced to what sRGB can show

OKLAB_TO_LMS = np.array(
    [
        [1, 0.3963377774, 0.2158037573],
        [1, -0.1055613458, -0.0638541728],
        [1, -0.0894841775, -1.291485548],
    ]
)
LMS_TO_RGB = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.707614701],
    ]
)


def _oklch_to_linear_rgb(lightness: float, chroma: float, hue: float) -> np.ndarray:
    lab = np.array([lightness, chroma * np.cos(hue), chroma * np.sin(hue)])
    return LMS_TO_RGB @ (OKLAB_TO_LMS @ lab) ** 3


@lru_cache(maxsize=1)
def _palette() -> np.ndarray:
    """The palette as RGB in [0, 1]. Returns (PALETTE_SIZE, 3)."""
    colors = np.empty((PALETTE_SIZE, 3))
    for index in range(PALETTE_SIZE):
        chroma = CHROMA
        lightness = LIGHTNESS[index % len(LIGHTNESS)]
        hue = 0.5 + index * GOLDEN_ANGLE
        color = _oklch_to_linear_rgb(lightness, chroma, hue)
        while color.min() < 0 or color.max() > 1:
            chroma *= 0.95
            color = _oklch_to_linear_rgb(lightness, chroma, hue)
        colors[index] = np.where(color <= 0.0031308, 12.92 * color, 1.055 * color ** (1 / 2.4) - 0.055)
    colors.setflags(write=False)
    return colors


def _checked_maximum(maximum: float) -> float:
    if maximum not in (1, 255):
        raise BadValue(f"maximum of a colour is 1 or 255, not {maximum!r}")
    return maximum


def colormap(rgb: bool = False, maximum: float = 255) -> np.ndarray:
    """The palette, BGR unless `rgb`, floats in [0, maximum]. Returns (80, 3) float32. `maximum` is 1 or 255."""
    colors = (_palette() * _checked_maximum(maximum)).astype(np.float32)
    return colors if rgb else colors[:, ::-1].copy()


def random_color(rgb: bool = False, maximum: float = 255) -> np.ndarray:
    """A colour of the palette drawn at random (numpy's global generator). Returns (3,) float32 in [0, maximum]."""
    return colormap(rgb, maximum)[np.random.randint(PALETTE_SIZE)]


def random_colors(N: int, rgb: bool = False, maximum: float = 255) -> list[np.ndarray]:  # noqa: N803 (public name)
    """N random colours of the palette, without repetition as long as it lasts. Each (3,) float32."""
    rounds = -(-N // PALETTE_SIZE)
    order = np.concatenate([np.random.permutation(PALETTE_SIZE) for _ in range(rounds)] or [np.empty(0, int)])
    return list(colormap(rgb, maximum)[order[:N]])


def palette_color(index: int) -> tuple[float, float, float]:
    """The palette's colour number `index` (it starts again at the end), RGB in [0, 1]."""
    return tuple(float(c) for c in _palette()[index % PALETTE_SIZE])


def luminance(color: tuple[float, ...]) -> float:
    """Perceived brightness of an RGB colour in [0, 1] (Rec. 709 weights on gamma-encoded values)."""
    return 0.2126 * color[0] + 0.7152 * color[1] + 0.0722 * color[2]


def jitter(color: tuple[float, ...], generator: np.random.Generator, strength: float = 0.12) -> tuple[float, ...]:
    """A colour near `color` (RGB in [0, 1]): the same hue to the eye, yet two instances can be told apart."""
    return tuple(np.clip(np.asarray(color[:3]) + generator.uniform(-strength, strength, 3), 0, 1).tolist())


def lighten(color: tuple[float, ...], amount: float) -> tuple[float, ...]:
    """`color` (RGB in [0, 1]) mixed with white (amount > 0) or black (amount < 0), amount in [-1, 1]."""
    target = 1.0 if amount > 0 else 0.0
    return tuple(float(c + (target - c) * abs(amount)) for c in color[:3])
