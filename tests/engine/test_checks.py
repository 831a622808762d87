import logging

import pytest
from torch import nn

from det2lite.config import get_cfg
from det2lite.data import MetadataCatalog
from det2lite.engine.checks import check_class_count, warn_of_frozen_random_layers
from det2lite.layers import FrozenBatchNorm2d
from det2lite.utils.errors import UserError


@pytest.fixture
def dataset():
    name = "checks_of_three_classes"
    MetadataCatalog.get(name).thing_classes = ["circle", "square", "star"]
    yield name
    MetadataCatalog.pop(name)


@pytest.mark.parametrize(("architecture", "node"), [("GeneralizedRCNN", "ROI_HEADS"), ("RetinaNet", "RETINANET")])
def test_class_count(dataset, architecture, node):
    cfg = get_cfg()
    cfg.MODEL.META_ARCHITECTURE = architecture
    with pytest.raises(UserError, match=rf"MODEL.{node}.NUM_CLASSES is 80.* 3 classes.*NUM_CLASSES 3") as caught:
        check_class_count(cfg, [dataset])
    assert isinstance(caught.value, ValueError) and "circle, square, star" in str(caught.value)
    cfg.MODEL[node].NUM_CLASSES = 3
    check_class_count(cfg, [dataset])


def test_what_cannot_be_known_is_left_alone(dataset):
    cfg = get_cfg()
    check_class_count(cfg, [])
    check_class_count(cfg, ["checks_of_no_known_classes"])
    cfg.MODEL.META_ARCHITECTURE = "SomebodysOwn"
    check_class_count(cfg, [dataset])
    MetadataCatalog.pop("checks_of_no_known_classes")


def test_frozen_layers_without_weights(caplog):
    cfg = get_cfg()
    frozen = nn.Sequential(nn.Conv2d(3, 4, 1), FrozenBatchNorm2d(4), nn.Conv2d(4, 4, 1))
    frozen[0].requires_grad_(False)  # weight and bias
    with caplog.at_level(logging.WARNING, "det2lite"):
        warn_of_frozen_random_layers(cfg, nn.Conv2d(3, 4, 1))
        cfg.MODEL.WEIGHTS = "weights.pth"
        warn_of_frozen_random_layers(cfg, frozen)
        assert not caplog.records
        cfg.MODEL.WEIGHTS = ""
        warn_of_frozen_random_layers(cfg, frozen)
    assert "2 parameters and 1 batch norms are frozen" in caplog.text and "FREEZE_AT 0" in caplog.text
