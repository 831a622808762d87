"""Detectors as files that run without det2lite: a function from one image to its predictions, by tracing."""

import contextlib
import json
import os
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from det2lite.export.flatten import Schema, TracingAdapter
from det2lite.structures import Instances
from det2lite.utils.errors import UserError
from det2lite.utils.file_io import atomic_write

__all__ = ["STABLE_ONNX_OPSET_VERSION", "export_onnx", "export_torchscript", "predict_image", "quiet"]

STABLE_ONNX_OPSET_VERSION = 16  # the first whose RoiAlign can take the centre of the first pixel as 0.5


def predict_image(model: nn.Module, image: torch.Tensor) -> Instances | dict[str, Any]:
    """Predictions on one image `(C, H, W)` of `INPUT.FORMAT`, 0..255: what exported models compute.

    Of a two-stage model the `Instances` on the input, masks `(R, 1, M, M)` in the frame of their box, for
    `detector_postprocess` to scale and paste. Of a panoptic model `instances` and `sem_seg`, logits on the input; the
    merge of both is left to the caller. Of other models what they return for the image.
    """
    inputs = [{"image": image}]
    if not hasattr(model, "inference"):
        outputs = model(inputs)[0]
        return outputs["instances"] if set(outputs) == {"instances"} else outputs
    outputs = model.inference(inputs, do_postprocess=False)
    if isinstance(outputs, tuple):
        instances, sem_seg = outputs
        return {"instances": instances[0], "sem_seg": sem_seg[0]}
    return outputs[0]


def _adapter(model: nn.Module, image: torch.Tensor) -> TracingAdapter:
    """The model ready to trace; its `outputs_schema` is known."""
    if model.training:
        raise ValueError("a model to export must be in evaluation mode: call model.eval()")
    adapter = TracingAdapter(model, (image,), predict_image)
    with torch.no_grad():
        adapter(image)
    return adapter


def export_torchscript(model: nn.Module, image: torch.Tensor, path: str | os.PathLike) -> Schema:
    """Writes `predict_image` as TorchScript: `torch.jit.load(path)(image)` is a tuple of tensors.

    image: `(C, H, W)` to trace with; the trace serves images of other sizes. Give one that objects are found on. The
    names of the outputs are in the file as JSON, under the extra file "outputs"; its parameters may want gradients, so
    run it under `torch.no_grad()`. Returns how the outputs belong together: `schema(outputs)` is what the model gives.
    """
    adapter = _adapter(model, image)
    names = json.dumps(adapter.outputs_schema.names())
    with quiet():
        traced = torch.jit.trace(adapter, adapter.flattened_inputs, check_trace=False)
    with quiet(), atomic_write(path, "wb") as file:
        torch.jit.save(traced, file, _extra_files={"outputs": names})
    return adapter.outputs_schema


def export_onnx(
    model: nn.Module,
    image: torch.Tensor,
    path: str | os.PathLike,
    *,
    opset_version: int = STABLE_ONNX_OPSET_VERSION,
) -> Schema:
    """Writes `predict_image` as ONNX: input `image (C, H, W)` of any height and width, outputs by their names.

    Arguments and result as of `export_torchscript`. Raises `UserError` where the package `onnx` is missing.
    """
    try:
        import onnx  # noqa: F401 - the exporter needs it
    except ImportError:
        raise UserError("exporting to ONNX needs the package onnx: pip install onnx onnxruntime") from None
    adapter = _adapter(model, image)
    schema = adapter.outputs_schema
    with quiet(), atomic_write(path, "wb") as file:
        # tracing it is: torch.export has no way through detectors, whose shapes follow from their values
        torch.onnx.export(
            adapter,
            adapter.flattened_inputs,
            file,
            opset_version=opset_version,
            input_names=["image"],
            output_names=schema.names(),
            dynamic_axes={"image": {1: "height", 2: "width"}},
            dynamo=False,
        )
    return schema


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the warnings about every check of a shape, as those of the modeling code hold for all images, and without
    torch's advice to use other formats.
    """
    with warnings.catch_warnings():
        for category in (torch.jit.TracerWarning, DeprecationWarning, FutureWarning, UserWarning):
            warnings.simplefilter("ignore", category)
        yield
