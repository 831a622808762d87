"""What to do when the GPU is full; and memory of the host that is used again."""

import ctypes
import functools
import logging
import os
import sys
from collections.abc import Callable
from typing import Any

import torch

__all__ = ["keep_freed_memory", "retry_if_cuda_oom"]

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of mallopt(3)
_LARGEST_KEPT = (256 << 20, 32 << 20)  # bytes; older libraries take the second only


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


@functools.cache
def keep_freed_memory() -> bool:
    """Lets this process keep the memory that it frees, for what it needs next. Returns whether it can (glibc).

    Otherwise every feature map on the CPU comes from the system and goes back to it, page by page: a fifth of the time
    of a training step. Does nothing where MALLOC_TRIM_THRESHOLD_ or MALLOC_MMAP_THRESHOLD_ are set in the environment.
    """
    if not sys.platform.startswith("linux") or {"MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"} & set(os.environ):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return False
    # larger blocks stay with the system: of those that hold zeros only what is written takes memory
    kept = any(mallopt(_M_MMAP_THRESHOLD, size) for size in _LARGEST_KEPT)
    return kept and bool(mallopt(_M_TRIM_THRESHOLD, -1))
