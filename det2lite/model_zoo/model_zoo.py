"""The model zoo: a config by its name, the address of its published checkpoint, a model with its weights."""

import importlib.util
import json
import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from det2lite.config import CfgNode, get_cfg
from det2lite.utils.errors import UnknownName, close_names

if TYPE_CHECKING:
    from torch import nn

__all__ = ["get", "get_checkpoint_url", "get_config", "get_config_file"]

HERE = Path(__file__).parent
SUFFIX = ".yaml"


class UnknownConfig(UnknownName, RuntimeError):
    """A config that the zoo does not have, or has no checkpoint of."""


@cache
def config_root() -> Path:
    """The folder of the configs: `configs/` of a checkout, or its copy in an installed package."""
    checkout = HERE.parent.parent / "configs"
    if (HERE / "configs").is_dir():
        return HERE / "configs"
    if (checkout / "Base-RCNN-FPN.yaml").is_file():
        return checkout
    spec = importlib.util.find_spec("det2lite.model_zoo.configs")
    return Path(next(iter(spec.submodule_search_locations))) if spec else checkout


def config_names() -> list[str]:
    """Names of all configs, such as `COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml`."""
    root = config_root()
    files = (path.relative_to(root) for path in root.glob(f"*/**/*{SUFFIX}"))
    return sorted(path.as_posix() for path in files if not path.name.startswith("Base"))


@cache
def _published() -> dict:
    return json.loads((HERE / "checkpoints.json").read_text())


def get_checkpoint_url(config_path: str) -> str:
    """Address of the checkpoint that Detectron2 published for a config. Raises `UnknownConfig`."""
    name = config_path.removesuffix(SUFFIX).removesuffix(".py")
    published = _published()
    if name not in published["config_to_suffix"]:
        hint = close_names(name, published["config_to_suffix"])
        raise UnknownConfig(f"no published checkpoint for {config_path!r}{hint}")
    return f"{published['prefix']}{name}/{published['config_to_suffix'][name]}"


def get_config_file(config_path: str) -> str:
    """Path of a config on this machine. config_path: a name such as `COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml`.

    What Detectron2 has as a `.py` is a `.yaml` here. Raises `UnknownConfig` for a name that is not in the zoo.
    """
    root = config_root().resolve()
    if config_path.endswith(".py"):
        config_path = config_path.removesuffix(".py") + SUFFIX
    path = (root / config_path).resolve()
    if not path.is_file() or root not in path.parents:
        hint = close_names(config_path, config_names()) or f"; see {root}"
        raise UnknownConfig(f"no config {config_path!r} in the model zoo{hint}")
    return str(path)


def find_config_file(name: str) -> str:
    """Path of a config: a file on this disk, or one of the zoo by its name, with or without folder and ending.

    Where several folders have a file of that name, COCO's is meant. Raises `UnknownConfig` for a name that no config
    has, or that several have.
    """
    if os.path.isfile(name):
        return name
    wanted = name.removesuffix(SUFFIX)
    names = [known.removesuffix(SUFFIX) for known in config_names()]
    found = [known for known in names if wanted in (known, known.rpartition("/")[2])]
    if not found:
        bare = [known.rpartition("/")[2] for known in names]
        hint = close_names(wanted.rpartition("/")[2], bare) or f"; see {config_root()}"
        raise UnknownConfig(f"no model {name!r} in the zoo, nor a file of that name{hint}")
    if len(found) > 1:
        found = [known for known in found if known.startswith("COCO-")] or found
    if len(found) > 1:
        raise UnknownConfig(f"several configs of the zoo are called {name!r}: {', '.join(found)}; give the folder too")
    return get_config_file(found[0] + SUFFIX)


def get_config(config_path: str, trained: bool = False) -> CfgNode:
    """A config by name. trained: MODEL.WEIGHTS is the published checkpoint instead of the pre-trained backbone."""
    cfg = get_cfg()
    cfg.merge_from_file(get_config_file(config_path))
    if trained:
        cfg.MODEL.WEIGHTS = get_checkpoint_url(config_path)
    return cfg


def get(config_path: str, trained: bool = False, device: str | None = None) -> "nn.Module":
    """The model of a config, with its weights loaded, in training mode.

    trained: the published checkpoint, else the pre-trained backbone. device: overrides MODEL.DEVICE.
    """
    from det2lite.checkpoint import DetectionCheckpointer
    from det2lite.modeling import build_model

    cfg = get_config(config_path, trained)
    if device is not None:
        cfg.MODEL.DEVICE = device
    model = build_model(cfg)
    DetectionCheckpointer(model).load(cfg.MODEL.WEIGHTS, strict=trained)
    return model
