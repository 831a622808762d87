#!/usr/bin/env python
"""Does bfloat16 learn as well as float32? Trains a config on the embedded data set once a seed and precision.

    python -m benchmarks.precision --iterations 2000                  # the quick start's model, 3 seeds: 6 trainings
    python -m benchmarks.precision --seeds 1 --iterations 20          # whether it runs at all
    python -m benchmarks.precision --first-seed 1 --seeds 1           # one of the seeds, to divide the work

Prints box and mask AP of each run, their means and how far bfloat16's lies from float32's. The 100 images of shapes_val
are too few to tell half a point of AP: models are evaluated on pictures drawn for it, which none was trained on.
"""

import argparse
import statistics
import tempfile
import warnings
from pathlib import Path

from benchmarks import common

CONFIG = "quick_start/mask_rcnn_shapes.yaml"
TEST_SET = "shapes_test"
TEST_KEY = (42, 2)  # of the random numbers; (42, 0) and (42, 1) are those of shapes_train and shapes_val
PRECISIONS = {"float32": False, "bfloat16": True}  # whether SOLVER.AMP and TEST.AMP are on


def draw_test_set(package: str, folder: str, count: int) -> None:
    """Draws `count` more pictures of the embedded data set and registers them as `TEST_SET`."""
    common.part(package, "data.datasets.shapes_files").write_split(Path(folder), "test", key=TEST_KEY, count=count)
    register = common.part(package, "data.datasets").register_coco_instances
    register(TEST_SET, {}, f"{folder}/annotations/instances_test.json", f"{folder}/test")


def train(
    package: str, config: str, output: str, seed: int, mixed: bool, iterations: int | None, opts: list[str]
) -> dict:
    """Trains and evaluates, with its files in `output`; returns task -> AP."""
    cfg = common.part(package, "model_zoo").get_config(config)
    engine = common.part(package, "engine")
    cfg.OUTPUT_DIR = output
    cfg.SEED = seed
    cfg.SOLVER.AMP.ENABLED = cfg.TEST.AMP.ENABLED = mixed
    cfg.SOLVER.AMP.PRECISION = "bfloat16"
    if iterations is not None:
        scale = iterations / cfg.SOLVER.MAX_ITER
        cfg.SOLVER.STEPS = tuple(max(1, round(step * scale)) for step in cfg.SOLVER.STEPS)
        cfg.SOLVER.WARMUP_ITERS = max(1, round(cfg.SOLVER.WARMUP_ITERS * scale))
        cfg.SOLVER.MAX_ITER = iterations
    cfg.TEST.EVAL_PERIOD = 0
    cfg.DATASETS.TEST = (TEST_SET,)
    cfg.merge_from_list(opts)
    engine.default_setup(cfg, {})
    trainer = engine.DefaultTrainer(cfg)
    trainer.resume_or_load(resume=False)
    return {task: values["AP"] for task, values in trainer.train().items()}


def table(found: dict[str, list[dict]]) -> list[str]:
    """found: precision -> AP by task of each seed. Lines of text: runs, means, and the difference of the means."""
    lines, means = [], {}
    for precision, runs in found.items():
        for task in runs[0]:
            values = [run[task] for run in runs]
            means[precision, task] = statistics.mean(values)
            shown = "  ".join(f"{value:6.2f}" for value in values)
            lines.append(f"{precision:10} {task:6} {shown}   mean {means[precision, task]:6.2f}")
    first, second = found
    for task in found[first][0]:
        lines.append(f"{second} - {first}, {task}: {means[second, task] - means[first, task]:+.2f} AP")
    return lines


def compare(args: argparse.Namespace, folder: str) -> dict[str, list[dict]]:
    """Trains once a seed and precision, with all files in `folder`; returns precision -> AP by task of each seed."""
    draw_test_set(args.package, f"{folder}/data", args.test_images)
    found = {precision: [] for precision in PRECISIONS}
    for seed in range(args.first_seed, args.first_seed + args.seeds):
        # by turns, so that a run that is stopped has compared something
        for precision, mixed in PRECISIONS.items():
            output = f"{folder}/{precision}_{seed}"
            found[precision].append(train(args.package, args.config, output, seed, mixed, args.iterations, args.opts))
            print(f"seed {seed}, {precision}: {found[precision][-1]}", flush=True)
    return found


def main() -> None:
    parser = common.make_parser(__doc__, rounds=1)
    parser.add_argument("--config", default=CONFIG, help="of the package's zoo (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="trainings of each precision")
    parser.add_argument("--first-seed", type=int, default=0, metavar="N", help="the others count up from it")
    parser.add_argument("--test-images", type=int, default=1000, metavar="N", help="drawn to evaluate on")
    parser.add_argument("--iterations", type=int, metavar="N", help="of each training (default: the config's)")
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="changes of the config")
    args = parser.parse_args()
    warnings.filterwarnings("ignore", category=UserWarning)
    with tempfile.TemporaryDirectory(prefix="precision_") as folder:
        found = compare(args, folder)
    print(f"\n{args.config}, {args.seeds} seeds\n{common.machine()}\n")
    print("\n".join(table(found)))


if __name__ == "__main__":
    main()
