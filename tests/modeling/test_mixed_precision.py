import pytest
import torch
from torch import nn

from det2lite.layers.full_precision import FullPrecisionConv2d, FullPrecisionLinear
from det2lite.modeling import build_model, build_model_with_tta
from det2lite.modeling.mixed_precision import MixedPrecisionModel, amp_precision, for_inference, to_float32
from det2lite.structures import Boxes, Instances, Keypoints
from det2lite.utils.errors import BadValue
from det2lite.utils.events import EventStorage

SMALL_HEADS = ("MODEL.SEM_SEG_HEAD.NUM_CLASSES", 4, "MODEL.SEM_SEG_HEAD.CONVS_DIM", 32)
P3_TO_P7 = (
    *("MODEL.BACKBONE.NAME", "build_retinanet_resnet_fpn_backbone", "MODEL.FPN.IN_FEATURES", ["res3", "res4", "res5"]),
    *("MODEL.RESNETS.OUT_FEATURES", ["res3", "res4", "res5"], "MODEL.FCOS.NORM", ""),
)
MODELS = {
    "masks": ("MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.0),
    "keypoints": ("MODEL.KEYPOINT_ON", True, "MODEL.MASK_ON", False, "MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.0),
    "panoptic": ("MODEL.META_ARCHITECTURE", "PanopticFPN", *SMALL_HEADS),
    "semantic": ("MODEL.META_ARCHITECTURE", "SemanticSegmentor", *SMALL_HEADS),
    "retinanet": ("MODEL.META_ARCHITECTURE", "RetinaNet", "MODEL.RETINANET.SCORE_THRESH_TEST", 0.0, *P3_TO_P7),
    "fcos": ("MODEL.META_ARCHITECTURE", "FCOS", "MODEL.FCOS.SCORE_THRESH_TEST", 0.0, *P3_TO_P7),
}


def tensors(value):
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, Boxes):
        yield value.tensor
    elif isinstance(value, Instances | dict | list | tuple):
        value = value.get_fields() if isinstance(value, Instances) else value
        for item in value.values() if isinstance(value, dict) else value:
            yield from tensors(item)


def test_precision_by_name():
    assert amp_precision("auto", "cuda") is torch.float16
    assert amp_precision("auto", "cpu") is torch.bfloat16
    assert amp_precision("bfloat16", "cuda") is torch.bfloat16
    with pytest.raises(BadValue, match="SOLVER.AMP.PRECISION is 'half'; known values: auto, float16, bfloat16"):
        amp_precision("half", "cpu")


def test_to_float32():
    half = torch.tensor([1.5], dtype=torch.bfloat16)
    found = Instances((2, 3), scores=half, pred_boxes=Boxes(torch.zeros(1, 4)), pred_classes=torch.tensor([7]))
    result = to_float32([{"instances": found, "map": half.half(), "name": "x"}, (half, None)])
    assert result[0]["instances"].scores.dtype == result[0]["map"].dtype == result[1][0].dtype == torch.float32
    assert result[0]["instances"].image_size == (2, 3) and result[0]["instances"].pred_classes.dtype == torch.int64
    assert found.scores.dtype == torch.bfloat16  # the model's own stay as they are
    assert to_float32(Instances((1, 1))).get_fields() == {} and to_float32([]) == []


def test_only_where_it_is_enabled(tiny_config):
    model, cfg = nn.Linear(1, 1), tiny_config()
    assert for_inference(cfg, model) is model
    cfg.TEST.AMP.ENABLED = True
    wrapped = for_inference(cfg, model)
    assert wrapped.model is model and wrapped.precision is torch.bfloat16
    assert for_inference(cfg, wrapped) is wrapped
    wrapped.eval()
    assert not model.training


@pytest.mark.parametrize("kind", MODELS)
def test_models_compute_in_bfloat16_and_answer_in_float32(kind, tiny_config, tiny_batch):
    torch.manual_seed(0)
    model = build_model(tiny_config("TEST.DETECTIONS_PER_IMAGE", 10, *MODELS[kind])).eval()
    products = []
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(lambda module, inputs, output: products.append((type(module), output.dtype)))
    inputs = [{"image": x["image"]} for x in tiny_batch]
    with torch.no_grad():
        outputs = MixedPrecisionModel(model, torch.bfloat16)(inputs)
    assert {dtype for layer, dtype in products if layer is not FullPrecisionLinear} == {torch.bfloat16}
    has_classifier = kind in ("masks", "keypoints", "panoptic")
    last = {dtype for layer, dtype in products if layer is FullPrecisionLinear}
    assert last == ({torch.float32} if has_classifier else set())
    values = list(tensors(outputs))
    assert values and {x.dtype for x in values if x.is_floating_point()} <= {torch.float32}
    if kind in ("masks", "keypoints"):
        assert len(outputs[0]["instances"]) == 10


@pytest.mark.parametrize("kind", MODELS)
def test_last_layers_of_training_are_in_float32(kind, tiny_config, tiny_batch):
    model = build_model(tiny_config(*MODELS[kind])).train()
    found = []
    for module in model.modules():
        if isinstance(module, FullPrecisionConv2d | FullPrecisionLinear):
            module.register_forward_hook(lambda module, inputs, output: found.append(output.dtype))
    for item in tiny_batch:
        item["sem_seg"] = torch.zeros(item["image"].shape[1:], dtype=torch.int64)
        item["instances"].gt_keypoints = Keypoints(torch.full((len(item["instances"]), 17, 3), 2.0))
    with torch.autocast("cpu", dtype=torch.bfloat16), EventStorage():
        model(tiny_batch)
    dense = kind in ("retinanet", "fcos")  # theirs are 3x3 convolutions as large as the others
    assert set(found) == (set() if dense else {torch.float32})


@pytest.mark.parametrize("kind", ["masks", "semantic"])
def test_time_augmentation(kind, tiny_config, tiny_batch):
    sizes = ("TEST.AUG.MIN_SIZES", [48, 64], "TEST.AMP.ENABLED", True, "TEST.DETECTIONS_PER_IMAGE", 3)
    cfg = tiny_config(*sizes, *MODELS[kind])
    model = for_inference(cfg, build_model_with_tta(cfg, build_model(cfg))).eval()
    with torch.no_grad():
        outputs = model([{"image": tiny_batch[0]["image"], "height": 32, "width": 48}])
    values = list(tensors(outputs))
    assert values and {x.dtype for x in values if x.is_floating_point()} <= {torch.float32}


def test_results_are_near_those_of_float32(tiny_config, tiny_batch):
    torch.manual_seed(0)
    model = build_model(tiny_config(*MODELS["semantic"])).eval()
    inputs = [{"image": x["image"]} for x in tiny_batch]
    with torch.no_grad():
        exact, rough = model(inputs), MixedPrecisionModel(model, torch.bfloat16)(inputs)
    for a, b in zip(exact, rough, strict=True):
        difference = (a["sem_seg"] - b["sem_seg"]).abs().max()
        assert 0 < difference < 0.05 * a["sem_seg"].abs().max()  # bfloat16 has 8 bits
