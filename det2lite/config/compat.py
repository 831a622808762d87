"""Versions of the config tree, under Detectron2's path."""

from det2lite.config.versions import downgrade_config, guess_version, upgrade_config

__all__ = ["downgrade_config", "guess_version", "upgrade_config"]
