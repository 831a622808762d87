"""What adapts models to TorchScript, under Detectron2's path."""

from det2lite.export.flatten import patch_builtin_len
from det2lite.export.instances import patch_instances
from det2lite.export.torchscript import freeze_training_mode

__all__ = ["freeze_training_mode", "patch_builtin_len", "patch_instances"]
