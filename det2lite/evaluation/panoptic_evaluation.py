"""Panoptic quality, "Panoptic Segmentation", arXiv 1801.00868."""

import io
import json
import logging
import os
import tempfile
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from det2lite.data import MetadataCatalog
from det2lite.data.datasets.coco_reader import read_json
from det2lite.evaluation.evaluator import DatasetEvaluator
from det2lite.utils import comm
from det2lite.utils.errors import BadValue
from det2lite.utils.file_io import PathManager, atomic_write

__all__ = ["COCOPanopticEvaluator"]

logger = logging.getLogger(__name__)

_MAX_ID = 256**3 - 1  # a PNG of the format has three bytes a pixel
_GROUPS = {"All": "", "Things": "_th", "Stuff": "_st"}


class COCOPanopticEvaluator(DatasetEvaluator):
    """PQ, SQ and RQ of segments in COCO's panoptic format.

    `evaluate` returns `{"panoptic_seg": {"PQ", "SQ", "RQ", and each with "_th" for things and "_st" for stuff}}`,
    0..100, nan where there are no categories to average. In `output_dir` it leaves `predictions.json` and the PNG maps
    of its segments in `predictions/`, as COCO's tools expect them.
    """

    def __init__(self, dataset_name: str, output_dir: str | None = None):
        """dataset_name: its metadata has `panoptic_json`, `panoptic_root`, and the maps from its category ids to
        contiguous ones; `label_divisor` for models that give a map of labels alone."""
        self._metadata = MetadataCatalog.get(dataset_name)
        self._original_id = {
            isthing: {v: k for k, v in self._metadata.get(f"{kind}_dataset_id_to_contiguous_id", {}).items()}
            for kind, isthing in (("thing", True), ("stuff", False))
        }
        self._output_dir = os.fspath(output_dir) if output_dir is not None else None
        self._predictions: list[dict] = []

    def reset(self) -> None:
        self._predictions = []

    def process(self, inputs: list[dict], outputs: list[dict]) -> None:
        """inputs: dicts with `file_name` and `image_id`.

        outputs: dicts with `panoptic_seg`: a map (H, W) of segment ids, 0 for none, and a list of segments with `id`,
        `category_id`, and `isthing` where the category is a contiguous one. None in place of the list: the map has
        labels `category * label_divisor + number`, and -1 for none.
        """
        for input, output in zip(inputs, outputs, strict=True):
            ids, segments = output["panoptic_seg"]
            ids = ids.cpu().numpy()
            if segments is None:
                ids, segments = self._segments_of_labels(ids)
            png_name = os.path.splitext(os.path.basename(input["file_name"]))[0] + ".png"
            self._predictions.append(
                {
                    "image_id": input["image_id"],
                    "file_name": png_name,
                    "png_string": _png(ids),
                    "segments_info": [self._with_original_category(segment) for segment in segments],
                }
            )

    def _segments_of_labels(self, labels: np.ndarray) -> tuple[np.ndarray, list[dict]]:
        """Segment ids, 0 for none, and segments of a map of labels."""
        divisor = self._metadata.label_divisor
        found = [int(label) for label in np.unique(labels) if label != -1]
        segments = [
            {"id": label + 1, "category_id": label // divisor, "isthing": label // divisor in self._original_id[True]}
            for label in found
        ]
        return labels + 1, segments

    def _with_original_category(self, segment: Mapping[str, Any]) -> dict[str, Any]:
        segment = dict(segment)
        isthing = segment.pop("isthing", None)
        if isthing is None:  # the category is the data set's own already
            return segment
        original = self._original_id[bool(isthing)]
        if segment["category_id"] not in original:
            kind = "thing" if isthing else "stuff"
            raise BadValue(
                f"a segment has {kind} category {segment['category_id']}, which is none of data set "
                f"{self._metadata.name!r}; do the model's classes fit the data set?"
            )
        segment["category_id"] = original[segment["category_id"]]
        return segment

    def evaluate(self) -> dict[str, dict[str, float]] | None:
        comm.synchronize()
        predictions = [p for part in comm.gather(self._predictions, dst=0) for p in part]
        if not comm.is_main_process():
            return None
        truth = read_json(self._metadata.panoptic_json)
        truth_folder = PathManager.get_local_path(self._metadata.panoptic_root)
        with tempfile.TemporaryDirectory(prefix="panoptic_eval") as temporary:
            folder = os.path.join(self._output_dir or temporary, "predictions")
            annotations = _write_maps(predictions, folder)
            content = {**truth, "annotations": annotations}
            if self._output_dir:
                path = os.path.join(self._output_dir, "predictions.json")
                logger.info("Writing all panoptic predictions to %s and %s ...", path, folder)
                with atomic_write(path) as file:
                    file.write(json.dumps(content))
            quality = _panoptic_quality(truth, content, truth_folder, folder, os.fspath(self._metadata.panoptic_json))
        _print_panoptic_results(quality)
        results = {
            f"{name}{suffix}": _percent(quality[group][name.lower()])
            for group, suffix in _GROUPS.items()
            for name in ("PQ", "SQ", "RQ")
        }
        return {"panoptic_seg": results}


def _png(ids: np.ndarray) -> bytes:
    """A PNG file of segment ids (H, W); an id is R + 256 G + 256^2 B."""
    if ids.size and not 0 <= ids.min() <= ids.max() <= _MAX_ID:
        raise BadValue(f"segment ids are in 0..{_MAX_ID}, not {ids.min()}..{ids.max()}")
    rgb = np.stack([ids >> shift & 255 for shift in (0, 8, 16)], axis=-1).astype(np.uint8)  # (H, W, 3)
    with io.BytesIO() as file:
        Image.fromarray(rgb).save(file, format="PNG", compress_level=1)
        return file.getvalue()


def _write_maps(predictions: list[dict], folder: str) -> list[dict]:
    """Writes the PNG files. Returns the predictions without their bytes."""
    os.makedirs(folder, exist_ok=True)
    for prediction in predictions:
        with open(os.path.join(folder, prediction["file_name"]), "wb") as file:
            file.write(prediction["png_string"])
    return [{key: value for key, value in p.items() if key != "png_string"} for p in predictions]


def _panoptic_quality(truth: dict, predicted: dict, truth_folder: str, folder: str, name: str) -> dict[str, Any]:
    """Qualities 0..1 by group, `pq`, `sq`, `rq` and `n`, the number of categories."""
    from hotcoco.panoptic import PanopticEval

    ids = [image["id"] for image in truth["images"]]
    are_numbers = all(type(image_id) is int for image_id in ids)
    numbers = {image_id: image_id if are_numbers else number for number, image_id in enumerate(ids, start=1)}
    try:
        truth, predicted = _numbered(truth, numbers), _numbered(predicted, numbers)
        evaluation = PanopticEval(truth, predicted, gt_folder=truth_folder, pred_folder=folder)
        evaluation.evaluate()
    except (ValueError, KeyError, OSError) as error:
        message = str(error).splitlines()[0]
        raise BadValue(f"panoptic predictions cannot be compared with {name}: {message}") from error
    return evaluation.results()


def _numbered(content: dict, numbers: dict[Any, int]) -> dict:
    """What counts of a panoptic JSON file, with integers for image ids, which may be strings, as Cityscapes' are."""
    keys = ("id", "category_id", "iscrowd", "area")
    return {
        "images": [{"id": number} for number in numbers.values()],
        "annotations": [
            {
                "image_id": numbers[annotation["image_id"]],
                "file_name": annotation["file_name"],
                "segments_info": [{k: s[k] for k in keys if k in s} for s in annotation["segments_info"]],
            }
            for annotation in content["annotations"]
            if annotation["image_id"] in numbers
        ],
        "categories": [{"id": c["id"], "name": str(c["name"]), "isthing": c["isthing"]} for c in content["categories"]],
    }


def _percent(share: float) -> float:
    return 100 * share if share >= 0 else float("nan")


def _print_panoptic_results(pq_res: Mapping[str, Mapping[str, float]]) -> None:
    """Logs pq, sq, rq (0..1) and n of All, Things and Stuff as a table."""
    logger.info("Panoptic Evaluation Results:\n%s", _table(pq_res))


def _table(quality: Mapping[str, Mapping[str, float]]) -> str:
    from tabulate import tabulate

    rows = [
        [group, *(_percent(quality[group][name]) for name in ("pq", "sq", "rq")), quality[group]["n"]]
        for group in _GROUPS
    ]
    headers = ["", "PQ", "SQ", "RQ", "#categories"]
    return tabulate(rows, headers=headers, tablefmt="pipe", floatfmt=".3f", stralign="center", numalign="center")
