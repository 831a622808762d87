"""Detections of many images as one COCO file, which says by itself what its images and categories are."""

import json
import os
from typing import Any

from det2lite.apis.classes import Classes
from det2lite.apis.result import DetectionResult
from det2lite.utils.file_io import atomic_write


class CocoFile:
    """Collects results; `write` makes a file with images, categories, and annotations that have a score.

    Image ids count from 1 in the order of `add`. Category ids are those of the data that the model was trained on.
    """

    def __init__(self, classes: Classes):
        self._classes = classes
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []
        self._seen: set[int] = set()  # classes

    def add(self, file_name: str, result: DetectionResult, **more: Any) -> None:
        """The detections of one image. more: further entries of the image."""
        height, width = result.image_size
        image_id = len(self._images) + 1
        self._images.append({"id": image_id, "file_name": file_name, "height": height, "width": width, **more})
        self._seen.update(result.class_ids.tolist())
        if result.cropped_masks is not None:
            areas = result.cropped_masks.areas().tolist()
        elif result.rotated_boxes is not None:
            areas = result.rotated_boxes[:, 2:4].prod(axis=1).tolist()
        else:
            areas = (result.boxes[:, 2:] - result.boxes[:, :2]).prod(axis=1).tolist()
        for entry, area in zip(result.to_coco(image_id), areas, strict=True):
            number = len(self._annotations) + 1
            self._annotations.append({"id": number, **entry, "area": area, "iscrowd": 0})

    def write(self, path: str | os.PathLike) -> None:
        """The whole file, or none."""
        known = self._classes.categories() or [
            {"id": self._classes.category_id(k), "name": self._classes.name(k)} for k in sorted(self._seen)
        ]
        content = {"images": self._images, "categories": known, "annotations": self._annotations}
        with atomic_write(path) as file:
            json.dump(content, file, ensure_ascii=False)
