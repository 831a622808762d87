"""Detectron2's path to the matching of names; see `matching` and `key_maps.caffe2`."""

import os
from collections.abc import Sequence

from det2lite.checkpoint.key_maps.caffe2 import convert_name
from det2lite.checkpoint.key_maps.caffe2 import convert_weights as convert_c2_detectron_names
from det2lite.checkpoint.matching import align_and_update_state_dicts

__all__ = ["align_and_update_state_dicts", "convert_basic_c2_names", "convert_c2_detectron_names"]


def convert_basic_c2_names(original_keys: Sequence[str]) -> list[str]:
    """Our names for the blobs of a Caffe2 model, in order; blobs that no rule knows keep their names."""
    return [convert_name(key) for key in original_keys]


def _longest_common_prefix(names: Sequence[str]) -> str:
    """The dotted parts, with a dot behind them, that all dotted names begin with; "" for none."""
    parts = os.path.commonprefix([name.split(".") for name in names])
    return ".".join(parts) + "." if parts else ""


def _longest_common_prefix_str(names: Sequence[str]) -> str:
    """The characters that all names begin with."""
    return os.path.commonprefix(list(names))
