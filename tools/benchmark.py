#!/usr/bin/env python
"""Measures how fast a config's data loading, training or evaluation is, each by itself."""

import argparse
import importlib.util
import itertools
import os
import sys
import time

if importlib.util.find_spec("det2lite") is None:  # a checkout that is not installed
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from det2lite.utils.errors import BadValue, exit_on_user_error

EXAMPLE = """examples:

  images a second that the data loader of a training gives, and what each of its stages would give:
    $ {tool} --config-file configs/COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml --task data
    $ {tool} --config-file configs/COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml --task data_advanced

  training on eight GPUs, evaluation on one, both with images that are loaded already:
    $ {tool} --config-file configs/COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml --task train --num-gpus 8
    $ {tool} --config-file configs/COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml --task eval -n 200
"""
CACHED_BATCHES = 20  # images differ in size, and the time with them


def parse_arguments(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=EXAMPLE.format(tool=os.path.basename(sys.argv[0])),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config-file", default="", metavar="FILE", help="config file (YAML)")
    parser.add_argument("--task", choices=list(TASKS), required=True, help="what to measure")
    parser.add_argument("-n", "--num-iter", type=int, default=100, metavar="N", help="iterations (default: 100)")
    parser.add_argument("--warmup", type=int, default=10, metavar="N", help="iterations before them (default: 10)")
    parser.add_argument("--num-gpus", type=int, default=1, metavar="N", help="processes (default: 1)")
    parser.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="changes of the config")
    args = parser.parse_args(arguments)
    if args.num_iter < 1 or args.warmup < 0 or args.num_gpus < 1:
        raise BadValue("-n and --num-gpus are at least 1, --warmup at least 0")
    return args


def measure(step, args, what=""):
    """Calls `step()`, which returns its number of images, and prints its speed. what: the stage that it is."""
    import torch

    from det2lite.utils import comm

    def wait():
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter()

    for _ in range(args.warmup):
        step()
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    comm.synchronize()
    times, images, last = [], 0, wait()
    for _ in range(args.num_iter):
        images += step()
        now = wait()
        times.append(now - last)
        last = now
    if not comm.is_main_process():
        return
    total, times = sum(times), sorted(times)
    slowest = times[min(len(times) - 1, int(0.95 * len(times)))]
    per_step = f"{len(times)} iterations of {images / len(times):.3g} images on each of {args.num_gpus} processes"
    print(f"{args.task}: {what}{', ' if what else ''}{per_step}")
    print(f"  {total / len(times):.4g} s an iteration, median {times[len(times) // 2]:.4g}, 95 % within {slowest:.4g}")
    print(f"  {images * args.num_gpus / total:.4g} images a second")
    if torch.cuda.is_available():
        print(f"  {torch.cuda.max_memory_allocated() / 2**20:.0f} MiB of GPU memory at most")


def data(cfg, args):
    from det2lite.data import build_detection_train_loader

    start = time.perf_counter()
    batches = iter(build_detection_train_loader(cfg))
    next(batches)
    print(f"data: the first batch is there after {time.perf_counter() - start:.4g} s")
    measure(lambda: len(next(batches)), args)


def data_advanced(cfg, args):
    from det2lite.data import DatasetMapper, build_detection_train_loader, get_detection_dataset_dicts

    samples = get_detection_dataset_dicts(
        cfg.DATASETS.TRAIN,
        filter_empty=cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS,
        proposal_files=cfg.DATASETS.PROPOSAL_FILES_TRAIN if cfg.MODEL.LOAD_PROPOSALS else None,
    )
    samples, mapper = itertools.cycle(samples), DatasetMapper(cfg, True)

    def read_one():
        mapper(next(samples))
        return 1

    measure(read_one, args, "reading and augmenting alone")
    for workers in sorted({0, 1, cfg.DATALOADER.NUM_WORKERS}):
        own = cfg.clone()
        own.defrost()
        own.DATALOADER.NUM_WORKERS = workers
        batches = iter(build_detection_train_loader(own))
        measure(lambda batches=batches: len(next(batches)), args, f"data loader with {workers} workers")


def load_weights(cfg, model):
    if cfg.MODEL.WEIGHTS:
        from det2lite.checkpoint import DetectionCheckpointer

        DetectionCheckpointer(model).load(cfg.MODEL.WEIGHTS)


def train(cfg, args):
    from det2lite.data import build_detection_train_loader
    from det2lite.engine import AMPTrainer, SimpleTrainer, create_ddp_model
    from det2lite.engine.checks import warn_of_frozen_random_layers
    from det2lite.modeling import build_model
    from det2lite.solver import build_optimizer
    from det2lite.utils.events import EventStorage

    batches = list(itertools.islice(build_detection_train_loader(cfg), CACHED_BATCHES))
    model = build_model(cfg)
    load_weights(cfg, model)  # the work of two-stage models depends on what they find
    warn_of_frozen_random_layers(cfg, model)
    model = create_ddp_model(model, broadcast_buffers=False)
    optimizer = build_optimizer(cfg, model)
    for group in optimizer.param_groups:
        group["lr"] = 0.0  # steps of a rate that is not warmed up would end in numbers that are not finite
    kind = AMPTrainer if cfg.SOLVER.AMP.ENABLED else SimpleTrainer
    sizes = itertools.cycle([len(batch) for batch in batches])
    trainer = kind(model, itertools.cycle(batches), optimizer)
    trainer.iter = 0

    def step():
        trainer.run_step()
        storage.step()
        return next(sizes)

    with EventStorage(0) as storage:
        trainer.storage = storage
        measure(step, args)


def evaluate(cfg, args):
    import torch

    from det2lite.data import build_detection_test_loader
    from det2lite.modeling import build_model

    if not cfg.DATASETS.TEST:
        raise BadValue("DATASETS.TEST is empty: name a data set, DATASETS.TEST \"('name',)\"")
    model = build_model(cfg).eval()
    load_weights(cfg, model)
    batches = list(itertools.islice(build_detection_test_loader(cfg, cfg.DATASETS.TEST[0]), CACHED_BATCHES))
    if not batches:
        raise BadValue(f"data set {cfg.DATASETS.TEST[0]!r} has no images")
    endless = itertools.cycle(batches)

    def step():
        batch = next(endless)
        model(batch)
        return len(batch)

    with torch.inference_mode():
        measure(step, args)


TASKS = {"data": data, "data_advanced": data_advanced, "train": train, "eval": evaluate}


def run(args):
    from det2lite.engine import config_from_arguments
    from det2lite.utils.logger import setup_logger

    setup_logger()
    cfg = config_from_arguments(args)
    if args.task != "eval" and not cfg.DATASETS.TRAIN:
        raise BadValue("DATASETS.TRAIN is empty: name a data set, DATASETS.TRAIN \"('name',)\"")
    TASKS[args.task](cfg, args)


@exit_on_user_error
def main(arguments=None):
    args = parse_arguments(arguments)
    from det2lite.engine import launch

    if args.task == "eval" and args.num_gpus > 1:
        raise BadValue("evaluation is measured in one process; leave out --num-gpus")
    launch(run, args.num_gpus, dist_url="auto", args=(args,))


if __name__ == "__main__":
    main()
