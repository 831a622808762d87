"""Exported models run by onnxruntime on photographs, small ones and the configs of the model zoo."""

import pytest
import torch

from det2lite import model_zoo
from det2lite.export import export_onnx, export_torchscript, flatten_to_tuple, predict_image
from det2lite.export.run import in_the_order_of
from det2lite.modeling import build_model
from det2lite.structures import Instances

ort = pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")

KINDS = {
    "mask": ("COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml", {}),
    "retinanet": ("COCO-Detection/retinanet_R_50_FPN_1x.yaml", {"MODEL.RETINANET.SCORE_THRESH_TEST": 0.005}),
    "panoptic": ("COCO-PanopticSegmentation/panoptic_fpn_R_50_1x.yaml", {}),
    "fcos": ("COCO-Detection/fcos_R_50_FPN_1x.yaml", {"MODEL.FCOS.SCORE_THRESH_TEST": 0.005}),
    "semantic": ("Misc/semantic_R_50_FPN_1x.yaml", {}),
    "c4": ("COCO-InstanceSegmentation/mask_rcnn_R_50_C4_1x.yaml", {}),
    "cascade": ("Misc/cascade_mask_rcnn_R_50_FPN_1x.yaml", {}),
    "keypoints": ("COCO-Keypoints/keypoint_rcnn_R_50_FPN_1x.yaml", {}),
}
QUICK = ("mask", "retinanet", "panoptic", "fcos", "semantic")


def run_onnx(path):
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda image: [torch.from_numpy(x) for x in session.run(None, {"image": image.numpy()})]


def differences(model, schema, run, image) -> dict[str, float]:
    """Largest difference of each output, as a part of the output's largest value where that is above 1."""
    with torch.no_grad():
        expected, found = predict_image(model, image), schema(run(image))
    if isinstance(expected, dict) and "instances" in expected:
        found["instances"] = in_the_order_of(expected["instances"], found["instances"])
    elif isinstance(expected, Instances):
        found = in_the_order_of(expected, found)
    (ours, _), (theirs, _) = flatten_to_tuple(expected), flatten_to_tuple(found)
    result = {}
    for name, a, b in zip(schema.names(), ours, theirs, strict=True):
        assert a.shape == b.shape and a.numel() > 0, name
        a, b = a.double(), b.double()
        result[name] = (a - b).abs().max().item() / max(1.0, a.abs().max().item())
    return result


@pytest.mark.parametrize(
    "kind", [k if k in QUICK else pytest.param(k, marks=pytest.mark.slow) for k in KINDS]
)
def test_small_models(kind, small_model, images, tmp_path):
    name, overrides = KINDS[kind]
    model = small_model(name, overrides)
    schema = export_onnx(model, images[0], tmp_path / "model.onnx")
    run = run_onnx(tmp_path / "model.onnx")
    for image in images:
        found = differences(model, schema, run, image)
        assert max(found.values()) < 1e-3, found


@pytest.mark.parametrize("kind", ["cascade", "keypoints"])
def test_traced(kind, small_model, images, tmp_path):
    """Those of which no other test traces a model."""
    model = small_model(KINDS[kind][0])
    with torch.jit.optimized_execution(False):
        schema = export_torchscript(model, images[0], tmp_path / "model.ts")
        run = torch.jit.load(tmp_path / "model.ts")
        for image in images:
            found = differences(model, schema, lambda x: run(x), image)
            assert max(found.values()) < 1e-3, found


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mask", "retinanet", "panoptic"])
def test_models_of_the_zoo(kind, tmp_path, photo):
    """ResNet-50 at its size, random weights whose predictions are spread, two photographs of different size."""
    cfg = model_zoo.get_config(KINDS[kind][0])
    cfg.merge_from_list(["MODEL.DEVICE", "cpu", "MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.013])
    cfg.merge_from_list(["MODEL.RETINANET.SCORE_THRESH_TEST", 0.01, "MODEL.PIXEL_STD", [57.0, 57.0, 57.0]])
    torch.manual_seed(0)
    model = build_model(cfg).eval()
    for name, parameter in model.named_parameters():
        if name.endswith("weight") and parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
            if name.endswith(("cls_score.weight", "bbox_pred.weight", "logits.weight", "deltas.weight")):
                parameter.data *= 0.02
    schema = export_onnx(model, photo(0, 240, 320), tmp_path / "model.onnx")
    run = run_onnx(tmp_path / "model.onnx")
    for image in (photo(0, 240, 320), photo(1, 256, 192)):
        found = differences(model, schema, run, image)
        print(kind, tuple(image.shape), found)
        assert max(found.values()) < 1e-3, found
