"""Metrics of semantic segmentation."""

import json
import logging
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from det2lite.data import DatasetCatalog, MetadataCatalog
from det2lite.data.detection_utils import read_image
from det2lite.evaluation.coco_results import encode_masks
from det2lite.evaluation.evaluator import DatasetEvaluator
from det2lite.evaluation.sem_seg_numbers import boundary_iou, boundary_pixels, count_pixels, sem_seg_scores
from det2lite.utils import comm
from det2lite.utils.errors import BadValue
from det2lite.utils.file_io import atomic_write
from det2lite.utils.logger import create_small_table

__all__ = ["SemSegEvaluator", "load_image_into_numpy_array"]

logger = logging.getLogger(__name__)


def load_image_into_numpy_array(filename: str, copy: bool = False, dtype: Any = None) -> np.ndarray:
    """The pixels of an image file as they are stored, (H, W) for a label map. copy: as `numpy.array` has it."""
    return np.array(read_image(filename), copy=True if copy else None, dtype=dtype)


class SemSegEvaluator(DatasetEvaluator):
    """IoU and accuracy of semantic segmentation, of all classes together and of each, and the IoU of boundaries.

    `evaluate` returns `{"sem_seg": {"mIoU": ..., "fwIoU": ..., "IoU-<class>": ..., "BoundaryIoU-<class>": ...,
    "min(IoU, B-Iou)-<class>": ..., "mACC": ..., "pACC": ..., "ACC-<class>": ...}}`, all 0..100, nan for a class that
    the ground truth does not have. Boundaries: Boundary IoU, arXiv 2103.16562.
    """

    def __init__(
        self,
        dataset_name: str,
        distributed: bool = True,
        output_dir: str | os.PathLike | None = None,
        *,
        sem_seg_loading_fn: Callable = load_image_into_numpy_array,
        num_classes: int | None = None,
        ignore_label: int | None = None,
    ):
        """dataset_name: its samples have `sem_seg_file_name`, its metadata `stuff_classes` and `ignore_label`.

        distributed: collect the counts of all processes. output_dir: where predictions and results are written.
        sem_seg_loading_fn: `(file name, dtype=...) -> (H, W)` classes. num_classes, ignore_label: replace what the
        metadata says, for data sets without it.
        """
        self._metadata = MetadataCatalog.get(dataset_name)
        self._distributed = distributed
        self._output_dir = os.fspath(output_dir) if output_dir is not None else None
        self._load = sem_seg_loading_fn
        # loading a data set may be what sets its metadata
        self.input_file_to_gt_file = _truth_files(dataset_name)
        classes = self._metadata.get("stuff_classes")
        if classes is None and num_classes is None:
            raise BadValue(f"data set {dataset_name!r} has no stuff_classes in its metadata, which are needed")
        self._num_classes = len(classes) if num_classes is None else num_classes
        self._class_names = list(classes) if classes is not None else [str(i) for i in range(self._num_classes)]
        if len(self._class_names) != self._num_classes:
            raise BadValue(f"num_classes is {num_classes}, but data set {dataset_name!r} has {len(classes)} classes")
        self._ignore_label = self._metadata.get("ignore_label") if ignore_label is None else ignore_label
        mapping = self._metadata.get("stuff_dataset_id_to_contiguous_id")
        self._original_id = {v: k for k, v in mapping.items()} if mapping is not None else None
        self.reset()

    def reset(self) -> None:
        side = self._num_classes + 1
        self._counts = np.zeros((side, side), np.int64)
        self._boundary_counts = np.zeros((side, side), np.int64)
        self._predictions: list[dict] = []

    def process(self, inputs: list[dict], outputs: list[dict]) -> None:
        """inputs: dicts with `file_name`. outputs: dicts with `sem_seg`, scores (K, H, W)."""
        for input, output in zip(inputs, outputs, strict=True):
            file_name = input["file_name"]
            predicted = output["sem_seg"].argmax(dim=0).to(torch.int32).cpu().numpy()  # (H, W)
            if predicted.size and predicted.max() >= self._num_classes:
                raise BadValue(
                    f"a prediction has class {predicted.max()}, but data set {self._metadata.name!r} has "
                    f"{self._num_classes} classes, numbered from 0; does MODEL.SEM_SEG_HEAD.NUM_CLASSES fit?"
                )
            truth = self._truth(file_name, predicted.shape)
            self._counts += count_pixels(predicted, truth, self._num_classes)
            self._boundary_counts += self._count_boundaries(predicted, truth)
            self._predictions.extend(self.encode_json_sem_seg(predicted, file_name))

    def _truth(self, file_name: str, shape: tuple[int, int]) -> np.ndarray:
        """(H, W) true classes, those to ignore as class K."""
        path = self.input_file_to_gt_file.get(file_name)
        if path is None:
            raise BadValue(f"{file_name}: the image is not in data set {self._metadata.name!r}, or has no semantic map")
        truth = self._load(path, dtype=np.int64)
        if truth.shape != shape:
            raise BadValue(f"{path}: the map is of shape {truth.shape}, the prediction for {file_name} of {shape}")
        if self._ignore_label is not None:
            truth = np.where(truth == self._ignore_label, self._num_classes, truth)
        if truth.size and not 0 <= truth.min() <= truth.max() <= self._num_classes:
            wrong = truth.max() if truth.min() >= 0 else truth.min()
            raise BadValue(
                f"{path}: a pixel has label {wrong}, but there are {self._num_classes} classes, numbered from 0, and "
                f"{self._ignore_label} to ignore"
            )
        return truth

    def _count_boundaries(self, predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
        ignored = truth == self._num_classes
        predicted = np.where(boundary_pixels(predicted) & ~ignored, predicted, self._num_classes)
        return count_pixels(predicted, np.where(boundary_pixels(truth), truth, self._num_classes), self._num_classes)

    def encode_json_sem_seg(self, sem_seg: np.ndarray, input_file_name: str) -> list[dict[str, Any]]:
        """The regions of a map (H, W) of classes as COCO's stuff results: `file_name`, `category_id`, `segmentation`.

        `category_id` is the data set's own where it has such.
        """
        labels = np.unique(sem_seg)
        masks = encode_masks(sem_seg[None] == labels[:, None, None])
        return [
            {"file_name": input_file_name, "category_id": self._category_id(int(label)), "segmentation": mask}
            for label, mask in zip(labels, masks, strict=True)
        ]

    def _category_id(self, label: int) -> int:
        if self._original_id is None:
            return label
        if label not in self._original_id:
            raise BadValue(f"a pixel has class {label}, which is none of those of data set {self._metadata.name!r}")
        return self._original_id[label]

    def evaluate(self) -> dict[str, dict[str, float]] | None:
        counts, boundary_counts, predictions = self._counts, self._boundary_counts, self._predictions
        if self._distributed:
            comm.synchronize()
            parts = comm.gather((counts, boundary_counts, predictions), dst=0)
            if not comm.is_main_process():
                return None
            counts, boundary_counts = (np.sum([part[i] for part in parts], axis=0) for i in range(2))
            predictions = [prediction for part in parts for prediction in part[2]]
        results = self._results(counts, boundary_counts)
        if self._output_dir:
            with atomic_write(os.path.join(self._output_dir, "sem_seg_predictions.json")) as file:
                file.write(json.dumps(predictions))
            with atomic_write(os.path.join(self._output_dir, "sem_seg_evaluation.pth"), "wb") as file:
                torch.save(results, file)
        main = {name: value for name, value in results.items() if "-" not in name}
        logger.info("Evaluation results for sem_seg: \n%s", create_small_table(main))
        logger.info("Per-class results for sem_seg: \n%s", self._table(results))
        return {"sem_seg": results}

    def _results(self, counts: np.ndarray, boundary_counts: np.ndarray) -> dict[str, float]:
        scores, boundary = sem_seg_scores(counts), boundary_iou(boundary_counts)
        results = {"mIoU": 100 * scores.miou, "fwIoU": 100 * scores.fwiou}
        for name, iou, of_boundary in zip(self._class_names, scores.iou, boundary, strict=True):
            results[f"IoU-{name}"] = 100 * float(iou)
            results[f"BoundaryIoU-{name}"] = 100 * float(of_boundary)
            results[f"min(IoU, B-Iou)-{name}"] = 100 * float(np.minimum(iou, of_boundary))
        results |= {"mACC": 100 * scores.macc, "pACC": 100 * scores.pacc}
        return results | {
            f"ACC-{name}": 100 * float(acc) for name, acc in zip(self._class_names, scores.acc, strict=True)
        }

    def _table(self, results: dict[str, float]) -> str:
        from tabulate import tabulate

        columns = ("IoU", "BoundaryIoU", "ACC")
        rows = [[name, *(results[f"{column}-{name}"] for column in columns)] for name in self._class_names]
        return tabulate(rows, headers=["class", *columns], tablefmt="pipe", floatfmt=".3f", numalign="left")


def _truth_files(dataset_name: str) -> dict[str, str]:
    samples = DatasetCatalog.get(dataset_name)
    without = next((s["file_name"] for s in samples if "sem_seg_file_name" not in s), None)
    if without is not None:
        raise BadValue(f"data set {dataset_name!r}: image {without} has no sem_seg_file_name to compare a map with")
    return {sample["file_name"]: sample["sem_seg_file_name"] for sample in samples}
