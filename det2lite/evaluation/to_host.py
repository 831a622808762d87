"""A batch's outputs brought from the device at once."""

from collections.abc import Sequence
from typing import Any

import torch

from det2lite.structures import Instances

__all__ = ["to_host"]


def to_host(outputs: Sequence[Instances]) -> list[Instances]:
    """The instances of each image on the CPU.

    The copies of all fields are put into the queue of the device, which is waited for once: tensors read one by one
    make the host wait once for each of them.
    """
    moved, devices = [], set()
    for instances in outputs:
        fields = {name: _to_host(value, devices) for name, value in instances.get_fields().items()}
        moved.append(Instances(instances.image_size, **fields))
    for device in devices:
        torch.cuda.current_stream(device).synchronize()
    return moved


def _to_host(value: Any, devices: set[torch.device]) -> Any:
    """Adds the device to `devices` where the copy may not be there yet."""
    if isinstance(value, torch.Tensor):
        waits = value.device.type == "cuda"
        if waits:
            devices.add(value.device)
        return value.to("cpu", non_blocking=waits)
    tensor = getattr(value, "tensor", None)
    if isinstance(tensor, torch.Tensor):  # boxes, masks, keypoints
        return value if tensor.device.type == "cpu" else type(value)(_to_host(tensor, devices))
    return value.to("cpu") if hasattr(value, "to") else value
