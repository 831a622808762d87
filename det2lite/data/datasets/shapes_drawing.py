"""Drawing in whole numbers only, so that the same seed gives the same pixels on every machine.

Floating-point libraries differ in the last bit between machines, and numpy's own samplers may change between
versions. Here every random number is an integer taken from the raw PCG64 stream, whose values numpy guarantees,
and every line and colour is integer arithmetic. Coordinates are in eighths of a pixel; (0, 0) is the top left
corner of the top left pixel, whose centre is (4, 4).
"""

from collections.abc import Sequence

import numpy as np

UNITS = 8  # units of a coordinate per pixel
SAMPLES = 4  # coverage is sampled on SAMPLES x SAMPLES points of a pixel
FULL_COVERAGE = SAMPLES * SAMPLES
TURN = 360  # directions are whole degrees
_ONE = 1 << 14  # fixed-point 1 of the direction table

_RADIANS = np.arange(TURN) * (2 * np.pi / TURN)
# Rounding to 14 bits hides the last bit in which the machines' sines differ.
_COSINE = np.rint(np.cos(_RADIANS) * _ONE).astype(np.int64)
_SINE = np.rint(np.sin(_RADIANS) * _ONE).astype(np.int64)


class Dice:
    """Random whole numbers from the raw PCG64 stream of a key such as (seed, split, index)."""

    def __init__(self, key: Sequence[int]):
        self._bits = np.random.PCG64(list(key))

    def integers(self, low: int, high: int, shape: tuple[int, ...]) -> np.ndarray:
        """int64 array of numbers in [low, high]."""
        raw = self._bits.random_raw(int(np.prod(shape))) >> np.uint64(16)  # 48 bits: the modulo's bias is nil
        return (raw % np.uint64(high - low + 1)).astype(np.int64).reshape(shape) + low

    def integer(self, low: int, high: int) -> int:
        """A number in [low, high]."""
        return low + (int(self._bits.random_raw()) >> 16) % (high - low + 1)

    def chance(self, percent: int) -> bool:
        return self.integer(0, 99) < percent

    def choose(self, items: Sequence):
        return items[self.integer(0, len(items) - 1)]


def direction(degrees: int) -> tuple[int, int]:
    """Cosine and sine in 1/16384."""
    return int(_COSINE[degrees % TURN]), int(_SINE[degrees % TURN])


def turned(points: np.ndarray, degrees: int) -> np.ndarray:
    """Points (N, 2) turned about the origin, clockwise as y points down."""
    cosine, sine = direction(degrees)
    x, y = points[:, 0], points[:, 1]
    return np.stack([x * cosine - y * sine, x * sine + y * cosine], axis=1) // _ONE


def on_circle(radius: int, degrees: Sequence[int]) -> np.ndarray:
    """The points (N, 2) of a circle about the origin in the given directions."""
    turns = np.asarray(degrees) % TURN
    return np.stack([_COSINE[turns], _SINE[turns]], axis=1) * radius // _ONE


def coverage(polygon: np.ndarray, height: int, width: int) -> np.ndarray:
    """How many of a pixel's 16 sample points lie in the polygon. polygon: (N, 2) XY units. Returns (height, width).

    A sample point on an edge belongs to the polygon right of it or below; even-odd rule.
    """
    step, first = UNITS // SAMPLES, UNITS // SAMPLES // 2  # sample points lie at first + step * k
    rows, columns = height * SAMPLES, width * SAMPLES
    (x0, y0), (x1, y1) = polygon.T[..., None], np.roll(polygon, -1, axis=0).T[..., None]  # (N, 1) each
    y = first + step * np.arange(rows)
    edge, row = np.nonzero((np.minimum(y0, y1) <= y) & (y < np.maximum(y0, y1)))  # (C,) crossings
    x0, y0, x1, y1 = x0[edge, 0], y0[edge, 0], x1[edge, 0], y1[edge, 0]
    rise = np.abs(y1 - y0)
    # x of the crossing times `rise`, so that nothing is rounded before the comparison
    crossing = x0 * rise + (y[row] - y0) * (x1 - x0) * np.sign(y1 - y0)
    column = np.clip(-((first * rise - crossing) // (step * rise)), 0, columns)
    flips = np.bincount(row * (columns + 1) + column, minlength=rows * (columns + 1)).reshape(rows, columns + 1)
    inside = np.cumsum(flips[:, :-1], axis=1) & 1
    return inside.reshape(height, SAMPLES, width, SAMPLES).sum(axis=(1, 3))


def window(polygon: np.ndarray, height: int, width: int) -> tuple[slice, slice]:
    """Rows and columns of a picture that the polygon (N, 2) XY units can touch; may be empty."""
    (left, top), (right, bottom) = polygon.min(axis=0) // UNITS, -(-polygon.max(axis=0) // UNITS)
    rows, columns = np.clip([top, bottom], 0, height), np.clip([left, right], 0, width)
    return slice(int(rows[0]), int(rows[1])), slice(int(columns[0]), int(columns[1]))


def coverage_in(polygon: np.ndarray, rows: slice, columns: slice) -> np.ndarray:
    """`coverage` of that part of the picture only."""
    corner = np.array([columns.start, rows.start]) * UNITS
    return coverage(polygon - corner, rows.stop - rows.start, columns.stop - columns.start)


def area_of(polygon: np.ndarray) -> int:
    """Area in whole pixels of a polygon (N, 2) XY units."""
    (x0, y0), (x1, y1) = polygon.T, np.roll(polygon, -1, axis=0).T
    return abs(int((x0 * y1 - x1 * y0).sum())) // (2 * UNITS * UNITS)


def blend(below: np.ndarray, above: np.ndarray, weight: np.ndarray, full: int = FULL_COVERAGE) -> np.ndarray:
    """`above` over `below` where weight is full. below, above: broadcast to (H, W, 3); weight: (H, W) of 0..full."""
    weight = weight[..., None]
    return (below * (full - weight) + above * weight + full // 2) // full


def ramp(height: int, width: int, degrees: int) -> np.ndarray:
    """A field (height, width) that rises by 8 per pixel in the direction."""
    cosine, sine = direction(degrees)
    y, x = np.mgrid[:height, :width]
    return (x * cosine + y * sine) * UNITS // _ONE


def clouds(dice: Dice, height: int, width: int, cell: int) -> np.ndarray:
    """Smooth noise of 0..255, (height, width): random values every `cell` pixels, linear between."""
    knots = dice.integers(0, 255, (height // cell + 2, width // cell + 2))
    y, x = np.arange(height), np.arange(width)
    dy, dx = (y % cell)[:, None], x % cell
    row, column = (y // cell)[:, None], x // cell
    top = knots[row, column] * (cell - dx) + knots[row, column + 1] * dx
    bottom = knots[row + 1, column] * (cell - dx) + knots[row + 1, column + 1] * dx
    return (top * (cell - dy) + bottom * dy) // (cell * cell)


def stripes(height: int, width: int, degrees: int, period: int) -> np.ndarray:
    """Stripes of 0..255 with soft edges, (height, width); period in pixels."""
    phase = ramp(height, width, degrees) % (period * UNITS)
    triangle = np.abs(2 * phase - period * UNITS)  # (H, W) 0..period * UNITS
    return np.clip((triangle * 2 - period * UNITS) * 12 + 128, 0, 255)


def checks(height: int, width: int, degrees: int, period: int) -> np.ndarray:
    """A chessboard of 0..255, (height, width), with squares of half a period."""
    across, along = stripes(height, width, degrees, period), stripes(height, width, degrees + 90, period)
    return (across * (255 - along) + (255 - across) * along) // 255


def grown(mask: np.ndarray, pixels: int) -> np.ndarray:
    """The bool mask (H, W) made larger by `pixels` in the four directions, corners cut."""
    for _ in range(pixels):
        padded = np.pad(mask, 1)
        mask = mask | padded[:-2, 1:-1] | padded[2:, 1:-1] | padded[1:-1, :-2] | padded[1:-1, 2:]
    return mask
