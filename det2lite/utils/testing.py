"""Helpers of tests: boxes and pictures to run on, comparison of predictions, exported models."""

import functools
import importlib
import io
import os
import unittest
from collections.abc import Callable
from typing import Any

import torch
from torch.torch_version import TorchVersion

_LIVES_IN = {
    "CfgNode": "det2lite.config",
    "DatasetCatalog": "det2lite.data",
    "read_image": "det2lite.data.detection_utils",
    "build_model": "det2lite.modeling",
    "Boxes": "det2lite.structures",
    "Instances": "det2lite.structures",
    "ROIMasks": "det2lite.structures",
}


def __getattr__(name: str) -> Any:
    if name in _LIVES_IN:  # rooms above this one, loaded by who asks
        return getattr(importlib.import_module(_LIVES_IN[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def get_model_no_weights(config_path: str) -> torch.nn.Module:
    """The model of a config of the model zoo with random weights, on the GPU where there is one."""
    cfg = importlib.import_module("det2lite.model_zoo").get_config(config_path)
    cfg.MODEL.DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
    return importlib.import_module("det2lite.modeling").build_model(cfg)


def random_boxes(num_boxes: int, max_coord: float = 100, device: torch.device | str = "cpu") -> torch.Tensor:
    """Boxes `(num_boxes, 4)` XYXY within `max_coord`, none of them without area."""
    corner = torch.rand(num_boxes, 2, device=device) * (max_coord * 0.5)
    # at least a hundredth of the range and less than its half, so that the far corner stays inside
    size = (0.01 + 0.48 * torch.rand(num_boxes, 2, device=device)) * max_coord
    return torch.cat([corner, corner + size], dim=1)


def get_sample_coco_image(tensor: bool = True) -> Any:
    """A photograph of COCO where it is there, else a picture of the embedded data set: uint8 BGR.

    Returns `(C, H, W)`, or for `tensor=False` an array `(H, W, C)`.
    """
    catalog, read = __getattr__("DatasetCatalog"), __getattr__("read_image")
    image = None
    for name in ("coco_2017_val_100", "coco_2017_val", "shapes_val"):
        try:
            sample = catalog.get(name)[0]
        except OSError:
            continue
        if os.path.exists(sample["file_name"]):
            image = read(sample["file_name"], format="BGR")
            break
    if image is None:
        raise FileNotFoundError("neither COCO nor the embedded data set can be read: see $DETECTRON2_DATASETS")
    return torch.from_numpy(image.transpose(2, 0, 1).copy()) if tensor else image


def convert_scripted_instances(instances: Any) -> Any:
    """`Instances` from what a scripted model returns for them (see `export.patch_instances`)."""
    return importlib.import_module("det2lite.export.instances").to_instances(instances)


def assert_instances_allclose(
    input: Any, other: Any, *, rtol: float = 1e-5, msg: str = "", size_as_tensor: bool = False
) -> None:
    """Raises AssertionError unless both `Instances` have the same size, fields and values.

    rtol: of floating-point fields, as a part of the field's largest magnitude. size_as_tensor: image sizes may be
    tensors, as traced models return them. What a scripted model returns is converted first.
    """
    is_scripted = importlib.import_module("det2lite.export.instances").is_scripted
    input, other = (convert_scripted_instances(i) if is_scripted(i) else i for i in (input, other))
    msg = f"{msg}: " if msg else ""
    sizes = [tuple(i.image_size) for i in (input, other)]
    if size_as_tensor:
        sizes = [tuple(int(side) for side in size) for size in sizes]
    assert sizes[0] == sizes[1], f"{msg}image sizes {sizes[0]} and {sizes[1]}"
    names = [sorted(i.get_fields()) for i in (input, other)]
    assert names[0] == names[1], f"{msg}fields {names[0]} and {names[1]}"
    for name in names[0]:
        ours, theirs = input.get(name), other.get(name)
        assert type(ours) is type(theirs), f"{msg}{name}: {type(ours).__name__} and {type(theirs).__name__}"
        ours, theirs = (getattr(value, "tensor", value) for value in (ours, theirs))
        assert _same(ours, theirs, rtol), f"{msg}field {name!r} differs"


def _same(ours: Any, theirs: Any, rtol: float) -> bool:
    if not isinstance(ours, torch.Tensor):
        return ours == theirs
    if ours.shape != theirs.shape:
        return False
    if not ours.is_floating_point() or ours.numel() == 0:
        return torch.equal(ours, theirs)
    return torch.allclose(ours, theirs, rtol=rtol, atol=ours.abs().max().item() * rtol)


def reload_script_model(module: torch.jit.ScriptModule) -> torch.jit.ScriptModule:
    """The module saved and loaded again, as another program would find it."""
    buffer = io.BytesIO()
    torch.jit.save(module, buffer)
    buffer.seek(0)
    return torch.jit.load(buffer)


def has_dynamic_axes(onnx_model: Any) -> bool:
    """Whether a size of an input or output of an ONNX model is left open."""
    values = [*onnx_model.graph.input, *onnx_model.graph.output]
    return any(dim.HasField("dim_param") for value in values for dim in value.type.tensor_type.shape.dim)


def min_torch_version(min_version: str) -> bool:
    """Whether this is PyTorch `min_version`, such as "2.6", or a later one."""
    return TorchVersion(torch.__version__) >= min_version


def register_custom_op_onnx_export(opname: str, symbolic_fn: Callable, opset_version: int, min_version: str) -> None:
    """Has `symbolic_fn` write operator `opname` when exporting to ONNX, on PyTorch older than `min_version`.

    From `min_version` on PyTorch knows the operator itself.
    """
    if not min_torch_version(min_version):
        torch.onnx.register_custom_op_symbolic(opname, symbolic_fn, opset_version)


def unregister_custom_op_onnx_export(opname: str, opset_version: int, min_version: str) -> None:
    """Takes back `register_custom_op_onnx_export` with the same arguments."""
    if not min_torch_version(min_version):
        torch.onnx.unregister_custom_op_symbolic(opname, opset_version)


skipIfOnCPUCI = unittest.skipIf(
    bool(os.environ.get("CI")) and not torch.cuda.is_available(), "takes too long on the CPU for continuous integration"
)
"""Decorator of a test that is slow on the CPU."""


def skipIfUnsupportedMinOpsetVersion(min_opset_version: int, current_opset_version: int | None = None) -> Callable:
    """Decorator of a test that needs ONNX operator set `min_opset_version`; the default is what we export."""
    if current_opset_version is None:
        current_opset_version = importlib.import_module("det2lite.export").STABLE_ONNX_OPSET_VERSION

    def decorator(test: Callable) -> Callable:
        @functools.wraps(test)
        def wrapped(*args, **kwargs):
            if current_opset_version < min_opset_version:
                raise unittest.SkipTest(f"needs ONNX opset {min_opset_version}, this is {current_opset_version}")
            return test(*args, **kwargs)

        return wrapped

    return decorator


def skipIfUnsupportedMinTorchVersion(min_version: str) -> Callable:
    """Decorator of a test that needs PyTorch `min_version`."""
    return unittest.skipIf(not min_torch_version(min_version), f"needs PyTorch {min_version}")
