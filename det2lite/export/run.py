"""A trained model written as a file that runs without det2lite, and compared with the model itself."""

import importlib.util
import os
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import nn

from det2lite.config import CfgNode
from det2lite.data import build_detection_test_loader
from det2lite.data import transforms as T
from det2lite.data.detection_utils import read_image
from det2lite.engine import DefaultTrainer
from det2lite.engine.evaluate import load_weights
from det2lite.engine.setup import ensure_logging
from det2lite.export.flatten import Schema, flatten_to_tuple
from det2lite.export.instances import to_instances
from det2lite.export.torchscript import scripting_with_instances
from det2lite.export.traced import export_onnx, export_torchscript, predict_image, quiet
from det2lite.modeling import build_model
from det2lite.modeling.postprocessing import detector_postprocess, sem_seg_postprocess
from det2lite.structures import Boxes, Instances
from det2lite.utils.errors import BadValue, UserError
from det2lite.utils.file_io import atomic_write

__all__ = ["Difference", "ExportedModel", "Report", "export_model", "output_file"]

ENDINGS = {"torchscript": (".ts", ".pt", ".pth", ".torchscript"), "onnx": (".onnx",)}
FIELDS = {
    "proposal_boxes": Boxes,
    "objectness_logits": torch.Tensor,
    "pred_boxes": Boxes,
    "scores": torch.Tensor,
    "pred_classes": torch.Tensor,
    "pred_masks": torch.Tensor,
    "pred_keypoints": torch.Tensor,
    "pred_keypoint_heatmaps": torch.Tensor,
}


class Difference(NamedTuple):
    """How far an output of the exported model is from the model's."""

    name: str
    shape: tuple[int, ...]
    largest: float


class Report(NamedTuple):
    """What `export_model` did. results: of the evaluation, empty where there was none."""

    path: str
    image_size: tuple[int, int]
    differences: list[Difference]
    results: dict[str, Any]


def export_model(
    cfg: CfgNode,
    output: str,
    *,
    method: str = "tracing",
    format: str = "torchscript",
    sample: str | None = None,
    opset: int | None = None,
    run_eval: bool = False,
    overwrite: bool = False,
) -> Report:
    """Writes the model of `cfg` with MODEL.WEIGHTS to `output`, and compares both on a sample image.

    output: a file, by its ending, or a folder for `model.ts` or `model.onnx`. method: "tracing" (a function from an
    image, see `predict_image`) or "scripting" (from `[{"image": image}]` to a list of instances, TorchScript alone).
    sample: image file, default the first image of DATASETS.TEST. opset: of ONNX. run_eval: evaluate the exported model
    on DATASETS.TEST. Raises `UserError` for what is missing, before anything is written.
    """
    check_request(method, format)
    path = output_file(output, format, overwrite)
    if run_eval and not cfg.DATASETS.TEST:
        raise BadValue("nothing to evaluate on: DATASETS.TEST is empty; set it to a registered data set")
    model = build_model(cfg).eval()
    load_weights(cfg, model)
    image = sample_image(cfg, sample).to(model.device)
    schema = _write(model, image, path, method, format, opset)
    exported = ExportedModel(path, format, schema)
    differences = compare(model, exported, image)
    results = {}
    if run_eval:
        ensure_logging()
        results = dict(DefaultTrainer.test(cfg, exported.eval()))
    return Report(path, tuple(image.shape[1:]), differences, results)


def check_request(method: str, format: str) -> None:
    """Raises a `UserError` for what cannot be made here."""
    if method == "caffe2_tracing" or format == "caffe2":
        raise BadValue("Caffe2 is no part of PyTorch any more; use --export-method tracing with --format onnx")
    if method not in ("tracing", "scripting") or format not in ENDINGS:
        raise BadValue(f"no export by {method!r} to {format!r}: tracing or scripting to torchscript, tracing to onnx")
    if method == "scripting" and format == "onnx":
        raise BadValue("ONNX is made by tracing: use --export-method tracing with --format onnx")
    missing = [name for name in ("onnx", "onnxruntime") if importlib.util.find_spec(name) is None]
    if format == "onnx" and missing:
        raise UserError(f"exporting to ONNX needs {' and '.join(missing)}: pip install onnx onnxruntime")


def output_file(output: str, format: str, overwrite: bool = False) -> str:
    """The file to write for `output`, a file or a folder. Raises `UserError` where it is there already or in vain."""
    endings = ENDINGS[format]
    ending = os.path.splitext(output)[1]
    others = [other for kind, of_kind in ENDINGS.items() if kind != format for other in of_kind]
    if ending in others:
        raise BadValue(f"{output} has the ending of another format; for --format {format} use {' or '.join(endings)}")
    path = output if ending in endings and not os.path.isdir(output) else os.path.join(output, "model" + endings[0])
    if os.path.exists(path) and not overwrite:
        raise BadValue(f"{path} is there already; give --overwrite to replace it, or another --output")
    folder = os.path.dirname(os.path.abspath(path))
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise BadValue(f"{folder} cannot be made: {error.strerror}; choose another --output") from None
    if not os.access(folder, os.W_OK):
        raise BadValue(f"{folder} cannot be written to; choose another --output")
    return path


def sample_image(cfg: CfgNode, path: str | None) -> torch.Tensor:
    """`(C, H, W)` float32 as the model takes it: of a file, or the first of DATASETS.TEST."""
    if path:
        image = read_image(path, cfg.INPUT.FORMAT)
        resize = T.ResizeShortestEdge(cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST)
        image = resize.get_transform(image).apply_image(image)
        return torch.from_numpy(image.transpose(2, 0, 1).astype("float32"))
    if not cfg.DATASETS.TEST:
        raise BadValue("no image to trace with: give --sample-image, or a data set, DATASETS.TEST \"('name',)\"")
    return next(iter(build_detection_test_loader(cfg, cfg.DATASETS.TEST[0])))[0]["image"].float()


def _write(
    model: nn.Module, image: torch.Tensor, path: str, method: str, format: str, opset: int | None
) -> Schema | None:
    if method == "scripting":
        with torch.no_grad():
            scripted = scripting_with_instances(model, FIELDS)
        with atomic_write(path, "wb") as file:
            torch.jit.save(scripted, file)
        return None
    if format == "onnx":
        return export_onnx(model, image, path, **({"opset_version": opset} if opset else {}))
    return export_torchscript(model, image, path)


class ExportedModel(nn.Module):
    """An exported file called as the model that it was made of; it gives what evaluators take.

    schema: of a traced model, from `export_torchscript` or `export_onnx`; None for a scripted one.
    """

    def __init__(self, path: str, format: str, schema: Schema | None):
        super().__init__()
        self.schema = schema
        # no child module: evaluators switch the mode of those, which is a constant in the file
        self.run = _onnx_runner(path) if format == "onnx" else _script_runner(path)

    @torch.no_grad()
    def predict(self, image: torch.Tensor) -> Any:
        """What `predict_image` gives for an image `(C, H, W)`."""
        if self.schema is not None:
            return self.schema(self.run(image))
        return to_instances(self.run([{"image": image}])[0])

    def forward(self, batched_inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """A dict an image with `instances` or `sem_seg`, scaled to its `height` and `width`."""
        return [self._of_image(inputs) for inputs in batched_inputs]

    def _of_image(self, inputs: dict[str, Any]) -> dict[str, Any]:
        image = inputs["image"].float()
        found, size = self.predict(image), tuple(image.shape[1:])
        wanted = inputs.get("height", size[0]), inputs.get("width", size[1])
        found = found if isinstance(found, dict) else {"instances": found}
        results = {}
        if "instances" in found:
            instances = found["instances"]
            on_input = Instances(tuple(int(side) for side in instances.image_size), **instances.get_fields())
            results["instances"] = detector_postprocess(on_input, *wanted)
        if "sem_seg" in found:
            results["sem_seg"] = sem_seg_postprocess(found["sem_seg"], size, *wanted)
        return results


def _script_runner(path: str) -> Callable[[torch.Tensor], Any]:
    with quiet():
        return torch.jit.load(path).forward


def _onnx_runner(path: str) -> Callable[[torch.Tensor], list[torch.Tensor]]:
    from onnxruntime import InferenceSession

    session = InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda image: [torch.from_numpy(x) for x in session.run(None, {"image": image.cpu().numpy()})]


def compare(model: nn.Module, exported: ExportedModel, image: torch.Tensor) -> list[Difference]:
    """The largest difference of each output from the model's. Raises `UserError` where the shapes differ."""
    with torch.no_grad():
        wanted = predict_image(model, image) if exported.schema is not None else _instances(model, image)
    given = exported.predict(image)
    if isinstance(wanted, dict) and "instances" in wanted:
        given["instances"] = in_the_order_of(wanted["instances"], given["instances"])
    elif isinstance(wanted, Instances):
        given = in_the_order_of(wanted, given)
    (expected, schema), (found, _) = flatten_to_tuple(wanted), flatten_to_tuple(given)
    differences = []
    for name, ours, theirs in zip(schema.names(), expected, found, strict=True):
        if ours.shape != theirs.shape:
            raise UserError(
                f"{name}: the model gives {tuple(ours.shape)}, the exported one {tuple(theirs.shape)}; its scores may "
                "lie at a threshold, so try another --sample-image"
            )
        difference = (ours.double().cpu() - theirs.double().cpu()).abs()
        differences.append(Difference(name, tuple(ours.shape), difference.max().item() if difference.numel() else 0.0))
    return differences


def in_the_order_of(wanted: Instances, given: Instances) -> Instances:
    """`given` with each detection where `wanted` has it: scores that differ in the last digit may swap two."""
    if len(wanted) != len(given) or not (wanted.has("pred_boxes") and wanted.has("pred_classes")):
        return given
    distance = torch.cdist(wanted.pred_boxes.tensor.cpu(), given.pred_boxes.tensor.cpu())  # (R, R)
    other_class = wanted.pred_classes.cpu()[:, None] != given.pred_classes.cpu()
    order = (distance + other_class * 1e6).argmin(dim=1) if len(wanted) else torch.zeros(0, dtype=torch.long)
    is_permutation = torch.equal(order.sort().values, torch.arange(len(order)))
    return given[order.to(given.pred_classes.device)] if is_permutation else given


def _instances(model: nn.Module, image: torch.Tensor) -> Instances:
    """What a scripted model gives: one-stage detectors leave it to the caller to clip boxes to the image."""
    if hasattr(model, "inference"):
        return model.inference([{"image": image}], do_postprocess=False)[0]
    images = model.preprocess_image([{"image": image}])
    maps = model.backbone(images.tensor)
    maps = [maps[name] for name in model.head_in_features]
    return model.forward_inference(images, maps, model.head(maps))[0]
