"""Models compiled to TorchScript by their source, and a readable dump of TorchScript."""

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from det2lite.export.instances import patch_instances
from det2lite.utils.file_io import PathManager, atomic_write

__all__ = ["dump_torchscript_IR", "freeze_training_mode", "patch_instances", "scripting_with_instances"]


@contextlib.contextmanager
def freeze_training_mode(model: nn.Module) -> Iterator[None]:
    """While it lasts, `torch.jit.script` takes the mode of each module for a constant: the other branch is left out."""
    modules = list(model.modules())
    for module in modules:
        module.__constants__ = [*getattr(type(module), "__constants__", ()), "training"]
    try:
        yield
    finally:
        for module in modules:
            del module.__constants__


def scripting_with_instances(model: nn.Module, fields: dict[str, Any]) -> torch.jit.ScriptModule:
    """A model in evaluation mode whose code uses `Instances`, compiled by `torch.jit.script`.

    fields: see `patch_instances`. Its results become `Instances` by `utils.testing.convert_scripted_instances`.
    """
    if model.training:
        raise ValueError("a model to export must be in evaluation mode: call model.eval()")
    with freeze_training_mode(model), patch_instances(fields):
        return torch.jit.script(model)


def dump_torchscript_IR(model: torch.jit.ScriptModule | torch.jit.ScriptFunction, dir: str) -> None:
    """Writes the code and graphs of a traced or scripted model or function into text files in the folder `dir`.

    model_ts_code.txt: code of every submodule; model_ts_IR.txt: their graphs; model_ts_IR_inlined.txt: the one graph
    that runs; model.txt: the modules, for a traced or scripted one with its original name.
    """
    PathManager.mkdirs(dir)
    if isinstance(model, torch.jit.ScriptFunction):
        modules = [("<root>", model)]
    else:
        modules = [(name or "<root>", module) for name, module in model.named_modules()]
        modules = [(name, part) for name, part in modules if hasattr(part, "forward") and hasattr(part, "graph")]
    texts = {
        "model_ts_code.txt": "\n".join(f"# {name}\n{module.code}" for name, module in modules),
        "model_ts_IR.txt": "\n".join(f"# {name}\n{module.graph}" for name, module in modules),
        "model_ts_IR_inlined.txt": str(model.inlined_graph),
        "model.txt": str(model),
    }
    for name, text in texts.items():
        with atomic_write(os.path.join(dir, name)) as file:
            file.write(text)
