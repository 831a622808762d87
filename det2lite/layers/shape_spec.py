"""What is known of a tensor's shape before there is a tensor."""

from dataclasses import dataclass
from typing import Optional

__all__ = ["ShapeSpec"]


@dataclass
class ShapeSpec:
    """Shape of a feature map, as far as modules must know it to be built. Stride is in input pixels."""

    channels: Optional[int] = None  # noqa: UP045 - TorchScript
    height: Optional[int] = None  # noqa: UP045
    width: Optional[int] = None  # noqa: UP045
    stride: Optional[int] = None  # noqa: UP045
