"""Whether samples have the kinds of ground truth that a model learns from, and that an evaluation compares with."""

from collections.abc import Sequence
from typing import Any

from torch.utils.data import Dataset

from det2lite.data.catalog import MetadataCatalog
from det2lite.data.datasets.coco_reader import read_json
from det2lite.data.sample_store import stored_rows
from det2lite.utils.errors import UserError

__all__ = ["MissingTruth", "not_annotated", "stop_on_missing_truth", "stop_on_no_annotations"]

# what the models of MODEL.META_ARCHITECTURE learn from, as keys of the standard format
_BOXES, _MAP = "annotations", "sem_seg_file_name"
_LEARNT = {
    "GeneralizedRCNN": (_BOXES,),
    "ProposalNetwork": (_BOXES,),
    "RetinaNet": (_BOXES,),
    "FCOS": (_BOXES,),
    "SemanticSegmentor": (_MAP,),
    "PanopticFPN": (_BOXES, _MAP),
}
_REMEDIES = {
    _BOXES: "give it the list of its instances, an empty one where it shows none",
    _MAP: "give it the file of its semantic map, as load_sem_seg does, or train a model of boxes or masks alone",
}
_OF_SEGMENTS = (
    "it has panoptic segments: make a COCO JSON of its things by datasets/panoptic_to_instances.py, and register both "
    "by register_coco_panoptic_separated"
)
_JUDGED_BY_INSTANCES = (None, "coco", "lvis", "pascal_voc")  # values of evaluator_type


class MissingTruth(UserError, ValueError):
    """A data set lacks what the model learns from, or what an evaluation compares with."""


def stop_on_missing_truth(names: Sequence[str], samples: Sequence[dict], architecture: str) -> None:
    """Raises `MissingTruth` for the first sample that lacks what `architecture` learns from.

    names: of the data sets, for the message. samples: in the standard format; those of a torch data set and of
    architectures that are not ours are left alone.
    """
    needed, rows = _LEARNT.get(architecture, ()), stored_rows(samples)
    if isinstance(samples, Dataset) and rows is None:
        return
    if rows is not None and len(rows):  # all of one kind, and asking for one of them from the list would unpack it
        samples = [rows[0]]
    for sample in samples:
        missing = next((key for key in needed if key not in sample), None)
        if missing is not None:
            has_segments = missing == _BOXES and "pan_seg_file_name" in sample
            raise MissingTruth(
                f"data set {' + '.join(map(repr, names))}: image {sample.get('file_name')} has no {missing!r}, which "
                f"{architecture} learns from; {_OF_SEGMENTS if has_segments else _REMEDIES[missing]}"
            )


def not_annotated(name: str, samples: Any) -> str:
    """One line about a data set whose evaluation would compare with nothing; empty where there is something.

    samples: of the data set, in the standard format. Others, and data sets that are not judged by their instances, are
    left alone. Crowds do not count: they only excuse detections.
    """
    judged = MetadataCatalog.get(name).get("evaluator_type") in _JUDGED_BY_INSTANCES
    if not judged or not len(samples) or _is_annotated(samples):
        return ""
    return f"data set {name!r}: none of its {len(samples)} images has an annotation to compare with"


def _is_annotated(samples: Any) -> bool:
    """Whether there is an annotation, no crowd; True where that cannot be known."""
    rows = stored_rows(samples)
    if rows is not None:
        return bool((rows.column("usable") > 0).any())
    if not isinstance(samples, list) or not all(isinstance(sample, dict) for sample in samples):
        return True
    return any(not a.get("iscrowd", 0) for sample in samples for a in sample.get("annotations") or ())


def stop_on_no_annotations(name: str, samples: Any) -> None:
    """Raises `MissingTruth` where an evaluation would give nan alone.

    A JSON file without any list of annotations, as that of COCO's test-dev, is not meant to be compared with: its
    evaluation writes the detections and gives no numbers.
    """
    lacking = not_annotated(name, samples)
    json_file = MetadataCatalog.get(name).get("json_file")
    if lacking and not (json_file and "annotations" not in read_json(json_file)):
        raise MissingTruth(
            f"{lacking}: its numbers would all be nan; give data with annotations, or --format-only --out FILE to keep "
            "the predictions alone"
        )
