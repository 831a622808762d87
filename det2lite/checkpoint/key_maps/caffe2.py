"""Blob names of Caffe2 (the MSRA and FAIR ImageNet backbones, and Detectron 1 models) in our names.

`res2_0_branch2a_w` -> `res2.0.conv1.weight`, `res2_0_branch2a_bn_s` -> `res2.0.conv1.norm.weight`. The names have no
prefix such as `backbone.bottom_up.`; `det2lite.checkpoint.matching` finds the place in the model.
"""

import re
from typing import TypeVar

import numpy as np
import torch

Tensor = TypeVar("Tensor", torch.Tensor, np.ndarray)

SUFFIXES = {
    "_bn_s": ".norm.weight",
    "_bn_b": ".norm.bias",
    "_bn_gamma": ".norm.weight",
    "_bn_beta": ".norm.bias",
    "_bn_rm": ".norm.running_mean",
    "_bn_riv": ".norm.running_var",  # named after an inverse, holds the variance
    "_gn_s": ".norm.weight",
    "_gn_b": ".norm.bias",
    "_w": ".weight",
    "_b": ".bias",
}

_BRANCHES = {"1": "shortcut", "2a": "conv1", "2b": "conv2", "2c": "conv3"}
_BOX_PREDICTOR = "roi_heads.box_predictor"
_MASK_HEAD = "roi_heads.mask_head"
_KEYPOINT_HEAD = "roi_heads.keypoint_head"
_RPN_HEAD = "proposal_generator.rpn_head"

# (the whole blob name without its suffix, our module)
MODULES = [
    (r"(?:res_)?conv1", r"stem.conv1"),
    (r"res(\d)_(\d+)_branch(1|2a|2b|2c)", lambda m: f"res{m[1]}.{m[2]}.{_BRANCHES[m[3]]}"),
    (r"fc1000|pred", r"linear"),
    (r"fpn_inner_res(\d)_\d+_sum(?:_lateral)?", r"fpn_lateral\1"),
    (r"fpn_res(\d)_\d+_sum", r"fpn_output\1"),
    (r"fpn_([67])", r"top_block.p\1"),
    (r"conv_rpn(?:_fpn\d)?", rf"{_RPN_HEAD}.conv"),
    (r"rpn_cls_logits(?:_fpn\d)?", rf"{_RPN_HEAD}.objectness_logits"),
    (r"rpn_bbox_pred(?:_fpn\d)?", rf"{_RPN_HEAD}.anchor_deltas"),
    (r"retnet_(cls|bbox)_conv_n(\d)_fpn\d", lambda m: f"head.{m[1]}_subnet.{2 * int(m[2])}"),  # a ReLU between each two
    (r"retnet_cls_pred_fpn\d", r"head.cls_score"),
    (r"retnet_bbox_pred_fpn\d", r"head.bbox_pred"),
    (r"head_conv(\d)", r"roi_heads.box_head.conv\1"),
    (r"fc([67])", lambda m: f"roi_heads.box_head.fc{int(m[1]) - 5}"),
    (r"cls_score|bbox_pred", rf"{_BOX_PREDICTOR}.\g<0>"),
    (r"_(?:\[mask\]|mask)_fcn(\d)", rf"{_MASK_HEAD}.mask_fcn\1"),  # the latter in heads with group norm
    (r"conv5_mask", rf"{_MASK_HEAD}.deconv"),
    (r"mask_fcn_logits", rf"{_MASK_HEAD}.predictor"),
    (r"conv_fcn(\d)", rf"{_KEYPOINT_HEAD}.conv_fcn\1"),
    (r"kps_score_lowres", rf"{_KEYPOINT_HEAD}.score_lowres"),
]
_MODULES = [(re.compile(pattern), module) for pattern, module in MODULES]


def convert_name(blob: str) -> str:
    """Our name for a blob; a blob that no rule knows keeps its name."""
    for suffix, ending in SUFFIXES.items():
        if blob.endswith(suffix):
            stem = blob[: -len(suffix)]
            for pattern, module in _MODULES:
                if match := pattern.fullmatch(stem):
                    return (module(match) if callable(module) else match.expand(module)) + ending
    return blob


def _background_last(name: str, value: Tensor) -> Tensor:
    """Caffe2 has the background as class 0; we have it last among the scores, and nowhere else."""
    if value.ndim == 0:
        return value
    if name.startswith(f"{_BOX_PREDICTOR}.cls_score."):
        join = torch.cat if isinstance(value, torch.Tensor) else np.concatenate
        return join([value[1:], value[:1]])
    if name.startswith(f"{_BOX_PREDICTOR}.bbox_pred.") and value.shape[0] > 4:
        return value[4:]
    if name.startswith(f"{_MASK_HEAD}.predictor.") and value.shape[0] > 1:
        return value[1:]
    return value


def convert_weights(blobs: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Blobs under our names with our order of classes, and for each of these names the blob it came from."""
    weights, origins = {}, {}
    for blob in sorted(blobs):
        name = convert_name(blob)
        if name in weights:  # both fc1000_w and pred_w, say
            name = blob
        weights[name] = _background_last(name, blobs[blob])
        origins[name] = blob
    return weights, origins
