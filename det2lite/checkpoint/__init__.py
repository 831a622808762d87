"""Checkpoints: saving, resuming, and loading weights of many origins."""

from fvcore.common.checkpoint import Checkpointer

from det2lite.checkpoint.conversion import convert_torchvision
from det2lite.checkpoint.detection_checkpoint import DetectionCheckpointer
from det2lite.checkpoint.periodic import PeriodicCheckpointer
from det2lite.checkpoint.random_state import get_random_state, set_random_state
from det2lite.checkpoint.report import CheckpointMismatch
from det2lite.checkpoint.run_info import read_run_info

__all__ = [
    "CheckpointMismatch",
    "Checkpointer",
    "DetectionCheckpointer",
    "PeriodicCheckpointer",
    "convert_torchvision",
    "get_random_state",
    "read_run_info",
    "set_random_state",
]
