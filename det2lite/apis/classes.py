"""What a model's classes are called, by people and by the data set it was trained on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from det2lite.checkpoint.run_info import DRAWING_METADATA
from det2lite.config import CfgNode
from det2lite.data import Metadata, MetadataCatalog


@dataclass(frozen=True)
class Classes:
    """`names` and `category_ids` of the classes 0..K-1, each empty where it is not known.

    `metadata` has names, colours and keypoints for drawing.
    """

    names: tuple[str, ...] = ()
    category_ids: tuple[int, ...] = ()
    metadata: Any = None

    def name(self, class_id: int) -> str:
        """The name of a class, its number where it has none."""
        return self.names[class_id] if 0 <= class_id < len(self.names) else str(class_id)

    def category_id(self, class_id: int) -> int:
        """What the data set calls a class, the class itself where that is not known."""
        return self.category_ids[class_id] if 0 <= class_id < len(self.category_ids) else class_id

    def categories(self) -> list[dict[str, Any]]:
        """The `categories` of a COCO file."""
        count = max(len(self.names), len(self.category_ids))
        return [{"id": self.category_id(k), "name": self.name(k)} for k in range(count)]


def classes_of(cfg: CfgNode, run: dict[str, Any], names: Sequence[str] | None = None) -> Classes:
    """The classes of a model: `names` where given, else those in its checkpoint, else those of its data sets.

    run: what the checkpoint tells of its run, see `checkpoint.run_info`. A registered data set of the config adds its
    colours and keypoints where its classes are the same.
    """
    if names is not None:
        names = [str(name) for name in names]
        return Classes(tuple(names), _carried_ids(run, len(names)), Metadata(name="", thing_classes=names))
    names = [str(name) for name in run.get("class_names") or ()]
    carried = run.get("metadata") if isinstance(run.get("metadata"), dict) else {}
    carried = {key: value for key, value in carried.items() if key in DRAWING_METADATA}
    for dataset in (*cfg.DATASETS.TEST[:1], *cfg.DATASETS.TRAIN[:1]):
        known = MetadataCatalog.get(dataset) if dataset in MetadataCatalog else None
        if known is None or not (known.get("thing_classes") or known.get("stuff_classes")):
            continue
        if not names or list(known.get("thing_classes", [])) == names:
            own = tuple(known.get("thing_classes", []))
            return Classes(own, _carried_ids(run, len(own)) or _registered_ids(known), known)
    metadata = Metadata(name="", **({"thing_classes": names} if names else {}), **carried)
    return Classes(tuple(names), _carried_ids(run, len(names)), metadata)


def _carried_ids(run: dict[str, Any], count: int) -> tuple[int, ...]:
    ids = run.get("category_ids") or ()
    return tuple(ids) if len(ids) == count else ()


def _registered_ids(metadata: Metadata) -> tuple[int, ...]:
    class_of = metadata.get("thing_dataset_id_to_contiguous_id", {})
    return tuple(sorted(class_of, key=class_of.get))
