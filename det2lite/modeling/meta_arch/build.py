"""Models by name."""

from torch import nn

from det2lite.config import CfgNode
from det2lite.data.class_lists import with_class_counts
from det2lite.utils.device import resolve_device
from det2lite.utils.memory import keep_freed_memory
from det2lite.utils.registry import Registry

META_ARCH_REGISTRY = Registry("META_ARCH")
META_ARCH_REGISTRY.__doc__ = """
Modules called with `(cfg)`: a batch `list[dict]` gives `dict[str, Tensor]` of losses in training, `list[dict]` of
predictions in evaluation.
"""


def build_model(cfg: CfgNode) -> nn.Module:
    """The model of `cfg.MODEL.META_ARCHITECTURE` on `cfg.MODEL.DEVICE`, without its weights loaded."""
    cfg = with_class_counts(cfg)
    model = META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE)(cfg)
    device = resolve_device(cfg.MODEL.DEVICE)
    if device == "cpu":
        keep_freed_memory()
    return model.to(device)
