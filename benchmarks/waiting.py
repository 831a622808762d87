#!/usr/bin/env python
"""How long a training waits for its data: `data_time` as a share of `time`, by the trainer's own clocks.

    export DETECTRON2_DATASETS=/data
    python -m benchmarks.waiting --device cuda --images 16 --workers 8 SOLVER.AMP.ENABLED True
    python -m benchmarks.waiting --images 2 --workers 1 --iterations 20 INPUT.MIN_SIZE_TRAIN 480,

Medians of all iterations but the first tenth.
"""

import json
import statistics
import tempfile

from benchmarks.common import machine, make_parser, part
from benchmarks.train_step import CONFIG


def parse_arguments():
    parser = make_parser(__doc__, rounds=1)
    parser.add_argument("--config", default=CONFIG, help="config of the package's zoo (default: %(default)s)")
    parser.add_argument("--dataset", default="coco_2017_train", help="a registered name (default: %(default)s)")
    parser.add_argument("--images", type=int, default=16, help="in a batch (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=8, help="processes that load (default: %(default)s)")
    parser.add_argument("--iterations", type=int, default=100, help="of the training (default: 100)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="changes of the package's config")
    return parser.parse_args()


def waiting(args, folder: str) -> tuple[float, float]:
    """Median seconds of waiting, and of an iteration, in a training that writes into `folder`."""
    cfg = part(args.package, "config").get_cfg()
    cfg.merge_from_file(part(args.package, "model_zoo").get_config_file(f"{args.config}.yaml"))
    settings = {
        **{"DATASETS.TRAIN": (args.dataset,), "DATASETS.TEST": (), "DATALOADER.NUM_WORKERS": args.workers},
        **{"SOLVER.IMS_PER_BATCH": args.images, "SOLVER.MAX_ITER": args.iterations, "SOLVER.BASE_LR": 1e-6},
        **{"MODEL.WEIGHTS": "", "MODEL.DEVICE": args.device, "OUTPUT_DIR": folder},
    }
    cfg.merge_from_list([item for pair in settings.items() for item in pair])
    cfg.merge_from_list(args.opts)
    part(args.package, "utils.logger").setup_logger()
    trainer = part(args.package, "engine").DefaultTrainer(cfg)
    trainer.train()
    counted = args.iterations - args.iterations // 10
    seconds = [[x for x, _ in trainer.storage.history(name).values()][-counted:] for name in ("data_time", "time")]
    return tuple(statistics.median(values) for values in seconds)


def main():
    args = parse_arguments()
    with tempfile.TemporaryDirectory() as folder:
        waits, takes = zip(*(waiting(args, folder) for _ in range(args.rounds)), strict=True)
    print(f"\nwaiting, {args.config}, {args.images} images, {args.workers} workers, {args.device}\n{machine()}\n")
    wait, take = statistics.median(waits), statistics.median(takes)
    if args.output:
        with open(args.output, "w", encoding="utf-8") as file:
            json.dump({"machine": machine(), "data_time": waits, "time": takes}, file, indent=1)
    print(f"data_time {wait:.4g} s of {take:.4g} s an iteration: {wait / take:.2%}")


if __name__ == "__main__":
    main()
