"""Evaluates a checkpoint on its own validation data, on other data, or runs it without judging.

Config, class names and data sets are those that the checkpoint carries. Nothing is written but what is asked for.
"""

import argparse
import contextlib
import os
import tempfile
from collections.abc import Mapping
from typing import Any

from det2lite.config import CfgNode
from det2lite.engine.arguments import KeyValueParser as make_parser  # noqa: F401 - takes KEY VALUE pairs
from det2lite.engine.arguments import add_launch_arguments
from det2lite.utils.errors import BadValue, UnknownName, close_names

TASKS = ("bbox", "segm", "keypoints")
EXAMPLES = """examples:

  tables, and all predictions in a file:
    $ {tool} --weights output/model_final.pth --out results.json

  other data, pictures beside the ground truth, boxes alone, 8 images at once:
    $ {tool} --weights output/model_final.pth --data cells --show-dir pictures --eval bbox --batch 8

  images without annotations, for somebody else's evaluation server:
    $ {tool} --weights output/model_final.pth --data photos --format-only --out results.json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--weights", default="", metavar="FILE", help="checkpoint (default: MODEL.WEIGHTS of the config)"
    )
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--config-file", default="", metavar="FILE", help="config, else the one in the checkpoint")
    source.add_argument("--model", default="", metavar="NAME", help="config of the model zoo, likewise")
    parser.add_argument("--data", metavar="PATH", help="data set, COCO JSON or images (default: DATASETS.TEST)")
    parser.add_argument("--eval", nargs="+", metavar="T", help=f"only these tasks of {', '.join(TASKS)}")
    parser.add_argument("--batch", type=int, metavar="N", help="images at once on each GPU (default: TEST.BATCH_SIZE)")
    parser.add_argument("--out", metavar="FILE", help="keep all predictions: .json as COCO has it, or .pkl")
    parser.add_argument("--format-only", action="store_true", help="judge nothing, for data without annotations")
    parser.add_argument("--output", metavar="DIR", help="keep tables and the evaluators' files")
    parser.add_argument("--show-dir", metavar="DIR", help="keep pictures: ground truth left, prediction right")
    parser.add_argument("--show", action="store_true", help="show them in a window; q ends it")
    parser.add_argument("--min-score", type=float, default=0.5, metavar="S", help="of what is drawn (default: 0.5)")
    parser.add_argument("--overwrite", action="store_true", help="replace what is at these places already")
    add_launch_arguments(parser)


def run(args: argparse.Namespace) -> None:
    from det2lite.engine.launch import launch_as_asked

    part_tasks(args)
    check_flags(args)
    with contextlib.ExitStack() as stack:
        work_dir = args.output or stack.enter_context(tempfile.TemporaryDirectory(prefix="det2lite-eval-"))
        cfg = set_up(args, work_dir)
        launch_as_asked(evaluate, args, cfg, args, work_dir)


def part_tasks(args: argparse.Namespace) -> None:
    """Gives the words behind the tasks of --eval, which are KEY VALUE, back to those. Raises for an unknown task."""
    words = args.eval or []
    count = next((i for i, word in enumerate(words) if word not in TASKS), len(words))
    rest = words[count:]
    if rest and (count == 0 or "." not in rest[0]):
        raise UnknownName(f"--eval {rest[0]}: no such task{close_names(rest[0], TASKS)}; known: {', '.join(TASKS)}")
    if rest:
        args.eval, args.opts = words[:count], [*rest, *args.opts]


def check_flags(args: argparse.Namespace) -> None:
    """Raises a `UserError` for flags that do not go together, and for places that are taken."""
    if args.format_only and not args.out:
        raise BadValue("--format-only judges nothing and would leave nothing; give --out FILE too")
    if args.format_only and args.eval:
        raise BadValue("--format-only judges nothing; leave out --eval, or --format-only")
    if args.out:
        from det2lite.evaluation.keep import check_ending

        check_ending(args.out)
    if args.show:
        from det2lite.apis.window import require_display

        if args.num_gpus * args.num_machines > 1:
            raise BadValue("--show is for one process; give --show-dir DIR, or --num-gpus 1")
        require_display("give --show-dir DIR to write pictures instead")
    from det2lite.data.converters.output import require_writable

    for flag, path in (("--out", args.out), ("--output", args.output), ("--show-dir", args.show_dir)):
        if path:
            # of a folder that is there, what matters is whether files can be put into it
            require_writable(os.path.join(path, "file") if os.path.isdir(path) else path, f"another {flag}")
            if not args.overwrite and os.path.lexists(path) and not (os.path.isdir(path) and not os.listdir(path)):
                raise BadValue(f"{flag} {path} is there already: give --overwrite to replace it, or another name")


def set_up(args: argparse.Namespace, work_dir: str) -> CfgNode:
    """The config, frozen; data that has to be converted is in `work_dir`."""
    from det2lite.apis.classes import classes_of
    from det2lite.checkpoint.run_info import read_run_info
    from det2lite.cli.common import config_of
    from det2lite.data.datasets.register_coco import register_coco_files
    from det2lite.engine.own_evaluation import set_up_test_data
    from det2lite.utils.logger import setup_logger

    if not (args.weights or args.config_file or args.model):
        raise BadValue(
            "which model? Give --weights FILE of a run of det2lite, or --config-file FILE or --model NAME too"
        )
    cfg, _ = config_of(args)
    if args.weights:
        cfg.MODEL.WEIGHTS = args.weights
    if not cfg.MODEL.WEIGHTS:
        raise BadValue("no weights to evaluate: give --weights FILE")
    if args.batch is not None:
        cfg.TEST.BATCH_SIZE = args.batch
    cfg.OUTPUT_DIR = work_dir
    logger = setup_logger(args.output)
    register_coco_files(cfg.DATASETS.REGISTER)
    classes = classes_of(cfg, read_run_info(cfg.MODEL.WEIGHTS))
    if args.data is not None:
        # the numbers of bare images are of no use without their names
        place = os.path.splitext(args.out)[0] + "_files" if args.format_only else work_dir
        story = set_up_test_data(cfg, args.data, place, categories=classes.categories(), has_truth=not args.format_only)
        for line in story:
            logger.info(line)
    cfg.freeze()
    return cfg


def evaluate(cfg: CfgNode, args: argparse.Namespace, work_dir: str) -> None:
    """The evaluation itself, in each process."""
    from det2lite.engine import evaluate_weights
    from det2lite.engine.own_evaluation import Kept, evaluator_maker
    from det2lite.engine.setup import set_float32_precision
    from det2lite.utils import comm
    from det2lite.utils.env import setup_environment
    from det2lite.utils.logger import setup_logger

    setup_logger(args.output, comm.get_rank())
    setup_environment()
    set_float32_precision(cfg)
    show = None
    if args.show:
        from det2lite.apis.window import show as show_picture

        def show(picture):
            if not show_picture(picture, wait_ms=0):
                raise KeyboardInterrupt

    kept = Kept(
        folder=work_dir,
        out=args.out,
        pictures=args.show_dir,
        show=show,
        min_score=args.min_score,
        tasks=args.eval,
        metrics=not args.format_only,
    )
    results = evaluate_weights(cfg, make_evaluator=evaluator_maker(cfg, kept))
    if comm.is_main_process():
        tell(results, args)


def tell(results: Mapping[str, Any], args: argparse.Namespace) -> None:
    """Writes the metrics into --output, and says what is where."""
    import json
    import math

    from det2lite.evaluation import flatten_results_dict
    from det2lite.utils.file_io import atomic_write

    if args.output and results:
        path = os.path.join(args.output, "evaluation.json")
        flat = {
            key: None if math.isnan(value) else float(value) for key, value in flatten_results_dict(results).items()
        }
        with atomic_write(path) as file:
            json.dump(flat, file, indent=1)
    for what, path in (("predictions", args.out), ("pictures", args.show_dir), ("tables", args.output)):
        if path:
            print(f"{what}: {path}")
