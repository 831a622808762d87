"""Command line of the training tools. Imports no torch, so that `--help` is quick."""

import argparse
import sys

from det2lite.config import CfgNode, get_cfg
from det2lite.utils.errors import BadValue

__all__ = ["check_arguments", "config_from_arguments", "default_argument_parser"]

_EXAMPLES = """examples:

  train on this machine, on its GPU or else its CPU:
    $ {tool} --config-file cfg.yaml

  on 8 GPUs:
    $ {tool} --num-gpus 8 --config-file cfg.yaml

  change some values of the config (keys as in the YAML file, after all flags):
    $ {tool} --config-file cfg.yaml MODEL.WEIGHTS /path/to/weights.pth SOLVER.BASE_LR 0.001

  go on after an interruption:
    $ {tool} --config-file cfg.yaml --resume

  evaluate only:
    $ {tool} --config-file cfg.yaml --eval-only MODEL.WEIGHTS output/model_final.pth

  on two machines of 8 GPUs:
    (machine0)$ {tool} --num-gpus 8 --num-machines 2 --machine-rank 0 --dist-url tcp://machine0:29500 ...
    (machine1)$ {tool} --num-gpus 8 --num-machines 2 --machine-rank 1 --dist-url tcp://machine0:29500 ...

  started by torchrun or srun:
    $ torchrun --nproc-per-node 8 {tool} --config-file cfg.yaml
"""


class KeyValueParser(argparse.ArgumentParser):
    """Everything from the first KEY on belongs to the config, so a flag behind it is a mistake."""

    def parse_known_args(self, args=None, namespace=None):
        parsed, rest = super().parse_known_args(args, namespace)
        words = getattr(parsed, "opts", None) or []
        late = [word for word in words if word.split("=")[0] in self._option_string_actions]
        if late:
            self.error(f"{late[0]} stands behind KEY VALUE pairs; put all flags before the first KEY")
        return parsed, rest


def default_argument_parser(epilog: str | None = None) -> argparse.ArgumentParser:
    """The parser of the training tools; add to it what a tool has beyond. `epilog` replaces the examples."""
    parser = KeyValueParser(
        epilog=epilog or _EXAMPLES.format(tool=sys.argv[0]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config-file", default="", metavar="FILE", help="config file (YAML)")
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on from the last checkpoint in OUTPUT_DIR: weights, optimizer, schedule, data and random numbers",
    )
    parser.add_argument("--eval-only", action="store_true", help="evaluate MODEL.WEIGHTS on DATASETS.TEST and stop")
    add_launch_arguments(parser)
    return parser


def add_launch_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what `launch` has to know, and the pairs KEY VALUE behind all flags."""
    parser.add_argument(
        "--num-gpus", type=int, metavar="N", default=1, help="number of GPUs on *each* machine (default: 1)"
    )
    parser.add_argument("--num-machines", type=int, metavar="N", default=1, help="number of machines (default: 1)")
    parser.add_argument(
        "--machine-rank", type=int, metavar="N", default=0, help="which of the machines this is, from 0"
    )
    parser.add_argument(
        "--dist-url",
        metavar="URL",
        default="auto",
        help="tcp://host:port where processes meet (auto: a free port)",
    )
    parser.add_argument(
        "opts",
        metavar="KEY VALUE",
        nargs=argparse.REMAINDER,
        help="changes of the config, after all flags",
    )


def check_arguments(args: argparse.Namespace) -> None:
    """Raises a `UserError` for a config or for devices that are not there, before processes are started for them."""
    cfg = config_from_arguments(args)
    if args.num_gpus * args.num_machines > 1:
        from det2lite.engine.setup import check_device_count  # imports torch

        check_device_count(cfg, args.num_gpus * args.num_machines)


def config_from_arguments(args: argparse.Namespace) -> CfgNode:
    """The config that `--config-file` and the pairs KEY VALUE say, frozen."""
    if not args.config_file:
        raise BadValue("no config: say --config-file FILE, a YAML file such as those in configs/")
    cfg = get_cfg()
    cfg.merge_from_file(args.config_file)
    cfg.merge_from_list(args.opts)
    cfg.freeze()
    return cfg
