"""Masks of objects, by their familiar path: the three classes live in modules of their own."""

import importlib

from det2lite.structures.bitmasks import BitMasks
from det2lite.structures.boxes import Boxes
from det2lite.structures.polygons import (
    PolygonMasks,
    polygon_area,
    polygons_to_bitmask,
    rasterize_polygons_within_box,
)
from det2lite.structures.roi_masks import ROIMasks

__all__ = [
    "BitMasks",
    "Boxes",
    "PolygonMasks",
    "ROIMasks",
    "polygon_area",
    "polygons_to_bitmask",
    "rasterize_polygons_within_box",
]

_LIVES_IN = {"ROIAlign": "det2lite.layers.roi_align", "retry_if_cuda_oom": "det2lite.utils.memory"}


def __getattr__(name: str):
    if name in _LIVES_IN:
        return getattr(importlib.import_module(_LIVES_IN[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
