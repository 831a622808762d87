"""Detectron2's path to the matching of names; see `matching` and `key_maps.caffe2`."""

from det2lite.checkpoint.key_maps.caffe2 import convert_weights as convert_c2_detectron_names
from det2lite.checkpoint.matching import align_and_update_state_dicts

__all__ = ["align_and_update_state_dicts", "convert_c2_detectron_names"]
