"""The default config, and the one that code may read where none is handed to it."""

from det2lite.config.cfg_node import CfgNode
from det2lite.config.configurable import configurable, explicit_arguments, has_config
from det2lite.config.defaults import _C
from det2lite.config.versions import downgrade_config, upgrade_config

__all__ = [
    "CfgNode",
    "configurable",
    "downgrade_config",
    "get_cfg",
    "global_cfg",
    "set_global_cfg",
    "upgrade_config",
]

global_cfg = CfgNode()

# names in Detectron2 of what decorators of projects are made of
_get_args_from_config, _called_with_cfg = explicit_arguments, has_config


def get_cfg() -> CfgNode:
    """A copy of the default config."""
    return _C.clone()


def set_global_cfg(cfg: CfgNode) -> None:
    """Lets `global_cfg` hold the keys of `cfg`."""
    global_cfg.clear()
    global_cfg.update(cfg)
