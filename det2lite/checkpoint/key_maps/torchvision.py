"""Names of torchvision's ResNets and ResNeXts in ours: `layer1.0.bn1.weight` -> `res2.0.conv1.norm.weight`."""

import re
from collections.abc import Iterable, Mapping
from typing import TypeVar

Tensor = TypeVar("Tensor")

_RULES = [
    (re.compile(r"layer([1-4])\.(\d+)\.conv(\d)\.(.+)"), lambda m: f"res{int(m[1]) + 1}.{m[2]}.conv{m[3]}.{m[4]}"),
    (re.compile(r"layer([1-4])\.(\d+)\.bn(\d)\.(.+)"), lambda m: f"res{int(m[1]) + 1}.{m[2]}.conv{m[3]}.norm.{m[4]}"),
    (re.compile(r"layer([1-4])\.(\d+)\.downsample\.0\.(.+)"), lambda m: f"res{int(m[1]) + 1}.{m[2]}.shortcut.{m[3]}"),
    (
        re.compile(r"layer([1-4])\.(\d+)\.downsample\.1\.(.+)"),
        lambda m: f"res{int(m[1]) + 1}.{m[2]}.shortcut.norm.{m[3]}",
    ),
    (re.compile(r"conv1\.(.+)"), lambda m: f"stem.conv1.{m[1]}"),
    (re.compile(r"bn1\.(.+)"), lambda m: f"stem.conv1.norm.{m[1]}"),
    (re.compile(r"fc\.(.+)"), lambda m: f"linear.{m[1]}"),
]
PREPROCESSING = (
    "a torchvision backbone expects INPUT.FORMAT RGB, MODEL.PIXEL_MEAN [123.675, 116.28, 103.53], "
    "MODEL.PIXEL_STD [58.395, 57.12, 57.375] and MODEL.RESNETS.STRIDE_IN_1X1 False"
)


def is_torchvision_resnet(names: Iterable[str]) -> bool:
    return {"conv1.weight", "bn1.weight", "layer1.0.conv1.weight", "layer4.0.conv1.weight"} <= set(names)


def convert_name(name: str) -> str:
    """Our name; a name that no rule knows stays."""
    for pattern, build in _RULES:
        if match := pattern.fullmatch(name):
            return build(match)
    return name


def convert_weights(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under our names, without the counters of batch norm, which nothing here reads."""
    kept = ((name, value) for name, value in state_dict.items() if not name.endswith(".num_batches_tracked"))
    return {convert_name(name): value for name, value in kept}
