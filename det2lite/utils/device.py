"""Choosing the device that a model runs on."""

import torch

from det2lite.utils.errors import BadValue


def resolve_device(name: str) -> str:
    """The device that `name` means here: "auto" is cuda, else mps, else cpu. Raises `BadValue` if it is not there."""
    name = str(name)
    if name == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise BadValue(f"MODEL.DEVICE {name!r} is not a device; use auto, cpu, cuda, cuda:N or mps") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise BadValue(f"MODEL.DEVICE {name!r} is not there: this machine has {count} CUDA devices; use auto or cpu")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise BadValue(f"MODEL.DEVICE {name!r} is not there on this machine; use auto or cpu")
    return name
