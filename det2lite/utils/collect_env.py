"""What a bug report needs to know about the machine and the installed libraries."""

import importlib.metadata
import importlib.util
import os
import platform
import sys
from typing import NamedTuple

import numpy as np
import torch

__all__ = ["OptionalPart", "collect_env_info", "optional_parts"]

_LIBRARIES = (
    "torchvision fvcore iopath yacs hotcoco pycocotools opencv-python opencv-python-headless Pillow scipy shapely "
    "matplotlib tensorboard triton onnx onnxruntime onnxscript cityscapesscripts supervision"
).split()
_CPU_FLAGS = "avx2 avx512f avx512_bf16 avx512_vnni amx_bf16 asimd bf16 sve".split()  # that make matrices fast
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


def _cpu() -> str:
    """Name of the processor, and what of it PyTorch can use for speed."""
    name, flags = _processor()
    useful = [flag for flag in _CPU_FLAGS if flag in flags]
    return f"{name}; {torch.backends.cpu.get_cpu_capability()} in PyTorch; has {', '.join(useful) or 'no known extras'}"


def has_fast_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 by instructions of its own, as far as the system tells."""
    return bool(_processor()[1] & {"avx512_bf16", "amx_bf16", "bf16"})


def _processor() -> tuple[str, set[str]]:
    """Its name, and its flags as Linux knows them."""
    name, flags = platform.processor() or platform.machine(), set()
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            entries = dict(line.split(":", 1) for line in file.read().split("\n\n")[0].splitlines() if ":" in line)
    except OSError:  # not Linux
        entries = {}
    for key, value in entries.items():
        if key.strip() == "model name":
            name = value.strip()
        elif key.strip() in ("flags", "Features"):
            flags = set(value.split())
    return name, flags


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
        ("CPU", _cpu()),
        ("CPU cores", f"{os.cpu_count()}, {torch.get_num_threads()} used by PyTorch"),
        ("RAM", _memory()),
    ]
    rows += [(name, version) for name in _LIBRARIES if (version := _version(name)) != "not installed"]
    rows += [(f"${name}", os.environ[name]) for name in _VARIABLES if name in os.environ]
    return tabulate(rows)


class OptionalPart(NamedTuple):
    """Something that a few features need. missing: what is not there, empty where all is."""

    purpose: str
    missing: tuple[str, ...]
    remedy: str


# purpose, modules that it imports, remedy
_OPTIONAL = (
    ("ONNX files", ("onnx", "onnxscript"), "pip install 'det2lite[export]'"),
    ("running ONNX files", ("onnxruntime",), "pip install 'det2lite[export]'"),
    ("evaluation by Cityscapes' scripts", ("cityscapesscripts",), "pip install 'det2lite[cityscapes]'"),
    ("results as supervision.Detections", ("supervision",), "pip install supervision"),
)


def optional_parts() -> list[OptionalPart]:
    """What is not needed by everyone, and whether it is there."""
    parts = [
        OptionalPart(purpose, tuple(name for name in modules if importlib.util.find_spec(name) is None), remedy)
        for purpose, modules, remedy in _OPTIONAL
    ]
    shows = sys.platform in ("darwin", "win32") or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
    parts.append(OptionalPart("windows", () if shows else ("a display",), "write pictures to a folder instead"))
    on_gpu = torch.cuda.is_available() or torch.backends.mps.is_available()
    remedy = "check the driver, and that PyTorch is built for it"
    parts.append(OptionalPart("training large models", () if on_gpu else ("a GPU",), remedy))
    return parts


if __name__ == "__main__":
    print(collect_env_info())
