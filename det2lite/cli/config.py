"""Prints a config with everything filled in: of a file, of a model of the zoo, or of a checkpoint.

What is printed is YAML that `--config-file` takes again.
"""

import argparse

from det2lite.engine.arguments import KeyValueParser as make_parser  # noqa: F401 - takes KEY VALUE pairs

EXAMPLES = """examples:

  all keys of a config:
    $ {tool} --config-file my.yaml

  only what differs from the defaults, as a file to go on from:
    $ {tool} --model mask_rcnn_R_50_FPN_1x --diff SOLVER.BASE_LR 0.01 > my.yaml

  who set the learning rate, and the rest of the solver:
    $ {tool} --config-file my.yaml --only SOLVER --origin

  what a checkpoint was trained with:
    $ {tool} --weights output/model_final.pth --diff
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--config-file", default="", metavar="FILE", help="config file (YAML)")
    source.add_argument("--model", default="", metavar="NAME", help="config of the model zoo, by its file name")
    source.add_argument("--weights", default="", metavar="FILE", help="checkpoint that carries its config")
    parser.add_argument("--only", action="append", default=[], metavar="GROUP", help="this group or key; repeatable")
    parser.add_argument("--diff", action="store_true", help="only what differs from the defaults")
    parser.add_argument("--origin", action="store_true", help="beside each value who set it: default, file, you")
    parser.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="changes of the config")


def run(args: argparse.Namespace) -> None:
    from det2lite.cli.common import config_of
    from det2lite.config.origin import DEFAULT, as_yaml, origins, select, with_origins

    cfg, config_file = config_of(args)
    values = select(cfg, prefixes=args.only, changed=args.diff)
    if not args.origin:
        print(as_yaml(values), end="")
        return
    origin_of = origins(config_file, args.opts)
    if args.weights:
        changed = select(cfg, changed=True)
        origin_of |= {key: args.weights for key in changed if origin_of[key] == DEFAULT}
    print(with_origins(values, origin_of))
