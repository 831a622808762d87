"""Keeps the predictions of a test run in one file: JSON in the COCO format, or a pickle of arrays."""

import os
import pickle
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from det2lite.evaluation.coco_results import encode_masks, instances_to_coco_json
from det2lite.evaluation.evaluator import DatasetEvaluator
from det2lite.evaluation.result_files import results_as_json
from det2lite.evaluation.to_host import to_host
from det2lite.structures import Instances
from det2lite.utils import comm
from det2lite.utils.errors import BadValue
from det2lite.utils.file_io import atomic_write

ENDINGS = (".json", ".pkl", ".pickle")


class PredictionKeeper(DatasetEvaluator):
    """Writes what a model finds to `path`, whole or not at all; gives no metrics.

    .json: a list of {image_id, category_id, bbox (XYWH), score, segmentation (RLE), keypoints}, as COCO's servers take.
    .pkl: {"class_names", "category_ids", "images": [{"image_id", "file_name", "height", "width", "boxes" (N, 4) XYXY,
    "scores" (N,), "classes" (N,), "masks" (RLE), "keypoints" (N, K, 3)}, ...]}, in the order of the data set.
    category_ids: what the data set calls the classes 0..K-1; empty where that are their own numbers.
    """

    def __init__(self, path: str | os.PathLike, *, class_names: Sequence[str] = (), category_ids: Sequence[int] = ()):
        self._path = os.fspath(path)
        check_ending(self._path)
        self._class_names, self._category_ids = list(class_names), list(category_ids)
        self._found: list[Any] = []  # of each image: arrays, or JSON

    @property
    def _as_json(self) -> bool:
        return self._path.endswith(".json")

    def reset(self) -> None:
        self._found = []

    def process(self, inputs: list[dict], outputs: list[dict]) -> None:
        if not all("instances" in output for output in outputs):
            raise BadValue(f"this model finds no instances, which are what {self._path} would keep; leave it out")
        for image, instances in zip(inputs, to_host([output["instances"] for output in outputs]), strict=True):
            self._found.append(self._coco_entries(instances, image) if self._as_json else _arrays(instances, image))

    def _coco_entries(self, instances: Instances, image: Mapping[str, Any]) -> bytes:
        """JSON of the image's entries, between the brackets of a list."""
        entries = instances_to_coco_json(instances, image["image_id"])
        ids = self._category_ids
        entries = [{**e, "category_id": ids[e["category_id"]]} for e in entries] if ids else entries
        return results_as_json(entries)[1:-1]

    def evaluate(self) -> None:
        parts = comm.gather(self._found, dst=0)
        if not comm.is_main_process():
            return
        found = [entry for part in parts for entry in part]
        if self._as_json:
            with atomic_write(self._path, "wb") as file:
                file.write(b"[" + b",".join(entries for entries in found if entries) + b"]")
            return
        content = {"class_names": self._class_names, "category_ids": self._category_ids, "images": found}
        with atomic_write(self._path, "wb") as file:
            pickle.dump(content, file)


def check_ending(path: str) -> None:
    """Raises `BadValue` for a name that says none of the formats."""
    if not path.endswith(ENDINGS):
        raise BadValue(f"{path}: predictions are kept as {', '.join(ENDINGS)}; give it one of these endings")


def _arrays(instances: Instances, image: Mapping[str, Any]) -> dict[str, Any]:
    entry = {key: image.get(key) for key in ("image_id", "file_name", "height", "width")}
    entry["boxes"] = instances.pred_boxes.tensor.numpy().astype(np.float32)  # (N, 4)
    entry["scores"] = instances.scores.numpy()
    entry["classes"] = instances.pred_classes.numpy()
    if instances.has("pred_masks"):
        entry["masks"] = encode_masks(getattr(instances.pred_masks, "tensor", instances.pred_masks))
    if instances.has("pred_keypoints"):
        keypoints = instances.pred_keypoints
        entry["keypoints"] = getattr(keypoints, "tensor", keypoints).numpy()  # (N, K, 3)
    return entry
