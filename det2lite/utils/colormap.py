"""A palette of colours that differ from each other, and colour arithmetic for drawing.

Each colour of the palette is the one farthest, in OKLab (B. Ottosson, 2020), from those before it, among colours
vivid and bright enough to be seen on a photograph; so any first N are well apart.
"""

from functools import lru_cache

import numpy as np

from det2lite.utils.errors import BadValue

__all__ = ["colormap", "random_color", "random_colors"]

PALETTE_SIZE = 80
LIGHTNESS = (0.56, 0.63, 0.7, 0.76, 0.83)
HUES = 60
VIVIDNESS = (1.0, 0.7)  # share of the chroma that sRGB can show
LARGEST_CHROMA = 0.21  # more is glaring over a large object
FIRST = (0.7, 0.1, 0.12)  # orange

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


def _candidates() -> tuple[np.ndarray, np.ndarray]:
    """Colours to choose from. Returns OKLab and linear RGB in [0, 1], (M, 3) each."""
    lightness, share, hue = np.meshgrid(LIGHTNESS, VIVIDNESS, np.arange(HUES) * 2 * np.pi / HUES, indexing="ij")
    chroma = np.linspace(0, LARGEST_CHROMA, 200)[:, None, None, None]

    def to_lab(chroma: np.ndarray) -> np.ndarray:
        return np.stack(np.broadcast_arrays(lightness, chroma * np.cos(hue), chroma * np.sin(hue)), axis=-1)

    rgb = (to_lab(chroma) @ OKLAB_TO_LMS.T) ** 3 @ LMS_TO_RGB.T  # (200, ..., 3)
    shown = ((rgb >= 0) & (rgb <= 1)).all(axis=-1)
    lab = to_lab(np.where(shown, chroma, 0).max(axis=0) * share).reshape(-1, 3)
    return lab, ((lab @ OKLAB_TO_LMS.T) ** 3 @ LMS_TO_RGB.T).clip(0, 1)


@lru_cache(maxsize=1)
def _palette() -> np.ndarray:
    """The palette as RGB in [0, 1]. Returns (PALETTE_SIZE, 3)."""
    lab, linear = _candidates()
    chosen = [int(np.linalg.norm(lab - FIRST, axis=1).argmin())]
    nearest = np.full(len(lab), np.inf)
    while len(chosen) < PALETTE_SIZE:
        nearest = np.minimum(nearest, np.linalg.norm(lab - lab[chosen[-1]], axis=1))
        chosen.append(int(nearest.argmax()))
    linear = linear[chosen]
    colors = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
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
