"""What to do when the GPU is full."""

import functools
import logging
from collections.abc import Callable
from typing import Any

import torch

__all__ = ["retry_if_cuda_oom"]


def _is_out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.cuda.OutOfMemoryError) or "CUDA out of memory" in str(error)


def _on_cpu(value: Any) -> Any:
    device = getattr(value, "device", None)
    on_gpu = getattr(device, "type", None) == "cuda" and hasattr(value, "to")
    return value.to(device="cpu") if on_gpu else value


def retry_if_cuda_oom(func: Callable) -> Callable:
    """Calls `func` again with freed caches when the GPU is out of memory, and then once more on the CPU.

    For the CPU only arguments that are themselves on the GPU (tensors, boxes, masks) are moved, not those inside
    containers. `func` must be repeatable, and must not expect its result on the GPU.
    """

    @functools.wraps(func)
    def wrapped(*args, **kwargs):
        for last in (False, True):
            try:
                return func(*args, **kwargs)
            except RuntimeError as error:
                if not _is_out_of_memory(error):
                    raise
            # after the except block: its traceback would keep the tensors of the failed call alive
            if not last:
                torch.cuda.empty_cache()
        logging.getLogger(__name__).info("%s does not fit in GPU memory; computing it on the CPU", func)
        return func(*map(_on_cpu, args), **{name: _on_cpu(value) for name, value in kwargs.items()})

    return wrapped
