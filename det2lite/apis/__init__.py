"""Prediction, training and evaluation in a call each.

Names are imported when they are first asked for, so that the help of a command does not wait for torch.
"""

from det2lite.utils.lazy_names import lazy_names

_HOMES = {
    "detector": ("Detector", "inference_detector", "init_detector"),
    "asynchronous": ("async_inference_detector",),
    "result": ("Detection", "DetectionResult"),
    "tiling": ("Tiling",),
    "training": ("evaluate", "train"),
    "video": ("VideoReader", "VideoWriter", "open_video"),
}

__getattr__, __dir__, __all__ = lazy_names(__name__, _HOMES)
