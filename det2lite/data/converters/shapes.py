"""Shapes that annotation tools draw, as polygons and masks; coordinates in pixels, as the tools wrote them."""

import base64
import binascii
import io
import math

import numpy as np
import pycocotools.mask as mask_util
import shapely
from PIL import Image

TOLERANCE = 0.1
"""How far, in pixels, an outline of straight edges may run inside the curve that it stands for."""
MAX_MASK_SIDE = 1 << 16
MAX_CORNERS = 720


def ellipse(
    x: float, y: float, radius_x: float, radius_y: float, angle: float = 0.0
) -> tuple[list[float], tuple[float, float, float, float]]:
    """An ellipse as flat polygon, and the exact box around it, XYXY. angle: radians, from x towards y."""
    radius = max(abs(radius_x), abs(radius_y), TOLERANCE)
    step_angle = math.acos(1 - min(TOLERANCE / radius, 1.0))
    count = 4 * min(max(math.ceil(math.pi / max(step_angle, 1e-3) / 4), 4), MAX_CORNERS // 4)
    cos, sin = math.cos(angle), math.sin(angle)
    polygon = []
    for step in range(count):
        along = radius_x * math.cos(2 * math.pi * step / count)
        across = radius_y * math.sin(2 * math.pi * step / count)
        polygon += [x + along * cos - across * sin, y + along * sin + across * cos]
    half_x = math.hypot(radius_x * cos, radius_y * sin)
    half_y = math.hypot(radius_x * sin, radius_y * cos)
    return polygon, (x - half_x, y - half_y, x + half_x, y + half_y)


def turned_box(box: tuple[float, float, float, float], degrees: float) -> list[float]:
    """The corners of a box XYXY that is turned clockwise around its centre, as flat polygon."""
    x0, y0, x1, y1 = box
    x, y = (x0 + x1) / 2, (y0 + y1) / 2
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    corners = ((x0 - x, y0 - y), (x1 - x, y0 - y), (x1 - x, y1 - y), (x0 - x, y1 - y))
    return [v for dx, dy in corners for v in (x + dx * cos - dy * sin, y + dx * sin + dy * cos)]


def encode_mask(mask: np.ndarray) -> dict:
    """(H, W) booleans as a run-length mask that JSON takes."""
    rle = mask_util.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": [int(side) for side in rle["size"]], "counts": rle["counts"].decode("ascii")}


def box_of_mask(rle: dict) -> tuple[float, float, float, float]:
    """The pixels of a run-length mask, XYXY; without area where it is empty."""
    x, y, width, height = mask_util.toBbox(rle).tolist()
    return x, y, x + width, y + height


def paste(crop: np.ndarray, left: int, top: int, size: tuple[int, int]) -> np.ndarray:
    """A crop (h, w) of a mask at its place in an image of (width, height); what lies outside is cut off. (H, W)"""
    width, height = size
    whole = np.zeros((height, width), dtype=bool)
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(left + crop.shape[1], width), min(top + crop.shape[0], height)
    if x1 > x0 and y1 > y0:
        whole[y0:y1, x0:x1] = crop[y0 - top : y1 - top, x0 - left : x1 - left]
    return whole


def mask_of_runs(counts: list[int], width: int, height: int) -> np.ndarray:
    """(height, width) booleans of runs along rows, of zeros first. Raises ValueError where they do not fill it."""
    if not (0 < width <= MAX_MASK_SIDE and 0 < height <= MAX_MASK_SIDE):
        raise ValueError(f"a mask of {width} x {height} pixels")
    if any(count < 0 for count in counts) or sum(counts) != width * height:
        raise ValueError(f"its runs must add up to {width} x {height}")
    values = np.arange(len(counts)) % 2 == 1
    return np.repeat(values, counts).reshape(height, width)


def mask_of_png(text: str) -> np.ndarray:
    """(h, w) booleans of a PNG in base64. Raises ValueError for what is none."""
    try:
        with Image.open(io.BytesIO(base64.b64decode(text, validate=True)), formats=["PNG"]) as picture:
            return np.asarray(picture.convert("L")) > 0
    except (binascii.Error, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"no PNG in base64 ({error})") from None


def outlines_of_mask(rle: dict) -> tuple[list[list[float]], bool]:
    """The edges of a mask's pixels as flat polygons, exact but for holes, which are filled; whether it has holes."""
    mask = mask_util.decode(rle)  # (H, W)
    steps = np.diff(np.pad(mask.astype(np.int8), ((0, 0), (1, 1))), axis=1)
    (rows, starts), (_, ends) = np.nonzero(steps == 1), np.nonzero(steps == -1)
    whole = shapely.union_all(shapely.box(starts, rows, ends, rows + 1))
    pieces = [piece for piece in getattr(whole, "geoms", [whole]) if piece.area > 0]
    corners = [shapely.simplify(shapely.Polygon(piece.exterior), 0).exterior.coords[:-1] for piece in pieces]
    return [[float(v) for point in ring for v in point] for ring in corners], any(piece.interiors for piece in pieces)


def joined(polygons: list[list[float]]) -> list[float]:
    """Several flat polygons as one, by paths of no width between their closest corners."""
    rings = [np.asarray(polygon, dtype=np.float64).reshape(-1, 2) for polygon in polygons]
    whole = rings[0]
    for ring in rings[1:]:
        distances = ((whole[:, None] - ring[None]) ** 2).sum(axis=2)  # (P, Q)
        i, j = np.unravel_index(distances.argmin(), distances.shape)
        whole = np.concatenate([whole[: i + 1], ring[j:], ring[: j + 1], whole[i:]])
    return whole.reshape(-1).tolist()
