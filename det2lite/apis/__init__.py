"""Prediction, training and evaluation in a call each.

Names are imported when they are first asked for, so that the help of a command does not wait for torch.
"""

import importlib

_HOMES = {
    "detector": ("Detector", "inference_detector", "init_detector"),
    "asynchronous": ("async_inference_detector",),
    "result": ("Detection", "DetectionResult"),
    "tiling": ("Tiling",),
    "training": ("evaluate", "train"),
    "video": ("VideoReader", "VideoWriter", "open_video"),
}
_MODULE_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [*_MODULE_OF]


def __getattr__(name: str):
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
