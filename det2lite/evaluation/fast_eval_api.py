"""The fast COCOeval, by its familiar path."""

from det2lite.evaluation.coco_api import COCOeval_opt

__all__ = ["COCOeval_opt"]
