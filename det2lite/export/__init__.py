"""Models as TorchScript and ONNX, to run without det2lite."""

from det2lite.export.api import add_export_config
from det2lite.export.flatten import TracingAdapter, flatten_to_tuple
from det2lite.export.torchscript import dump_torchscript_IR, scripting_with_instances
from det2lite.export.traced import STABLE_ONNX_OPSET_VERSION, export_onnx, export_torchscript, predict_image

__all__ = [
    "STABLE_ONNX_OPSET_VERSION",
    "TracingAdapter",
    "add_export_config",
    "dump_torchscript_IR",
    "export_onnx",
    "export_torchscript",
    "flatten_to_tuple",
    "predict_image",
    "scripting_with_instances",
]
