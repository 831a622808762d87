import os

import numpy as np
import pytest
import torch
from torch import nn

from det2lite.checkpoint import DetectionCheckpointer
from det2lite.config import get_cfg
from det2lite.data import MetadataCatalog
from det2lite.engine import DefaultPredictor
from det2lite.modeling import META_ARCH_REGISTRY
from det2lite.utils.errors import BadValue, UserError


class TinyOfPredictorTests(nn.Module):
    """Answers with what it was given: mean colour times a weight, and sizes."""

    def __init__(self, cfg):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))
        self.batches = []

    def forward(self, batch):
        assert not self.training and not torch.is_grad_enabled()
        self.batches.append(len(batch))
        return [
            {
                "colour": x["image"].float().mean((1, 2)) * self.weight,
                "input": tuple(x["image"].shape[1:]),
                "size": (x["height"], x["width"]),
            }
            for x in batch
        ]


@pytest.fixture
def cfg(tmp_path):
    if "TinyOfPredictorTests" not in META_ARCH_REGISTRY:
        META_ARCH_REGISTRY.register(TinyOfPredictorTests)
    cfg = get_cfg()
    cfg.MODEL.META_ARCHITECTURE = "TinyOfPredictorTests"
    cfg.MODEL.DEVICE = "cpu"
    cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST = 8, 12
    model = TinyOfPredictorTests(cfg)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([1.0, 2.0, 4.0]))
    DetectionCheckpointer(model, str(tmp_path)).save("weights")
    cfg.MODEL.WEIGHTS = str(tmp_path / "weights.pth")
    return cfg


def image(height, width):
    return np.full((height, width, 3), (10, 20, 30), dtype=np.uint8)


def test_one_image(cfg):
    result = DefaultPredictor(cfg)(image(4, 6))
    assert result["colour"].tolist() == [10, 40, 120]
    assert (result["input"], result["size"]) == ((8, 12), (4, 6))


def test_class_names_come_from_the_checkpoint_where_the_data_set_is_not_known(cfg):
    cfg.DATASETS.TEST = ("not_registered_in_predictor_test",)
    folder = os.path.dirname(cfg.MODEL.WEIGHTS)
    checkpointer = DetectionCheckpointer(TinyOfPredictorTests(cfg), folder)
    checkpointer.save("with_names", run={"class_names": ["cat", "dog"]})
    checkpointer.save("foreign", run="tuesday")
    assert DefaultPredictor(cfg).metadata.get("thing_classes") is None
    cfg.MODEL.WEIGHTS = os.path.join(folder, "foreign.pth")
    assert DefaultPredictor(cfg).metadata.get("thing_classes") is None
    cfg.MODEL.WEIGHTS = os.path.join(folder, "with_names.pth")
    assert DefaultPredictor(cfg).metadata.thing_classes == ["cat", "dog"]
    assert MetadataCatalog.get("not_registered_in_predictor_test").get("thing_classes") is None
    cfg.DATASETS.TEST = ("shapes_val",)
    assert DefaultPredictor(cfg).metadata is MetadataCatalog.get("shapes_val")
    MetadataCatalog.pop("not_registered_in_predictor_test")


def test_the_longer_side_is_bounded(cfg):
    assert DefaultPredictor(cfg)(image(4, 12))["input"] == (4, 12)


def test_rgb_models_get_rgb(cfg):
    cfg.INPUT.FORMAT = "RGB"
    assert DefaultPredictor(cfg)(image(1, 1))["colour"].tolist() == [30, 40, 40]
    cfg.INPUT.FORMAT = "L"
    with pytest.raises(BadValue, match="INPUT.FORMAT is 'L'"):
        DefaultPredictor(cfg)


def test_a_list_goes_through_the_model_in_batches(cfg):
    predictor = DefaultPredictor(cfg)
    predictor.batch_size = 2
    results = predictor([image(4, 6), image(6, 4), image(1, 1)])
    assert [result["size"] for result in results] == [(4, 6), (6, 4), (1, 1)]
    assert predictor.model.batches == [2, 1]
    assert predictor([]) == []


@pytest.mark.parametrize("wrong", [np.zeros((4, 6)), np.zeros((4, 6, 4)), ["file.jpg"], [None]])
def test_what_is_no_image(cfg, wrong):
    with pytest.raises(BadValue, match="numpy array"):
        DefaultPredictor(cfg)(wrong)


def test_weights_have_to_fit(cfg, tmp_path):
    torch.save({"model": {"other": torch.zeros(3)}}, tmp_path / "other.pth")
    cfg.MODEL.WEIGHTS = str(tmp_path / "other.pth")
    with pytest.raises(UserError):
        DefaultPredictor(cfg)


def test_metadata_is_that_of_the_test_set(cfg):
    assert DefaultPredictor(cfg).metadata is None
    cfg.DATASETS.TEST = ("predictor_test_set",)
    assert DefaultPredictor(cfg).metadata.name == "predictor_test_set"


def test_mixed_precision_of_the_test(cfg):
    cfg.TEST.AMP.ENABLED = True
    predictor = DefaultPredictor(cfg)
    seen = []
    predictor.model.register_forward_pre_hook(lambda *_: seen.append(torch.get_autocast_dtype("cpu")))
    predictor.model.register_forward_hook(lambda *_: seen.append(torch.is_autocast_enabled("cpu")))
    assert predictor(image(4, 6))["colour"].tolist() == [10, 40, 120]
    assert seen == [torch.bfloat16, True] and not torch.is_autocast_enabled("cpu")
