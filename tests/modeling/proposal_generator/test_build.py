import pytest
from torch import nn

from det2lite.config import get_cfg
from det2lite.layers import ShapeSpec
from det2lite.modeling import PROPOSAL_GENERATOR_REGISTRY, build_proposal_generator
from det2lite.modeling.proposal_generator import RPN

SHAPES = {"res4": ShapeSpec(channels=8, stride=16)}


def test_by_name():
    cfg = get_cfg()
    assert isinstance(build_proposal_generator(cfg, SHAPES), RPN)
    cfg.MODEL.PROPOSAL_GENERATOR.NAME = "PrecomputedProposals"
    assert build_proposal_generator(cfg, SHAPES) is None
    cfg.MODEL.PROPOSAL_GENERATOR.NAME = "RPM"
    with pytest.raises(KeyError, match="RPN"):
        build_proposal_generator(cfg, SHAPES)


def test_a_project_may_register_its_own():
    @PROPOSAL_GENERATOR_REGISTRY.register()
    class OwnProposals(nn.Module):
        def __init__(self, cfg, input_shape):
            super().__init__()
            self.shape = input_shape

    cfg = get_cfg()
    cfg.MODEL.PROPOSAL_GENERATOR.NAME = "OwnProposals"
    assert build_proposal_generator(cfg, SHAPES).shape is SHAPES
