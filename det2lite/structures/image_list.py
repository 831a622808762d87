"""Images of different sizes in one padded batch."""

from typing import Any, Dict, List, Optional, Tuple  # noqa: UP035 - TorchScript reads the annotations

import torch
from torch import device
from torch.nn import functional as F

__all__ = ["ImageList", "move_device_like", "shapes_to_tensor"]


def shapes_to_tensor(x: List[int], device: Optional[torch.device] = None) -> torch.Tensor:  # noqa: UP006, UP045
    """Sizes as an int64 tensor (len(x),); while tracing, sizes that depend on the input stay so."""
    if torch.jit.is_scripting():
        return torch.as_tensor(x, device=device)
    if torch.jit.is_tracing():
        # traced sizes are 0-d tensors; stacking keeps them in the graph, as_tensor would freeze them
        return torch.stack([torch.as_tensor(size, device=device) for size in x])
    return torch.as_tensor(x, device=device)


@torch.jit.script_if_tracing
def move_device_like(src: torch.Tensor, dst: torch.Tensor) -> torch.Tensor:
    """`src` on the device of `dst`; a trace follows the device that its input has then, not now."""
    return src.to(dst.device)


class ImageList:
    """N images in one tensor, padded to a common size at the right and the bottom.

    Attributes:
        tensor: (N, H, W) or (N, C_1, ..., C_K, H, W).
        image_sizes: (height, width) of each image without padding.
    """

    def __init__(self, tensor: torch.Tensor, image_sizes: List[Tuple[int, int]]):  # noqa: UP006
        self.tensor = tensor
        self.image_sizes = image_sizes

    def __len__(self) -> int:
        return len(self.image_sizes)

    def __getitem__(self, idx: int) -> torch.Tensor:
        """One image without its padding, (C_1, ..., C_K, H, W); a view."""
        size = self.image_sizes[idx]
        return self.tensor[idx, ..., : size[0], : size[1]]

    @torch.jit.unused
    def to(self, *args: Any, **kwargs: Any) -> "ImageList":
        """The batch moved or cast as `Tensor.to` does."""
        return ImageList(self.tensor.to(*args, **kwargs), self.image_sizes)

    @property
    def device(self) -> device:
        return self.tensor.device

    @staticmethod
    def from_tensors(
        tensors: List[torch.Tensor],  # noqa: UP006
        size_divisibility: int = 0,
        pad_value: float = 0.0,
        padding_constraints: Optional[Dict[str, int]] = None,  # noqa: UP006, UP045
    ) -> "ImageList":
        """Batch of images (C_1, ..., C_K, H_i, W_i) that agree in all but their size.

        size_divisibility: sides of the batch are rounded up to a multiple of this.
        padding_constraints: what the model asks for instead, by name: `size_divisibility` (overrides the
            argument) and `square_size` (the batch is a square of this side).
        """
        assert isinstance(tensors, (list, tuple)), "images of a batch come as a list"
        assert len(tensors) > 0, "no image to make a batch of"
        for tensor in tensors:
            assert isinstance(tensor, torch.Tensor), "images of a batch are tensors"
            assert tensor.shape[:-2] == tensors[0].shape[:-2], (tensor.shape, tensors[0].shape)
        square_size = 0
        if padding_constraints is not None:
            square_size = padding_constraints.get("square_size", 0)
            size_divisibility = padding_constraints.get("size_divisibility", size_divisibility)
        if not torch.jit.is_scripting() and torch.jit.is_tracing():
            return _from_tensors_traced(tensors, size_divisibility, pad_value, square_size)

        image_sizes = [(tensor.shape[-2], tensor.shape[-1]) for tensor in tensors]
        height, width = square_size, square_size
        if square_size == 0:
            height = max([size[0] for size in image_sizes])
            width = max([size[1] for size in image_sizes])
        if size_divisibility > 1:
            height = (height + size_divisibility - 1) // size_divisibility * size_divisibility
            width = (width + size_divisibility - 1) // size_divisibility * size_divisibility

        if len(tensors) == 1:
            padding = [0, width - image_sizes[0][1], 0, height - image_sizes[0][0]]
            batch = F.pad(tensors[0], padding, value=pad_value).unsqueeze(0)
        else:
            shape = [len(tensors)] + list(tensors[0].shape[:-2]) + [height, width]
            batch = tensors[0].new_full(shape, pad_value)
            for i in range(len(tensors)):
                batch[i, ..., : image_sizes[i][0], : image_sizes[i][1]].copy_(tensors[i])
        return ImageList(batch.contiguous(), image_sizes)


@torch.jit.ignore
def _from_tensors_traced(
    tensors: List[torch.Tensor],  # noqa: UP006
    size_divisibility: int,
    pad_value: float,
    square_size: int,
) -> ImageList:
    """`ImageList.from_tensors` whose padding follows the sizes of the images the trace is run on."""
    image_sizes = [shapes_to_tensor(list(tensor.shape[-2:])) for tensor in tensors]
    if square_size > 0:
        size = torch.tensor([square_size, square_size])
    else:
        size = torch.stack(image_sizes).max(0).values  # (2,)
    if size_divisibility > 1:
        size = torch.div(size + size_divisibility - 1, size_divisibility, rounding_mode="floor") * size_divisibility
    padded = []
    for tensor, image_size in zip(tensors, image_sizes, strict=True):
        missing = size - image_size
        padded.append(F.pad(tensor, [0, missing[1], 0, missing[0]], value=pad_value))
    return ImageList(torch.stack(padded).contiguous(), image_sizes)
