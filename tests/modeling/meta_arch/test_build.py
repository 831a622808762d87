import pytest
from torch import nn

from det2lite.config import get_cfg
from det2lite.modeling import META_ARCH_REGISTRY, build_model


def test_by_name_on_the_wanted_device():
    @META_ARCH_REGISTRY.register()
    class OneWeight(nn.Module):
        def __init__(self, cfg):
            super().__init__()
            self.layer = nn.Linear(1, cfg.MODEL.ROI_HEADS.NUM_CLASSES)

    cfg = get_cfg()
    cfg.merge_from_list(["MODEL.META_ARCHITECTURE", "OneWeight", "MODEL.DEVICE", "cpu"])
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = 7
    model = build_model(cfg)
    assert model.layer.weight.shape == (7, 1)
    assert model.layer.weight.device.type == "cpu"


def test_unknown_name_is_answered_helpfully():
    cfg = get_cfg()
    cfg.MODEL.META_ARCHITECTURE = "GeneralisedRCNN"
    with pytest.raises(KeyError, match="GeneralizedRCNN"):
        build_model(cfg)
