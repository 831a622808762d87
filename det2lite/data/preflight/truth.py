"""Whether samples have the kinds of ground truth that a model learns from."""

from collections.abc import Sequence

from torch.utils.data import Dataset

from det2lite.data.sample_store import stored_rows
from det2lite.utils.errors import UserError

__all__ = ["MissingTruth", "stop_on_missing_truth"]

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


class MissingTruth(UserError, ValueError):
    """A data set lacks what the model learns from."""


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
