"""What a bug report needs to know about the machine and the installed libraries.

Nothing that may be broken is imported at the top: the report is what tells that it is.
"""

import importlib.metadata
import importlib.util
import os
import platform
import sys
from collections.abc import Mapping
from typing import NamedTuple

from det2lite.utils.import_check import ImportCheck, import_failure

__all__ = ["OptionalPart", "collect_env_info", "environment_table", "failing_libraries", "optional_parts"]

# by name of each distribution the module of it that is tried, one that loads its compiled parts
_ON_TORCH = {"torch": "torch", "torchvision": "torchvision", "fvcore": "fvcore.nn"}
_LIBRARIES = {
    "iopath": "iopath.common.file_io",
    "yacs": "yacs.config",
    "hotcoco": "hotcoco",
    "pycocotools": "pycocotools.mask",
    "opencv-python": "cv2",
    "opencv-python-headless": "cv2",
    "Pillow": "PIL.Image",
    "scipy": "scipy.linalg",
    "shapely": "shapely",
    "matplotlib": "matplotlib",
    "tensorboard": "tensorboard.compat.proto.event_pb2",
    "triton": "triton",
    "onnx": "onnx",
    "onnxruntime": "onnxruntime",
    "onnxscript": "onnxscript",
    "cityscapesscripts": "cityscapesscripts",
    "supervision": "supervision",
}
_CPU_FLAGS = "avx2 avx512f avx512_bf16 avx512_vnni amx_bf16 asimd bf16 sve".split()  # that make matrices fast
_VARIABLES = (
    "DETECTRON2_DATASETS DET2LITE_MODEL_ZOO FVCORE_CACHE CUDA_VISIBLE_DEVICES OMP_NUM_THREADS TORCH_HOME"
).split()


def _version(library: str) -> str:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def failing_libraries() -> dict[str, str]:
    """By name of each installed library that cannot be imported, why; one line each.

    Those that need PyTorch are imported here, the others meanwhile in a process of their own.
    """
    others = {"numpy": "numpy", **_LIBRARIES}
    others = {name: module for name, module in others.items() if _version(name) != "not installed"}
    check = ImportCheck(dict.fromkeys(others.values()))
    failures = {name: import_failure(module) for name, module in _ON_TORCH.items()}
    reasons = check.failures()
    failures |= {name: reasons.get(module, "") for name, module in others.items()}
    return {name: reason for name, reason in failures.items() if reason}


def _devices() -> list[tuple[str, str]]:
    import torch

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


def _of_torch() -> list[tuple[str, str]]:
    """Its version and place, the devices, and what of the processor it can use for speed."""
    import torch

    name, flags = _processor()
    useful = ", ".join(flag for flag in _CPU_FLAGS if flag in flags) or "no known extras"
    return [
        ("PyTorch", f"{torch.__version__} @ {os.path.dirname(torch.__file__)}"),
        *_devices(),
        ("CPU", f"{name}; {torch.backends.cpu.get_cpu_capability()} in PyTorch; has {useful}"),
        ("CPU cores", f"{os.cpu_count()}, {torch.get_num_threads()} used by PyTorch"),
    ]


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
    return environment_table({})


def environment_table(failures: Mapping[str, str]) -> str:
    """The same. failures: by name of each library that cannot be imported, why; see `failing_libraries`."""
    from tabulate import tabulate

    import det2lite

    def version(library: str) -> str:
        found = _version(library)
        return f"{found}, but its import fails: {failures[library]}" if library in failures else found

    rows = [
        ("system", platform.platform()),
        ("Python", sys.version.replace("\n", " ")),
        ("det2lite", f"{getattr(det2lite, '__version__', 'unknown')} @ {os.path.dirname(det2lite.__file__)}"),
        ("numpy", version("numpy")),
        *([("PyTorch", version("torch")), ("CPU", _processor()[0])] if "torch" in failures else _of_torch()),
        ("RAM", _memory()),
    ]
    names = ("torchvision", "fvcore", *_LIBRARIES)
    rows += [(name, version(name)) for name in names if name in failures or _version(name) != "not installed"]
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


def optional_parts(failures: Mapping[str, str] | None = None) -> list[OptionalPart]:
    """What is not needed by everyone, and whether it is there. failures: see `failing_libraries`."""
    failures = failures or {}

    def missing(modules: tuple[str, ...]) -> tuple[str, ...]:
        broken = {name: f"{name}, whose import fails" for name in modules if name in failures}
        return tuple(broken.get(n, n) for n in modules if n in broken or importlib.util.find_spec(n) is None)

    parts = [OptionalPart(purpose, missing(modules), remedy) for purpose, modules, remedy in _OPTIONAL]
    shows = sys.platform in ("darwin", "win32") or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
    parts.append(OptionalPart("windows", () if shows else ("a display",), "write pictures to a folder instead"))
    remedy = "check the driver, and that PyTorch is built for it"
    parts.append(OptionalPart("training large models", () if _has_gpu(failures) else ("a GPU",), remedy))
    return parts


def _has_gpu(failures: Mapping[str, str]) -> bool:
    if "torch" in failures:
        return False
    import torch

    return torch.cuda.is_available() or torch.backends.mps.is_available()


if __name__ == "__main__":
    print(collect_env_info())
