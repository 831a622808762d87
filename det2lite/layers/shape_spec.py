"""What is known of a tensor's shape before there is a tensor."""

from dataclasses import dataclass
from typing import Optional

from det2lite.utils.errors import UnknownName

__all__ = ["FeatureShapes", "ShapeSpec"]


@dataclass
class ShapeSpec:
    """Shape of a feature map, as far as modules must know it to be built. Stride is in input pixels."""

    channels: Optional[int] = None  # noqa: UP045 - TorchScript
    height: Optional[int] = None  # noqa: UP045
    width: Optional[int] = None  # noqa: UP045
    stride: Optional[int] = None  # noqa: UP045


class FeatureShapes(dict):
    """`ShapeSpec` by the name of the feature map; a name that is not there is most often one of a config."""

    def __missing__(self, name: str):
        known = ", ".join(map(str, self)) or "none"
        raise UnknownName(f"no feature map {name!r}; the backbone gives {known} (check IN_FEATURES)")
