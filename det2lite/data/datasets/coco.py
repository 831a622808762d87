"""Familiar path of what reads, registers and writes data sets in the COCO format."""

from det2lite.data.datasets.coco_loader import load_coco_json, load_sem_seg
from det2lite.data.datasets.coco_writer import convert_to_coco_dict, convert_to_coco_json
from det2lite.data.datasets.register_coco import register_coco_instances

__all__ = [
    "load_coco_json",
    "load_sem_seg",
    "convert_to_coco_dict",
    "convert_to_coco_json",
    "register_coco_instances",
]
