"""Randomness and backend switches of a process."""

import logging
import os
import random

import numpy as np
import torch

__all__ = ["TORCH_VERSION", "configure_backends", "seed_all_rng", "setup_environment"]

TORCH_VERSION = tuple(int(part) for part in torch.__version__.split(".")[:2])
"""(major, minor) of the installed PyTorch."""


def seed_all_rng(seed: int | None = None) -> int:
    """Seeds Python's, NumPy's and PyTorch's generators, and returns the seed; without one it draws and logs one."""
    if seed is None:
        seed = int.from_bytes(os.urandom(4), "little") & 0x7FFFFFFF
        logging.getLogger(__name__).info("Using a random seed %d", seed)
    np.random.seed(seed % 2**32)  # NumPy takes no larger ones
    torch.manual_seed(seed)
    random.seed(seed)
    os.environ["PYTHONHASHSEED"] = str(seed % 2**32)
    return seed


def configure_backends(*, cudnn_benchmark: bool = False, deterministic: bool = False) -> None:
    """Sets how PyTorch chooses its kernels.

    cudnn_benchmark: try the convolution algorithms and keep the fastest, for inputs of few sizes. deterministic: only
    algorithms that give the same numbers each time, which is slower; it overrules `cudnn_benchmark`.
    """
    torch.backends.cudnn.benchmark = cudnn_benchmark and not deterministic
    torch.backends.cudnn.deterministic = deterministic
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS needs it to repeat its sums
    torch.use_deterministic_algorithms(deterministic, warn_only=True)


def setup_environment() -> None:
    """Prepares the process once: OpenCV must not start threads in every loader worker."""
    try:
        import cv2
    except ImportError:
        return
    cv2.setNumThreads(0)
    cv2.ocl.setUseOpenCL(False)
