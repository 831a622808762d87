"""Pascal VOC's metric of boxes."""

import logging
from typing import Any

import numpy as np

from det2lite.data import MetadataCatalog
from det2lite.data.datasets.pascal_voc import read_voc_image_names, read_voc_objects
from det2lite.evaluation.coco_numbers import per_category_table
from det2lite.evaluation.evaluator import DatasetEvaluator
from det2lite.evaluation.pascal_voc_files import parse_rec, voc_ap, voc_eval
from det2lite.evaluation.pascal_voc_numbers import VocBoxes, average_precision, match_detections
from det2lite.evaluation.to_host import to_host
from det2lite.utils import comm
from det2lite.utils.errors import BadValue
from det2lite.utils.file_io import PathManager
from det2lite.utils.logger import create_small_table

__all__ = ["PascalVOCDetectionEvaluator", "parse_rec", "voc_ap", "voc_eval"]

logger = logging.getLogger(__name__)

_THRESHOLDS = range(50, 100, 5)  # percent of IoU


class PascalVOCDetectionEvaluator(DatasetEvaluator):
    """AP of boxes by the protocol of Pascal VOC, that of 2007 (11 points) or of 2012, as the data set's `year` says.

    `evaluate` returns `{"bbox": {"AP": mean over IoU 0.5:0.95, "AP50", "AP75"}}`, 0..100, each a mean over the classes
    that have objects. It follows the official tool, but is not it.
    """

    def __init__(self, dataset_name: str):
        """dataset_name: its metadata has `dirname`, `split`, `year` and `thing_classes`; see `register_pascal_voc`."""
        self._metadata = MetadataCatalog.get(dataset_name)
        self._dirname = PathManager.get_local_path(self._metadata.dirname)
        self._class_names = list(self._metadata.thing_classes)
        if self._metadata.year not in (2007, 2012):
            raise BadValue(f"data set {dataset_name!r}: year is 2007 or 2012, not {self._metadata.year!r}")
        self._eleven_points = self._metadata.year == 2007
        self._predictions: list[tuple[str, np.ndarray]] = []

    def reset(self) -> None:
        self._predictions = []

    def process(self, inputs: list[dict], outputs: list[dict]) -> None:
        """inputs: dicts with `image_id`, the image's name. outputs: dicts with `instances`."""
        for input, instances in zip(inputs, to_host([output["instances"] for output in outputs]), strict=True):
            columns = [
                instances.pred_classes.numpy()[:, None],
                instances.scores.numpy()[:, None],
                instances.pred_boxes.tensor.numpy(),
            ]
            self._predictions.append((input["image_id"], np.concatenate(columns, axis=1, dtype=np.float64)))

    def evaluate(self) -> dict[str, dict[str, float]] | None:
        predictions = [p for part in comm.gather(self._predictions, dst=0) for p in part]
        if not comm.is_main_process():
            return None
        logger.info(
            "Evaluating %s using the metric of VOC %d. Note that results do not use the official Matlab API.",
            self._metadata.name,
            self._metadata.year,
        )
        ap = self._ap_by_class(predictions)  # (K, T)
        has_objects = ~np.isnan(ap).all(axis=1)
        means = dict(zip(_THRESHOLDS, ap[has_objects].mean(axis=0) if has_objects.any() else ap[0], strict=True))
        results = {"AP": float(np.mean(list(means.values()))), "AP50": float(means[50]), "AP75": float(means[75])}
        logger.info("Evaluation results for bbox: \n%s", create_small_table(results))
        by_class = dict(zip(self._class_names, ap.mean(axis=1).tolist(), strict=True))
        logger.info("Per-category bbox AP: \n%s", per_category_table(by_class))
        return {"bbox": results}

    def _ap_by_class(self, predictions: list[tuple[str, np.ndarray]]) -> np.ndarray:
        """(K, T) AP 0..100 of each class at each threshold."""
        image_names = read_voc_image_names(self._dirname, self._metadata.split)
        truths, labels, difficult = self._objects(image_names)
        detections, predicted_labels, scores = self._detections(predictions, image_names)
        ap = np.empty((len(self._class_names), len(_THRESHOLDS)))
        for label in range(len(self._class_names)):
            own, wanted = predicted_labels == label, labels == label
            hard = difficult[wanted]
            matches = match_detections(_choose(detections, own), scores[own], _choose(truths, wanted), hard)
            num_objects = int((~hard).sum())
            for i, threshold in enumerate(_THRESHOLDS):
                ap[label, i] = 100 * average_precision(
                    matches, num_objects, threshold / 100, eleven_points=self._eleven_points
                )
        return ap

    def _objects(self, image_names: list[str]) -> tuple[VocBoxes, np.ndarray, np.ndarray]:
        """Objects of the known classes: boxes, classes (M,), difficult (M,)."""
        index_of = {name: i for i, name in enumerate(self._class_names)}
        rows = [
            (number, index_of[found.name], found.difficult, *found.corners)
            for number, name in enumerate(image_names)
            for found in read_voc_objects(self._dirname, name)
            if found.name in index_of
        ]
        table = np.array(rows, dtype=np.float64).reshape(-1, 7)
        return VocBoxes(image=table[:, 0], corners=table[:, 3:]), table[:, 1], table[:, 2].astype(bool)

    def _detections(
        self, predictions: list[tuple[str, np.ndarray]], image_names: list[str]
    ) -> tuple[VocBoxes, np.ndarray, np.ndarray]:
        """Detections: boxes, classes (N,), scores (N,)."""
        number_of = {name: number for number, name in enumerate(image_names)}
        tables = [np.zeros((0, 7))]
        for name, table in predictions:
            if name not in number_of:
                raise BadValue(f"image {name!r} of the predictions is not in data set {self._metadata.name!r}")
            tables.append(np.insert(table, 0, number_of[name], axis=1))
        table = np.concatenate(tables)
        table = table[np.isfinite(table).all(axis=1)]
        # the result files of VOC, by which its numbers are defined, have 3 digits of a score and 1 of a coordinate;
        # pixels count from 1
        corners = np.round(table[:, 3:] + [1, 1, 0, 0], 1)
        return VocBoxes(image=table[:, 0], corners=corners), table[:, 1], np.round(table[:, 2], 3)


def _choose(boxes: VocBoxes, chosen: Any) -> VocBoxes:
    return VocBoxes(image=boxes.image[chosen], corners=boxes.corners[chosen])
