"""Class lists of data sets: known before they are loaded, compared side by side, counted for the heads of a model."""

import logging
from collections.abc import Sequence

from det2lite.config import CfgNode
from det2lite.data.catalog import DatasetCatalog, MetadataCatalog
from det2lite.data.datasets.coco_reader import read_json
from det2lite.utils.errors import BadValue, UserError

logger = logging.getLogger(__name__)

AUTO = "auto"
MOST_ROWS = 30  # of two lists side by side; of longer ones only what differs is shown
NOT_THINGS = ("SEM_SEG_HEAD",)  # groups whose NUM_CLASSES counts stuff
# the group that holds the number of thing classes, by MODEL.META_ARCHITECTURE
COUNT_GROUPS = {
    "GeneralizedRCNN": "ROI_HEADS",
    "PanopticFPN": "ROI_HEADS",
    "RetinaNet": "RETINANET",
    "FCOS": "FCOS",
}


def known_class_names(dataset_name: str) -> list[str]:
    """The thing classes of a registered data set, from its metadata or else its JSON file; empty where neither says.

    The data set itself is not loaded.
    """
    if dataset_name not in MetadataCatalog:
        return []
    metadata = MetadataCatalog.get(dataset_name)
    names = metadata.get("thing_classes")
    if names or not metadata.get("json_file") or metadata.get("stuff_classes"):
        return [*map(str, names or ())]
    try:
        categories = read_json(metadata.json_file)["categories"]
        return [str(c["name"]) for c in sorted(categories, key=lambda category: category["id"])]
    except (UserError, KeyError, TypeError):  # whoever loads the file says what is wrong with it
        return []


def same_classes(first: Sequence[str], second: Sequence[str]) -> bool:
    """Whether two lists name the same classes in the same order; case, `_`, `-` and blanks at the ends do not count."""
    return [*map(_plain, first)] == [*map(_plain, second)]


def _plain(name: str) -> str:
    return str(name).strip().casefold().replace("_", " ").replace("-", " ")


def side_by_side(first_title: str, first: Sequence[str], second_title: str, second: Sequence[str]) -> str:
    """Two class lists as a table of rows `index, first, second`; rows that differ begin with `*`."""
    rows = []
    for index in range(max(len(first), len(second))):
        pair = [str(names[index]) if index < len(names) else "-" for names in (first, second)]
        differs = index >= min(len(first), len(second)) or _plain(pair[0]) != _plain(pair[1])
        rows.append(("*" if differs else " ", str(index), *pair))
    shown = rows if len(rows) <= MOST_ROWS else [row for row in rows if row[0] == "*"]
    left_out = len(rows) - len(shown[:MOST_ROWS])
    shown = [(" ", "", first_title, second_title), *shown[:MOST_ROWS]]
    digits, width = (max(len(row[column]) for row in shown) for column in (1, 2))
    lines = [f"{mark} {index:>{digits}}  {one:<{width}}  {other}".rstrip() for mark, index, one, other in shown]
    return "\n".join([*lines, f"  ... and {left_out} further rows"] if left_out else lines)


def own_class_count(cfg: CfgNode) -> str | None:
    """The head's own key for the number of thing classes; None where the model has none."""
    group = COUNT_GROUPS.get(cfg.MODEL.META_ARCHITECTURE)
    return None if group is None else f"MODEL.{group}.NUM_CLASSES"


def thing_count(cfg: CfgNode) -> tuple[str, int] | None:
    """The key that counts the model's thing classes, and its value; None where it is not known."""
    key = own_class_count(cfg)
    if key is None or cfg.MODEL.get("NUM_CLASSES") == AUTO:
        return None
    count = cfg.MODEL[COUNT_GROUPS[cfg.MODEL.META_ARCHITECTURE]].NUM_CLASSES
    return (key if cfg.MODEL.get("NUM_CLASSES") is None else "MODEL.NUM_CLASSES"), count


def with_class_counts(cfg: CfgNode, class_names: Sequence[str] = ()) -> CfgNode:
    """A config in which MODEL.NUM_CLASSES is a number that every head has; `cfg` itself where it is None.

    "auto" counts the classes of the first of DATASETS.TRAIN: things, and where the data set knows them stuff and
    keypoints; where it is not there, `class_names` are counted. Raises `BadValue` where nothing says the classes.
    """
    asked = cfg.MODEL.get("NUM_CLASSES")
    if asked is None:
        return cfg
    if asked != AUTO and (type(asked) is not int or asked < 1):
        raise BadValue(
            f"MODEL.NUM_CLASSES is {asked!r}; it is a number from 1, 'auto', or null for each head's own key"
        )
    stuff = keypoints = None
    if asked == AUTO:
        things, stuff, keypoints = _counts_of_data(cfg, class_names)
    else:
        things = asked
        stuff = asked if cfg.MODEL.META_ARCHITECTURE == "SemanticSegmentor" else None
    changed = cfg.clone()
    changed.defrost()
    model = changed.MODEL
    model.NUM_CLASSES = things or stuff
    for name, group in model.items():
        if isinstance(group, CfgNode) and "NUM_CLASSES" in group:
            count = stuff if name in NOT_THINGS else things
            group.NUM_CLASSES = count or group.NUM_CLASSES
    if keypoints and model.KEYPOINT_ON:
        model.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS = keypoints
    if cfg.is_frozen():
        changed.freeze()
    return changed


def _counts_of_data(cfg: CfgNode, class_names: Sequence[str]) -> tuple[int, int | None, int | None]:
    """Numbers of things, stuff classes and keypoints of the first training set."""
    name = cfg.DATASETS.TRAIN[0] if len(cfg.DATASETS.TRAIN) else ""
    things = known_class_names(name)
    metadata = MetadataCatalog.get(name) if name in MetadataCatalog else None
    stuff = len(metadata.get("stuff_classes") or ()) if metadata is not None else 0
    if not things and not stuff and name in DatasetCatalog:
        DatasetCatalog.get(name)  # loading is what tells some data sets' classes
        things = known_class_names(name)
    things = things or [*class_names]
    if not things and not stuff:
        what = f"data set {name!r} does not say its classes" if name in DatasetCatalog else "no data set says them"
        raise BadValue(
            f"MODEL.NUM_CLASSES is auto, but {what}: set MODEL.NUM_CLASSES to a number, or thing_classes in the"
            " metadata of the first of DATASETS.TRAIN"
        )
    keypoints = len(metadata.get("keypoint_names") or ()) if metadata is not None else 0
    logger.info("MODEL.NUM_CLASSES auto: %d things, %d stuff classes of data set %r", len(things), stuff, name)
    return len(things), stuff or None, keypoints or None
