"""Older layouts of the config tree: which keys were renamed when, and conversion in both directions.

A config without `VERSION` is taken to be current unless it holds a key that only an older layout has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from det2lite.utils.errors import BadCall

if TYPE_CHECKING:
    from det2lite.config.cfg_node import CfgNode

CURRENT_VERSION = 2

# RENAMES[v]: (key in version v - 1, key in version v)
RENAMES: dict[int, tuple[tuple[str, str], ...]] = {
    1: (("MODEL.RPN_HEAD.NAME", "MODEL.RPN.HEAD_NAME"),),
    2: (
        ("MODEL.WEIGHT", "MODEL.WEIGHTS"),
        ("MODEL.PANOPTIC_FPN.SEMANTIC_LOSS_SCALE", "MODEL.SEM_SEG_HEAD.LOSS_WEIGHT"),
        ("MODEL.PANOPTIC_FPN.RPN_LOSS_SCALE", "MODEL.RPN.LOSS_WEIGHT"),
        ("MODEL.PANOPTIC_FPN.INSTANCE_LOSS_SCALE", "MODEL.PANOPTIC_FPN.INSTANCE_LOSS_WEIGHT"),
        ("MODEL.PANOPTIC_FPN.COMBINE_ON", "MODEL.PANOPTIC_FPN.COMBINE.ENABLED"),
        ("MODEL.PANOPTIC_FPN.COMBINE_OVERLAP_THRESHOLD", "MODEL.PANOPTIC_FPN.COMBINE.OVERLAP_THRESH"),
        ("MODEL.PANOPTIC_FPN.COMBINE_STUFF_AREA_LIMIT", "MODEL.PANOPTIC_FPN.COMBINE.STUFF_AREA_LIMIT"),
        (
            "MODEL.PANOPTIC_FPN.COMBINE_INSTANCES_CONFIDENCE_THRESHOLD",
            "MODEL.PANOPTIC_FPN.COMBINE.INSTANCES_CONFIDENCE_THRESH",
        ),
        ("MODEL.ROI_HEADS.SCORE_THRESH", "MODEL.ROI_HEADS.SCORE_THRESH_TEST"),
        ("MODEL.ROI_HEADS.NMS", "MODEL.ROI_HEADS.NMS_THRESH_TEST"),
        ("MODEL.RETINANET.INFERENCE_SCORE_THRESHOLD", "MODEL.RETINANET.SCORE_THRESH_TEST"),
        ("MODEL.RETINANET.INFERENCE_TOPK_CANDIDATES", "MODEL.RETINANET.TOPK_CANDIDATES_TEST"),
        ("MODEL.RETINANET.INFERENCE_NMS_THRESHOLD", "MODEL.RETINANET.NMS_THRESH_TEST"),
        ("TEST.DETECTIONS_PER_IMG", "TEST.DETECTIONS_PER_IMAGE"),
        ("TEST.AUG_ON", "TEST.AUG.ENABLED"),
        ("TEST.AUG_MIN_SIZES", "TEST.AUG.MIN_SIZES"),
        ("TEST.AUG_MAX_SIZE", "TEST.AUG.MAX_SIZE"),
        ("TEST.AUG_FLIP", "TEST.AUG.FLIP"),
    ),
}
# version 1 kept anchors with the head that used them
ANCHOR_KEYS_V1 = {
    True: ("MODEL.RETINANET.ANCHOR_SIZES", "MODEL.RETINANET.ANCHOR_ASPECT_RATIOS"),
    False: ("MODEL.RPN.ANCHOR_SIZES", "MODEL.RPN.ASPECT_RATIOS"),
}
ANCHOR_KEYS_V2 = ("MODEL.ANCHOR_GENERATOR.SIZES", "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS")


def guess_version(tree: dict[str, Any]) -> int:
    """Version of a tree that does not say it: 1 where it holds a key that version 2 renamed, else the current one."""
    old_keys = [old for old, _ in RENAMES[2]] + [key for keys in ANCHOR_KEYS_V1.values() for key in keys]
    return 1 if any(_has(tree, key) for key in old_keys) else CURRENT_VERSION


def upgrade_config(cfg: CfgNode, to_version: int | None = None) -> CfgNode:
    """A copy of `cfg` in the layout of a later version (default: the current one)."""
    to_version = CURRENT_VERSION if to_version is None else to_version
    if cfg.VERSION > to_version:
        raise BadCall(f"config of version {cfg.VERSION} cannot be upgraded to version {to_version}")
    cfg = cfg.clone()
    for version in range(cfg.VERSION + 1, to_version + 1):
        _rename_all(cfg, _renames_into(version, cfg))
        cfg.VERSION = version
    return cfg


def downgrade_config(cfg: CfgNode, to_version: int) -> CfgNode:
    """A copy of `cfg` in the layout of an earlier version."""
    if cfg.VERSION < to_version:
        raise BadCall(f"config of version {cfg.VERSION} cannot be downgraded to version {to_version}")
    cfg = cfg.clone()
    for version in range(cfg.VERSION, to_version, -1):
        _rename_all(cfg, [(new, old) for old, new in _renames_into(version, cfg)])
        cfg.VERSION = version - 1
    return cfg


def rename_keys(tree: dict[str, Any]) -> dict[str, Any]:
    """A tree of any older version (nested dicts, changed in place) with the current names."""
    version = tree.get("VERSION", guess_version(tree))
    for later in range(version + 1, CURRENT_VERSION + 1):
        _rename_all(tree, _renames_into(later, tree))
    return tree


def _renames_into(version: int, tree: dict[str, Any]) -> list[tuple[str, str]]:
    renames = list(RENAMES[version])
    if version == 2:
        dense = tree.get("MODEL", {}).get("META_ARCHITECTURE") == "RetinaNet"
        renames += zip(ANCHOR_KEYS_V1[dense], ANCHOR_KEYS_V2, strict=True)
    return renames


def _rename_all(tree: dict[str, Any], renames: list[tuple[str, str]]) -> None:
    for old, new in renames:
        if not _has(tree, old):
            continue
        node, last = _parent(tree, old)
        value = node.pop(last)
        if not node and "." in old:
            holder, name = _parent(tree, old.rpartition(".")[0])
            del holder[name]
        node, last = _parent(tree, new)
        node[last] = value


def _has(tree: dict[str, Any], key: str) -> bool:
    for part in key.split("."):
        if not isinstance(tree, dict) or part not in tree:
            return False
        tree = tree[part]
    return True


def _parent(tree: dict[str, Any], key: str) -> tuple[dict[str, Any], str]:
    """The node that holds `key`'s last part, made where it is not there, and that last part."""
    *parts, last = key.split(".")
    for part in parts:
        if part not in tree:
            tree[part] = type(tree)()
        tree = tree[part]
    return tree, last
