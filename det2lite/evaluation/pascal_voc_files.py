"""Pascal VOC's metric from its own files: detections as text, objects as XML."""

from typing import Any

import numpy as np

from det2lite.data.datasets.pascal_voc import read_voc_file, read_voc_list
from det2lite.evaluation.pascal_voc_numbers import VocBoxes, area_below, match_detections, right_and_counted
from det2lite.utils.errors import BadValue
from det2lite.utils.file_io import PathManager

__all__ = ["parse_rec", "voc_ap", "voc_eval"]


def parse_rec(filename: str) -> list[dict[str, Any]]:
    """The objects of an annotation file: name, difficult (0 or 1), bbox [xmin, ymin, xmax, ymax] that counts from 1."""
    return [
        {"name": found.name, "difficult": int(found.difficult), "bbox": [int(side) for side in found.corners]}
        for found in read_voc_file(filename)
    ]


def voc_ap(rec: np.ndarray, prec: np.ndarray, use_07_metric: bool = False) -> float:
    """AP 0..1 of a curve, by 11 points (VOC 2007) or the whole area. rec: ascending."""
    return area_below(np.asarray(rec, dtype=float), np.asarray(prec, dtype=float), eleven_points=use_07_metric)


def voc_eval(
    detpath: str,
    annopath: str,
    imagesetfile: str,
    classname: str,
    ovthresh: float = 0.5,
    use_07_metric: bool = False,
) -> tuple[np.ndarray, np.ndarray, float]:
    """Recall (N,), precision (N,) and AP 0..1 of one class.

    detpath: file of detections, with `{0}` for the class; lines of image name, score, and corners that count from 1.
    annopath: XML file, with `{0}` for the image. imagesetfile: names of the images. Objects marked difficult neither
    help nor hurt. Without objects the AP is nan.
    """
    names = read_voc_list(imagesetfile)
    rows = [
        (number, found.difficult, *found.corners)
        for number, name in enumerate(names)
        for found in read_voc_file(annopath.format(name))
        if found.name == classname
    ]
    table = np.array(rows, dtype=np.float64).reshape(-1, 6)
    difficult = table[:, 1].astype(bool)
    detections, scores = _read_detections(detpath.format(classname), {name: i for i, name in enumerate(names)})
    matches = match_detections(detections, scores, VocBoxes(image=table[:, 0], corners=table[:, 2:]), difficult)
    right, counts = right_and_counted(matches, ovthresh)
    num_objects = int((~difficult).sum())
    with np.errstate(divide="ignore", invalid="ignore"):
        recall = np.cumsum(right) / num_objects
        precision = np.cumsum(right) / np.maximum(np.cumsum(counts), 1)
    ap = voc_ap(recall, precision, use_07_metric) if num_objects else float("nan")
    return recall, precision, ap


def _read_detections(path: str, number_of: dict[str, int]) -> tuple[VocBoxes, np.ndarray]:
    with PathManager.open(path, "r", encoding="utf-8") as file:
        rows = [line.rsplit(maxsplit=5) for line in file if line.strip()]
    try:
        table = np.array([[number_of[name], *map(float, rest)] for name, *rest in rows]).reshape(-1, 6)
    except KeyError as error:
        raise BadValue(f"{path}: image {error} is not among those of the image set") from None
    except ValueError:
        raise BadValue(f"{path}: a line is an image name, a score and four corners of a box") from None
    return VocBoxes(image=table[:, 0], corners=table[:, 2:]), table[:, 1]
