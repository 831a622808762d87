"""Trains a model: on a folder of your data, whose layout is recognised, or by a config file.

With --data the class count, batch, learning rate and length are chosen for the data, and said.
The checkpoints need nothing else: `det2lite eval` and `det2lite predict` take them alone.
"""

import argparse
import os
import shlex
import sys
from typing import Any

from det2lite.cli.common import base_config
from det2lite.config import CfgNode, get_cfg
from det2lite.engine.arguments import KeyValueParser as make_parser  # noqa: F401 - takes KEY VALUE pairs
from det2lite.engine.arguments import add_launch_arguments
from det2lite.utils.errors import BadValue
from det2lite.utils.file_io import atomic_write

EXAMPLES = """examples:

  on data in the COCO, YOLO or Pascal VOC layout:
    $ {tool} --data cells --model mask_rcnn_R_50_FPN_1x --output runs/cells

  without pre-trained weights, 50 epochs, another learning rate:
    $ {tool} --data cells --model faster_rcnn_R_50_FPN_1x --weights "" --epochs 50 SOLVER.BASE_LR 0.01

  by a config, on 8 GPUs; then on from where it was interrupted:
    $ {tool} --config-file my.yaml --num-gpus 8
    $ {tool} --resume --output output
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", metavar="DIR", help="data set with train and, perhaps, validation split")
    parser.add_argument("--val", metavar="DIR", help="validation split (default: --data's, or 20%% of it)")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--model", default="", metavar="NAME", help="config of the model zoo, by its file name")
    source.add_argument("--config-file", default="", metavar="FILE", help="config file (YAML)")
    parser.add_argument("--weights", metavar="FILE", help='start from these; "": from scratch (default: the config\'s)')
    parser.add_argument("--epochs", type=float, metavar="N", help="times that the data is seen (with --data)")
    parser.add_argument("--batch", type=int, metavar="N", help="images an iteration, over all GPUs (with --data)")
    parser.add_argument("--output", metavar="DIR", help="folder of the run (default: OUTPUT_DIR, ./output)")
    parser.add_argument("--resume", action="store_true", help="go on with the run in that folder, by its own config")
    parser.add_argument("--overwrite", action="store_true", help="remove the run in that folder and start anew")
    parser.add_argument("--dry-run", action="store_true", help="prepare data and config.yaml, but do not train")
    add_launch_arguments(parser)


def run(args: argparse.Namespace) -> None:
    from det2lite.engine.launch import launch_as_asked
    from det2lite.engine.setup import check_device_count

    check_flags(args)
    cfg = plan(args)
    if args.dry_run:
        config_file = shlex.quote(os.path.join(cfg.OUTPUT_DIR, "config.yaml"))
        print(f"not trained; `det2lite train --config-file {config_file}` does that")
        return
    if args.num_gpus * args.num_machines > 1:
        check_device_count(cfg, args.num_gpus * args.num_machines)
    launch_as_asked(train, args, cfg, args)


def check_flags(args: argparse.Namespace) -> None:
    """Raises `BadValue` for flags that say nothing together."""
    if args.data is None:
        for name in ("val", "epochs", "batch"):
            if getattr(args, name) is not None:
                raise BadValue(f"--{name} goes with --data DIR; without it the config says (SOLVER.MAX_ITER, ...)")
    if args.resume and args.overwrite:
        raise BadValue("--resume goes on with a run and --overwrite removes it: give one of them")
    if not (args.model or args.config_file or args.weights or args.resume):
        raise BadValue("which model? Give --model NAME of the zoo (MODEL_ZOO.md), --config-file FILE or --weights FILE")
    if not (args.data or args.model or args.config_file or args.resume):
        raise BadValue("which data? Give --data DIR, or a config that names its data sets (--config-file, --model)")


def plan(args: argparse.Namespace) -> CfgNode:
    """The whole config of the run, frozen; its folder is there, and what was found and chosen is logged."""
    from det2lite.data.class_lists import own_class_count
    from det2lite.engine.own_schedule import from_scratch
    from det2lite.engine.own_training import check_weights, set_up_for_data
    from det2lite.engine.run_folder import claim_run_folder
    from det2lite.engine.setup import make_output_dir
    from det2lite.utils.logger import setup_logger

    cfg, _ = base_config(args)
    reference = cfg.SOLVER.clone()
    merge_own(cfg, args)
    resumed = resumed_config(cfg, args)
    if resumed is not None:
        return resumed
    rank, world_size = place_of(args)
    if rank == 0:
        claim_run_folder(cfg.OUTPUT_DIR, overwrite=args.overwrite, kept=cfg.MODEL.WEIGHTS)
        make_output_dir(cfg.OUTPUT_DIR)
    logger = setup_logger(cfg.OUTPUT_DIR, rank)
    lines = []
    if args.data is not None:
        if world_size > args.num_gpus:
            raise BadValue(
                "--data prepares a run on one machine: do that with --dry-run, then start all processes with the"
                " config.yaml that it writes"
            )
        lines = set_up_for_data(
            cfg, args.data, val_folder=args.val, processes=args.num_gpus, reference=reference, **wishes(cfg, args)
        )
    if args.weights == "":
        lines += from_scratch(cfg)
    if args.data is not None and own_class_count(cfg) in args.opts[0::2]:
        cfg.MODEL.NUM_CLASSES = None  # each head's own key then counts, and is compared with the data
    merge_own(cfg, args)
    for line in lines:
        logger.info(line)
    check_weights(cfg)
    if args.dry_run:
        with atomic_write(os.path.join(cfg.OUTPUT_DIR, "config.yaml")) as file:
            file.write(cfg.dump())
    cfg.freeze()
    return cfg


def wishes(cfg: CfgNode, args: argparse.Namespace) -> dict[str, Any]:
    """Length and batch as flags or pairs KEY VALUE ask for them; what else is chosen follows from these."""
    keys = args.opts[0::2]
    batch, iterations = args.batch, None
    if "SOLVER.IMS_PER_BATCH" in keys:
        batch = cfg.SOLVER.IMS_PER_BATCH
    if "SOLVER.MAX_ITER" in keys:
        iterations = cfg.SOLVER.MAX_ITER
    return {"epochs": args.epochs, "batch": batch, "iterations": iterations}


def merge_own(cfg: CfgNode, args: argparse.Namespace) -> None:
    """What the command line says of the config, which wins over all else."""
    if args.weights:
        cfg.MODEL.WEIGHTS = args.weights
        if not (args.model or args.config_file):  # the config is the checkpoint's, but this is another run
            cfg.OUTPUT_DIR = get_cfg().OUTPUT_DIR
    if args.output:
        cfg.OUTPUT_DIR = args.output
    cfg.merge_from_list(args.opts)


def resumed_config(cfg: CfgNode, args: argparse.Namespace) -> CfgNode | None:
    """The config of the run to go on with; None where a new one begins. --config-file says what it says there too."""
    if not args.resume:
        return None
    from det2lite.engine.run_folder import config_of_run

    text = config_of_run(cfg.OUTPUT_DIR)
    if text is None:
        if args.model or args.config_file or args.weights:
            return None
        raise BadValue(f"{cfg.OUTPUT_DIR} holds no run to go on with; name its folder with --output DIR")
    folder = cfg.OUTPUT_DIR
    if not args.config_file:
        cfg = get_cfg()
        cfg.merge_from_text(text, f"the config of the run in {folder}")
        cfg.OUTPUT_DIR = folder
        cfg.merge_from_list(args.opts)
    cfg.freeze()
    return cfg


def place_of(args: argparse.Namespace) -> tuple[int, int]:
    """The rank of this process among those that somebody else started, such as torchrun, and how many there will be."""
    from det2lite.engine.launch import place_from_environment

    asked = args.num_gpus * args.num_machines
    place = place_from_environment(os.environ, alone=asked == 1)
    return (0, asked) if place is None else (place.rank, place.world_size)


def train(cfg: CfgNode, args: argparse.Namespace) -> None:
    """The training itself, in each process."""
    from det2lite.engine import default_setup, train_from_config
    from det2lite.engine.run_folder import has_checkpoint
    from det2lite.utils import comm

    default_setup(cfg, args)
    try:
        train_from_config(cfg, resume=args.resume)
    except KeyboardInterrupt:
        if comm.is_main_process() and has_checkpoint(cfg.OUTPUT_DIR):
            command = f"det2lite train --resume --output {shlex.quote(cfg.OUTPUT_DIR)}"
            print(f"`{command}` goes on from the last checkpoint", file=sys.stderr)
        raise
    if comm.is_main_process():
        weights = os.path.join(cfg.OUTPUT_DIR, "model_final.pth")
        flags = f"--weights {shlex.quote(weights)} --input IMAGES --output DIR"
        print(f"done: {weights}; `det2lite predict {flags}` uses it")
