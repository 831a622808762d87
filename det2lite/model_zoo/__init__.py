"""Configs and published checkpoints by name."""

from det2lite.model_zoo.model_zoo import get, get_checkpoint_url, get_config, get_config_file

__all__ = ["get", "get_checkpoint_url", "get_config", "get_config_file"]
