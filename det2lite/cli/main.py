"""Finds the subcommand and hands the arguments to its module.

A module of this folder is a subcommand when COMMANDS names it. It has `EXAMPLES`, the end of its help text, with
`{tool}` for the command; `add_arguments(parser)`; and `run(args) -> int | None`, the exit status. None of them imports
torch at its top, so that `--help` answers at once.
"""

import argparse
import importlib
import os
import sys

from det2lite import __version__
from det2lite.cli.help_text import HelpFormatter
from det2lite.utils.errors import exit_on_user_error

COMMANDS: dict[str, str] = {
    "train": "train a model on your data or by a config",
    "eval": "evaluate a checkpoint; keep its predictions and pictures of them",
    "predict": "find objects in images, videos and the camera; pictures and JSON",
    "convert": "bring data from VOC, YOLO, VIA and others to COCO, YOLO or VOC",
    "check": "find faults of a data set before they cost a training; clean a copy",
    "split": "split a COCO file at random or into folds, by class and by group",
    "browse": "draw a data set before and after augmentation, and its labels",
    "export": "write a trained model as TorchScript or ONNX, and compare the two",
    "config": "print a config with everything filled in, and who set what",
    "env": "versions, devices, libraries, data sets, and what is missing",
}
GENERAL_EXAMPLES = """
`det2lite COMMAND --help` shows the options of a command with examples.
"""


def general_help() -> str:
    """What `det2lite --help` prints: every subcommand in a line."""
    width = max(map(len, COMMANDS), default=0)
    lines = [f"  {name:<{width}}  {summary}" for name, summary in COMMANDS.items()]
    return "\n".join(["usage: det2lite [--version] COMMAND ...", "", "commands:", *lines, GENERAL_EXAMPLES])


def build_parser(command: str) -> argparse.ArgumentParser:
    """The parser of one subcommand; parsed arguments carry its `run`."""
    module = importlib.import_module(f"det2lite.cli.{command}")
    tool = f"det2lite {command}"
    make = getattr(module, "make_parser", argparse.ArgumentParser)
    parser = make(
        prog=tool,
        description=module.__doc__,
        epilog=module.EXAMPLES.format(tool=tool),
        formatter_class=HelpFormatter,
    )
    module.add_arguments(parser)
    parser.set_defaults(run=module.run)
    return parser


BROKEN_PIPE = 141  # what a shell reports of a command that SIGPIPE ended: 128 + 13


def main(arguments: list[str] | None = None) -> int:
    """Runs `det2lite` with `arguments` (default: those of the process). Returns the exit status."""
    try:
        status = _main(arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        # what is still buffered has to go somewhere when the interpreter ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    return status


@exit_on_user_error
def _main(arguments: list[str] | None) -> int:
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(general_help())
        return 0 if arguments else 2
    command, *rest = arguments
    if command in ("-V", "--version"):
        print(f"det2lite {__version__}")
        return 0
    if command not in COMMANDS:
        print(unknown(command), file=sys.stderr)
        return 2
    args = build_parser(command).parse_args(rest)
    return args.run(args) or 0


def unknown(command: str) -> str:
    """One line about a subcommand that does not exist."""
    from det2lite.utils.errors import close_names

    return f"det2lite: there is no command {command!r}{close_names(command, COMMANDS)}; `det2lite --help` lists them"


if __name__ == "__main__":
    sys.exit(main())
