import json
import sys

import pytest
import torch

from det2lite.config import get_cfg
from det2lite.export import export_onnx, export_torchscript, predict_image
from det2lite.modeling import build_model
from det2lite.modeling.postprocessing import detector_postprocess
from det2lite.structures import Boxes, Instances
from det2lite.utils.errors import UserError
from det2lite.utils.testing import assert_instances_allclose, has_dynamic_axes

FPN = {
    "MODEL.BACKBONE.NAME": "build_resnet_fpn_backbone",
    "MODEL.RESNETS.OUT_FEATURES": ["res2", "res3", "res4", "res5"],
    "MODEL.FPN.IN_FEATURES": ["res2", "res3", "res4", "res5"],
    "MODEL.FPN.OUT_CHANNELS": 16,
    "MODEL.ANCHOR_GENERATOR.SIZES": [[8], [16], [32], [64], [128]],
    "MODEL.RPN.IN_FEATURES": ["p2", "p3", "p4", "p5", "p6"],
    "MODEL.RPN.POST_NMS_TOPK_TEST": 60,
    "MODEL.ROI_HEADS.NAME": "StandardROIHeads",
    "MODEL.ROI_HEADS.IN_FEATURES": ["p2", "p3", "p4", "p5"],
    "MODEL.ROI_BOX_HEAD.NAME": "FastRCNNConvFCHead",
    "MODEL.ROI_BOX_HEAD.NUM_FC": 1,
    "MODEL.ROI_BOX_HEAD.FC_DIM": 32,
    "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION": 7,
    "MODEL.ROI_MASK_HEAD.NAME": "MaskRCNNConvUpsampleHead",
    "MODEL.ROI_MASK_HEAD.NUM_CONV": 1,
    "MODEL.ROI_MASK_HEAD.CONV_DIM": 16,
    "MODEL.ROI_MASK_HEAD.POOLER_RESOLUTION": 7,
    "MODEL.MASK_ON": True,
}
RETINANET = {
    "MODEL.META_ARCHITECTURE": "RetinaNet",
    "MODEL.BACKBONE.NAME": "build_retinanet_resnet_fpn_backbone",
    "MODEL.RESNETS.OUT_FEATURES": ["res3", "res4", "res5"],
    "MODEL.FPN.IN_FEATURES": ["res3", "res4", "res5"],
    "MODEL.FPN.OUT_CHANNELS": 16,
    "MODEL.RETINANET.NUM_CLASSES": 3,
    "MODEL.RETINANET.NUM_CONVS": 1,
    "MODEL.RETINANET.SCORE_THRESH_TEST": 0.0,
    "MODEL.ANCHOR_GENERATOR.SIZES": [[16], [32], [64], [96], [128]],
}


def build(settings):
    cfg = get_cfg()
    common = {
        "MODEL.DEVICE": "cpu",
        "MODEL.RESNETS.DEPTH": 18,
        "MODEL.RESNETS.RES2_OUT_CHANNELS": 64,
        "MODEL.ROI_HEADS.NUM_CLASSES": 3,
        "MODEL.ROI_HEADS.SCORE_THRESH_TEST": 0.0,
        "TEST.DETECTIONS_PER_IMAGE": 20,
    }
    cfg.merge_from_list([item for pair in {**common, **settings}.items() for item in pair])
    torch.manual_seed(0)
    model = build_model(cfg).eval()
    for name, parameter in model.named_parameters():
        if name.endswith(("cls_score.weight", "bbox_pred.weight", "objectness_logits.weight", "anchor_deltas.weight")):
            torch.nn.init.normal_(parameter, std=0.02)  # predictions of an untrained model hardly depend on the image
    return model


def picture(height, width, seed=0):
    """(3, H, W) of smooth random colours, 0..255."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, 5, 7, generator=generator)
    return torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")[0] * 255


IMAGES = [picture(64, 96), picture(100, 61, seed=1), picture(33, 32, seed=2), torch.zeros(3, 48, 48)]


@pytest.fixture(scope="module")
def mask_rcnn():
    model = build(FPN)
    # the images differ in the number of proposals and detections then, and one has none
    model.proposal_generator.nms_thresh = 0.3
    model.roi_heads.box_predictor.test_score_thresh = 0.997
    return model


@pytest.fixture(scope="module")
def retinanet():
    return build(RETINANET)


def run_onnx(path):
    session = pytest.importorskip("onnxruntime").InferenceSession(path)
    return lambda image: [torch.from_numpy(x) for x in session.run(None, {"image": image.numpy()})]


@pytest.fixture(scope="module", params=["onnx", "torchscript"])
def kind(request):
    if request.param == "onnx":
        pytest.importorskip("onnx")
    return request.param


def export_and_compare(kind, model, path):
    """Detections in each of `IMAGES`."""
    export, runner = {"onnx": (export_onnx, run_onnx), "torchscript": (export_torchscript, torch.jit.load)}[kind]
    schema = export(model, IMAGES[0], path)
    run, counts = runner(str(path)), []
    for image in IMAGES:
        with torch.no_grad():
            expected = predict_image(model, image)
            found = schema(run(image))
        assert_instances_allclose(found, expected, rtol=1e-3, size_as_tensor=True)
        counts.append(len(found))
    return schema, counts


def test_mask_rcnn_on_images_of_other_sizes(kind, mask_rcnn, tmp_path):
    path = tmp_path / "new folder" / "model"
    schema, counts = export_and_compare(kind, mask_rcnn, path)
    assert not mask_rcnn.training and [p.name for p in path.parent.iterdir()] == ["model"]
    assert schema.names() == ["pred_boxes", "pred_classes", "pred_masks", "scores", "image_size"]
    assert counts[0] > 0 and counts[1] == 0 and len(set(counts)) == 4


def test_retinanet(kind, retinanet, tmp_path):
    _, counts = export_and_compare(kind, retinanet, tmp_path / "model")
    assert min(counts) > 0
    if kind == "onnx":
        onnx = pytest.importorskip("onnx")
        model = onnx.load(tmp_path / "model")
        onnx.checker.check_model(model)
        assert has_dynamic_axes(model)
        sizes = model.graph.input[0].type.tensor_type.shape.dim
        assert [dim.dim_param or dim.dim_value for dim in sizes] == [3, "height", "width"]


PANOPTIC = {
    **FPN,
    "MODEL.META_ARCHITECTURE": "PanopticFPN",
    "MODEL.SEM_SEG_HEAD.NUM_CLASSES": 4,
    "MODEL.SEM_SEG_HEAD.CONVS_DIM": 32,
}


def test_panoptic(kind, tmp_path):
    """Instances and the logits of stuff classes; what merges them is no part of the exported model."""
    model = build(PANOPTIC)
    export, runner = (export_onnx, run_onnx) if kind == "onnx" else (export_torchscript, torch.jit.load)
    schema = export(model, IMAGES[0], tmp_path / "model")
    assert schema.names()[-2:] == ["image_size", "sem_seg"]
    run = runner(str(tmp_path / "model"))
    for image in IMAGES[:2]:
        with torch.no_grad():
            expected, found = predict_image(model, image), schema(run(image))
        assert_instances_allclose(found["instances"], expected["instances"], rtol=1e-3, size_as_tensor=True)
        assert expected["sem_seg"].shape[0] == 4
        assert torch.allclose(found["sem_seg"], expected["sem_seg"], atol=1e-3)


def test_file_tells_the_outputs_and_postprocessing_is_as_in_the_model(mask_rcnn, tmp_path):
    path = str(tmp_path / "model.ts")
    schema = export_torchscript(mask_rcnn, IMAGES[0], path)
    extra = {"outputs": ""}
    traced = torch.jit.load(path, _extra_files=extra)
    assert json.loads(extra["outputs"]) == schema.names()
    with torch.no_grad():
        instances = schema(traced(IMAGES[2]))
    assert isinstance(instances, Instances) and isinstance(instances.pred_boxes, Boxes)
    found = detector_postprocess(instances, 66, 64)
    with torch.no_grad():
        expected = mask_rcnn([{"image": IMAGES[2], "height": 66, "width": 64}])[0]["instances"]
    assert len(found) > 0 and torch.allclose(found.pred_boxes.tensor, expected.pred_boxes.tensor, atol=1e-2)
    assert (found.pred_masks != expected.pred_masks).float().mean() < 1e-3


def test_mistakes(retinanet, tmp_path, monkeypatch):
    retinanet.train()
    with pytest.raises(ValueError, match="evaluation mode"):
        export_torchscript(retinanet, IMAGES[0], tmp_path / "model")
    retinanet.eval()
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(UserError, match="pip install onnx"):
        export_onnx(retinanet, IMAGES[0], tmp_path / "model")
    assert not list(tmp_path.iterdir())
