"""Training loops, hooks, the default trainer and predictor, and the launcher of several processes.

Names are imported when they are first asked for, so that `--help` of a tool does not wait for torch.
"""

from det2lite.engine.launch import launch  # bound here: the function and its module have the same name
from det2lite.utils.lazy_names import lazy_names

_HOMES = {
    "train_loop": ("HookBase", "TrainerBase", "SimpleTrainer", "AMPTrainer"),
    "metrics": ("NonFiniteLoss",),
    "arguments": ("check_arguments", "config_from_arguments", "default_argument_parser"),
    "setup": ("default_setup", "default_writers", "create_ddp_model"),
    "predictor": ("DefaultPredictor",),
    "trainer": ("DefaultTrainer",),
    "training": ("train_from_config",),
    "run_folder": ("claim_run_folder", "config_of_run", "traces_of_run"),
    "evaluate": ("evaluate_weights", "evaluate_with_tta", "load_weights"),
    "run_state": ("LoopState",),
    "checks": ("check_class_count", "check_training_config"),
    "hooks": (
        "CallbackHook",
        "IterationTimer",
        "PeriodicWriter",
        "PeriodicCheckpointer",
        "BestCheckpointer",
        "LRScheduler",
        "AutogradProfiler",
        "TorchProfiler",
        "EMAHook",
        "EvalHook",
        "PreciseBN",
        "TorchMemoryStats",
    ),
}

__getattr__, __dir__, _NAMES = lazy_names(__name__, _HOMES, submodules=(*_HOMES, "defaults"))
__all__ = ["launch", *_NAMES]
