"""Proposal generators by name."""

from torch import nn

from det2lite.config import CfgNode
from det2lite.layers import ShapeSpec
from det2lite.utils.registry import Registry

PROPOSAL_GENERATOR_REGISTRY = Registry("PROPOSAL_GENERATOR")
PROPOSAL_GENERATOR_REGISTRY.__doc__ = "Modules called with `(cfg, input_shape)`; see `RPN` for what they return."


def build_proposal_generator(cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> nn.Module | None:
    """The proposal generator of `cfg.MODEL.PROPOSAL_GENERATOR.NAME`; None for "PrecomputedProposals"."""
    name = cfg.MODEL.PROPOSAL_GENERATOR.NAME
    if name == "PrecomputedProposals":
        return None
    return PROPOSAL_GENERATOR_REGISTRY.get(name)(cfg, input_shape)
