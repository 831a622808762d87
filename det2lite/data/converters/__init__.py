"""Data sets of other formats become COCO JSON, and COCO becomes YOLO and Pascal VOC."""

from det2lite.data.converters.conversion import convert, convert_to_coco
from det2lite.data.converters.layout import DataLayout, recognise_layout
from det2lite.data.converters.report import CocoSplit, ConversionReport

__all__ = ["CocoSplit", "ConversionReport", "DataLayout", "convert", "convert_to_coco", "recognise_layout"]
