"""What several subcommands share: which config is meant. Imports no torch unless a checkpoint is read."""

import argparse

from det2lite.config import CfgNode, get_cfg
from det2lite.utils.errors import BadValue


def config_of(args: argparse.Namespace) -> tuple[CfgNode, str]:
    """The config of --config-file, --model or --weights with the pairs KEY VALUE over it; the file it is from, or "".

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
    cfg.merge_from_list(args.opts)
    return cfg, config_file


def merge_from_checkpoint(cfg: CfgNode, weights: str) -> dict:
    """Merges the config that a checkpoint carries, its device left to this machine. Returns all it says of its run."""
    from det2lite.checkpoint.run_info import read_run_info

    run = read_run_info(weights)
    if not run.get("config"):
        raise BadValue(f"{weights} carries no config of its own; give --config-file FILE")
    cfg.merge_from_text(run["config"], f"the config in {weights}")
    cfg.MODEL.DEVICE = "auto"
    return run
