"""Configs of exported models."""

from det2lite.config import CfgNode

__all__ = ["add_export_config"]


def add_export_config(cfg: CfgNode) -> CfgNode:
    """Adds the keys that configs of Detectron2's exporters may hold, so that they can be merged. Returns `cfg`.

    `EXPORT_CAFFE2.USE_HEATMAP_MAX_KEYPOINT` says how its Caffe2 models decode keypoints; nothing here reads it.
    """
    frozen = cfg.is_frozen()
    cfg.defrost()
    cfg.EXPORT_CAFFE2 = CfgNode({"USE_HEATMAP_MAX_KEYPOINT": False})
    if frozen:
        cfg.freeze()
    return cfg
