"""Training loops, hooks, the default trainer and predictor, and the launcher of several processes.

Names are imported when they are first asked for, so that `--help` of a tool does not wait for torch.
"""

import importlib

from det2lite.engine.launch import launch  # bound here: the function and its module have the same name

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
_MODULE_OF = {name: module for module, names in _HOMES.items() for name in names}
_SUBMODULES = (*_HOMES, "defaults")

__all__ = ["launch", *_MODULE_OF]


def __getattr__(name: str):
    if name in _SUBMODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_SUBMODULES})
