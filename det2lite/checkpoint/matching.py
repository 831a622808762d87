"""Places in a model for weights whose names lack the model's prefixes.

A checkpoint's `res2.0.conv1.weight` belongs to the parameter whose name ends with it, whole parts counted
(`backbone.bottom_up.res2.0.conv1.weight`); of several names that fit one parameter the longest wins.
"""

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from det2lite.checkpoint.key_maps import caffe2
from det2lite.utils.errors import BadValue

logger = logging.getLogger(__name__)


def shapes_of(state_dict: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Shapes of the tensors or arrays; a module's further state has none."""
    return {name: tuple(value.shape) for name, value in state_dict.items() if hasattr(value, "shape")}


def _suffixes(name: str) -> Iterable[str]:
    """`a.b.c`, `b.c`, `c`."""
    yield name
    while (dot := name.find(".")) >= 0:
        name = name[dot + 1 :]
        yield name


def match_by_suffix(model_shapes: Mapping[str, tuple], checkpoint_shapes: Mapping[str, tuple]) -> dict[str, str]:
    """For each parameter of the model that has one: the checkpoint's name for it.

    Where one name fits several parameters, that of exactly this name has it, else the only one of its shape.
    """
    claims = defaultdict(list)  # the checkpoint's name -> parameters of the model
    for name in model_shapes:
        longest = next((suffix for suffix in _suffixes(name) if suffix in checkpoint_shapes), None)
        if longest is not None:
            claims[longest].append(name)
    matched = {}
    for source, names in claims.items():
        if len(names) > 1 and source in names:
            names = [source]
        if len(names) > 1:
            names = [n for n in names if model_shapes[n] == checkpoint_shapes[source]]
        if len(names) > 1:
            raise BadValue(
                f"parameter {source!r} of the checkpoint fits {names[0]!r} and {names[1]!r} of the model alike; "
                "rename it in the checkpoint to the full name of one"
            )
        matched.update((name, source) for name in names)
    return matched


def align_and_update_state_dicts(
    model_state_dict: Mapping[str, Any], ckpt_state_dict: Mapping[str, Any], c2_conversion: bool = True
) -> dict[str, Any]:
    """The checkpoint's state dict under the model's names.

    c2_conversion: the checkpoint has the blob names of Caffe2. What fits nowhere keeps its name; what has another
    shape than its place is left out, with a warning. Raises `BadValue` where a name fits several parameters alike.
    """
    weights, origins = dict(ckpt_state_dict), {}
    if c2_conversion:
        weights, origins = caffe2.convert_weights(ckpt_state_dict)
    result = {}
    for name, value in rename_by_suffix(model_state_dict, weights, origins).items():
        wanted = model_state_dict.get(name, value).shape
        if value.shape == wanted:
            result[name] = value
        else:
            logger.warning("%s: %s in the checkpoint, %s in the model; left out", name, [*value.shape], [*wanted])
    return result


def rename_by_suffix(
    model_state_dict: Mapping[str, Any], weights: Mapping[str, Any], origins: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """`weights` under the names of the model where they have a place, whatever their shape.

    The others keep their names, or get back those of `origins`.
    """
    origins = origins or {}
    matched = match_by_suffix(shapes_of(model_state_dict), shapes_of(weights))
    renamed = {name: weights[source] for name, source in matched.items()}
    used = set(matched.values())
    renamed.update((origins.get(name, name), value) for name, value in weights.items() if name not in used)
    logger.info("Matched %d of the checkpoint's %d tensors by the end of their names", len(used), len(weights))
    return renamed
