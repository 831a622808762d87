"""Hooks: what happens around the iterations of a training."""

from det2lite.engine.hooks.checkpointing import BestCheckpointer, PeriodicCheckpointer
from det2lite.engine.hooks.ema import AveragingCheckpointer, EMAHook, averages_of
from det2lite.engine.hooks.evaluation import EvalHook
from det2lite.engine.hooks.precise_bn import PreciseBN
from det2lite.engine.hooks.profiling import AutogradProfiler, TorchMemoryStats, TorchProfiler
from det2lite.engine.hooks.random_state import GatherRandomState
from det2lite.engine.hooks.schedule import LRScheduler
from det2lite.engine.hooks.timing import CallbackHook, IterationTimer
from det2lite.engine.hooks.writing import PeriodicWriter
from det2lite.engine.train_loop import HookBase

__all__ = [
    "AutogradProfiler",
    "AveragingCheckpointer",
    "BestCheckpointer",
    "CallbackHook",
    "EMAHook",
    "EvalHook",
    "GatherRandomState",
    "HookBase",
    "IterationTimer",
    "LRScheduler",
    "PeriodicCheckpointer",
    "PeriodicWriter",
    "PreciseBN",
    "TorchMemoryStats",
    "TorchProfiler",
    "averages_of",
]
