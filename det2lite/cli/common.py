"""What several subcommands share: which config is meant. Imports no torch unless a checkpoint is read."""

import argparse
import os

from det2lite.config import CfgNode, get_cfg
from det2lite.utils.errors import BadValue


def config_of(args: argparse.Namespace) -> tuple[CfgNode, str]:
    """The config of `base_config` with the pairs KEY VALUE over it; the file it is from, or ""."""
    cfg, config_file = base_config(args)
    cfg.merge_from_list(args.opts)
    return cfg, config_file


def base_config(args: argparse.Namespace) -> tuple[CfgNode, str]:
    """The config of --config-file, --model or the checkpoint in --weights; the file it is from, or "".

    Of several that are given the first wins: a config file says more than the checkpoint beside it.
    """
    cfg, config_file = get_cfg(), getattr(args, "config_file", "")
    if not config_file and getattr(args, "model", ""):
        from det2lite.model_zoo.model_zoo import find_config_file

        config_file = find_config_file(args.model)
    if config_file:
        cfg.merge_from_file(config_file)
    elif getattr(args, "weights", ""):
        merge_from_checkpoint(cfg, args.weights)
    return cfg, config_file


def merge_from_checkpoint(cfg: CfgNode, weights: str) -> dict:
    """Merges the config that a checkpoint carries, its device left to this machine. Returns all it says of its run."""
    from det2lite.checkpoint.run_info import read_run_info

    run = read_run_info(weights)
    if not run.get("config"):
        raise BadValue(f"{weights} carries no config of its own; give --config-file FILE")
    cfg.merge_from_text(run["config"], f"the config in {weights}")
    cfg.MODEL.DEVICE = "auto"
    cfg.DATASETS.REGISTER = [_found_again(entry, weights) for entry in cfg.DATASETS.REGISTER]
    return run


def _found_again(entry: list[str], weights: str) -> list[str]:
    """An entry of DATASETS.REGISTER; where the run's folder was moved, the COCO file that was made in it is there."""
    name, json_file, image_root = entry
    beside = os.path.join(os.path.dirname(weights), "converted", os.path.basename(json_file))
    moved = not os.path.exists(json_file) and os.path.basename(os.path.dirname(json_file)) == "converted"
    return [name, beside if moved and os.path.exists(beside) else json_file, image_root]
