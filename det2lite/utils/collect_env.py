"""What a bug report needs to know about the machine and the installed libraries."""

import importlib.metadata
import os
import platform
import sys

import numpy as np
import torch

__all__ = ["collect_env_info"]

_LIBRARIES = (
    "torchvision fvcore iopath yacs hotcoco pycocotools opencv-python opencv-python-headless Pillow scipy matplotlib "
    "tensorboard"
).split()
_VARIABLES = (
    "DETECTRON2_DATASETS DET2LITE_MODEL_ZOO FVCORE_CACHE CUDA_VISIBLE_DEVICES OMP_NUM_THREADS TORCH_HOME"
).split()


def _version(library: str) -> str:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _devices() -> list[tuple[str, str]]:
    if not torch.cuda.is_available():
        mps = torch.backends.mps.is_available()
        return [("GPU", "Apple (mps)" if mps else "none that PyTorch can use")]
    names: dict[str, list[int]] = {}
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        arch = f"arch {properties.major}.{properties.minor}"
        names.setdefault(f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB, {arch}", []).append(index)
    rows = [(f"GPU {','.join(map(str, indices))}", name) for name, indices in names.items()]
    return [*rows, ("CUDA of PyTorch", str(torch.version.cuda)), ("cuDNN", str(torch.backends.cudnn.version()))]


def _memory() -> str:
    try:
        import psutil
    except ImportError:
        return "unknown (psutil is not installed)"
    return f"{psutil.virtual_memory().total / 2**30:.1f} GiB"


def collect_env_info() -> str:
    """A table of versions, devices and settings, to be pasted into a report."""
    from tabulate import tabulate

    import det2lite

    rows = [
        ("system", platform.platform()),
        ("Python", sys.version.replace("\n", " ")),
        ("det2lite", f"{getattr(det2lite, '__version__', 'unknown')} @ {os.path.dirname(det2lite.__file__)}"),
        ("numpy", np.__version__),
        ("PyTorch", f"{torch.__version__} @ {os.path.dirname(torch.__file__)}"),
        *_devices(),
        ("CPU cores", f"{os.cpu_count()}, {torch.get_num_threads()} used by PyTorch"),
        ("RAM", _memory()),
    ]
    rows += [(name, version) for name in _LIBRARIES if (version := _version(name)) != "not installed"]
    rows += [(f"${name}", os.environ[name]) for name in _VARIABLES if name in os.environ]
    return tabulate(rows)


if __name__ == "__main__":
    print(collect_env_info())
