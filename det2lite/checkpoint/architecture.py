"""Of which architecture parameters are, told from names and shapes: for messages about files that do not fit."""

import re
from collections.abc import Mapping

# (what a name begins with, whose it is): networks whose names are not ours
FOREIGN = [
    (r"bbox_head\.|roi_head\.|rpn_head\.rpn_|mask_head\.convs\.", "a model of MMDetection"),
    (r"backbone\.body\.|backbone\.fpn\.inner_blocks\.|rpn\.head\.cls_logits", "a detector of torchvision"),
    (r"(transformer\.)?(encoder|decoder)\.layers\.|query_embed\.|(model\.)?class_labels_classifier", "a DETR"),
    (r"model\.\d+\.(conv|cv1|m\.0|cv2)\.", "a YOLO of Ultralytics"),
    (r"layer[1-4]\.\d+\.|features\.\d+\.", "an image classifier of torchvision"),
    (r"(base_model|text_model|bert|model\.layers)\.", "a language model"),
]
_DEPTHS = {(True, 6): 50, (True, 23): 101, (True, 36): 152, (False, 2): 18, (False, 6): 34}  # by conv3, blocks of res4


def describe(shapes: Mapping[str, tuple]) -> str:
    """Such as "Mask R-CNN with ResNet-50-FPN" or "RetinaNet"; empty for names that tell nothing. shapes: by name."""
    for pattern, name in FOREIGN:
        if any(re.match(pattern, key) for key in shapes):
            return name
    head, backbone = _head(shapes), _backbone(shapes)
    if head and backbone:
        return f"{head} with {backbone}"
    return head or (backbone and f"a backbone, {backbone}")


def _has(shapes: Mapping[str, tuple], pattern: str) -> bool:
    return any(re.search(pattern, name) for name in shapes)


def _head(shapes: Mapping[str, tuple]) -> str:
    if _has(shapes, r"^head\.(cls|bbox)_subnet\."):
        return "FCOS" if _has(shapes, r"^head\.(ctrness|centerness)") else "RetinaNet"
    has_semantic = _has(shapes, r"^sem_seg_head\.")
    if not _has(shapes, r"^roi_heads\.(box|mask|keypoint)_"):
        if has_semantic:
            return "semantic segmentation"
        return "RPN" if _has(shapes, r"^proposal_generator\.") else ""
    cascade = "Cascade " if _has(shapes, r"^roi_heads\.box_predictor\.\d") else ""
    if has_semantic:
        return f"{cascade}Panoptic FPN"
    if _has(shapes, r"^roi_heads\.keypoint_head\."):
        return f"{cascade}Keypoint R-CNN"
    if _has(shapes, r"^roi_heads\.mask_head\."):
        return f"{cascade}Mask R-CNN"
    kind = "Faster" if _has(shapes, r"^proposal_generator\.") else "Fast"
    return f"{cascade}R-CNN" if cascade else f"{kind} R-CNN"


def _backbone(shapes: Mapping[str, tuple]) -> str:
    kind = _resnet(shapes)
    if not kind:
        others = {r"\bs1\.b1\.": "RegNet", r"layers\.0\.blocks\.0\.": "Swin", r"blocks\.0\.attn\.pool_q": "MViT"}
        others[r"blocks\.0\.attn\.qkv"] = "ViT"
        kind = next((name for pattern, name in others.items() if _has(shapes, pattern)), "")
    if kind and _has(shapes, r"\bfpn_lateral\d"):
        return f"{kind}-FPN"
    if kind and _has(shapes, r"^roi_heads\.res5\."):
        return f"{kind}-C4"
    return f"{kind}-DC5" if kind and _has(shapes, r"^backbone\.res5\.") and _has(shapes, r"^roi_heads\.") else kind


def _resnet(shapes: Mapping[str, tuple]) -> str:
    blocks = [int(match[1]) for name in shapes if (match := re.search(r"\bres4\.(\d+)\.conv1\.weight$", name))]
    depth = _DEPTHS.get((_has(shapes, r"\bres4\.0\.conv3\."), max(blocks, default=-1) + 1))
    if depth is None:
        return "ResNet" if blocks else ""
    shape = next(shape for name, shape in shapes.items() if re.search(r"\bres4\.0\.conv2\.weight$", name))
    return f"ResNeXt-{depth}" if len(shape) == 4 and shape[1] < shape[0] else f"ResNet-{depth}"


def compare(checkpoint_shapes: Mapping[str, tuple], model_shapes: Mapping[str, tuple]) -> str:
    """ "it looks like A and the model is B", where it can be told and they differ; else empty."""
    found, wanted = describe(checkpoint_shapes), describe(model_shapes)
    if not found or found == wanted:
        return ""
    return f"it looks like {found}" + (f" and the model is {wanted}" if wanted else "")
