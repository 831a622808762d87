#!/usr/bin/env python
"""Counts what a model computes and holds: flops, activations, parameters; or prints its structure."""

import argparse
import importlib.util
import logging
import os
import sys
from collections import Counter

if importlib.util.find_spec("det2lite") is None:  # a checkout that is not installed
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from det2lite.utils.errors import BadValue, exit_on_user_error

EXAMPLE = """examples:

  without data, on images of one size:
    $ {tool} --config-file configs/COCO-Detection/retinanet_R_50_FPN_1x.yaml --tasks flop parameter --size 800 1216

  averages over the first images of DATASETS.TEST, with trained weights (the work of two-stage models depends on both):
    $ {tool} --config-file cfg.yaml --tasks flop activation -n 100 MODEL.WEIGHTS output/model_final.pth
"""


def parse_arguments(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=EXAMPLE.format(tool=os.path.basename(sys.argv[0])),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config-file", default="", metavar="FILE", help="config file (YAML)")
    parser.add_argument(
        "--tasks", nargs="+", choices=list(TASKS), required=True, help="what to count; structure prints the modules"
    )
    parser.add_argument("-n", "--num-inputs", type=int, default=100, metavar="N", help="images (default: 100)")
    parser.add_argument(
        "--size", nargs=2, type=int, metavar=("H", "W"), help="one random image of this size instead of a data set"
    )
    parser.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="changes of the config")
    args = parser.parse_args(arguments)
    if args.num_inputs < 1 or (args.size and min(args.size) < 1):
        raise BadValue("--num-inputs and --size are at least 1")
    return args


def inputs_of(cfg, args, model):
    """Yields what the model is called with: lists of one image."""
    import torch

    if args.size:
        height, width = args.size
        image = torch.rand(3, height, width) * 255
        yield [{"image": image, "height": height, "width": width}]
        return
    from itertools import islice

    from det2lite.checkpoint import DetectionCheckpointer
    from det2lite.data import build_detection_test_loader

    if not cfg.DATASETS.TEST:
        raise BadValue("DATASETS.TEST is empty: name a data set, or give --size H W")
    DetectionCheckpointer(model).load(cfg.MODEL.WEIGHTS)
    yield from islice(build_detection_test_loader(cfg, cfg.DATASETS.TEST[0]), args.num_inputs)


def flop(cfg, args, model):
    from fvcore.nn import flop_count_table

    from det2lite.utils.analysis import FlopCountAnalysis

    totals, counts, analysis = [], Counter(), None
    for inputs in inputs_of(cfg, args, model):
        analysis = FlopCountAnalysis(model, inputs).tracer_warnings("none")
        counts.update(analysis.by_operator())
        totals.append(analysis.total() / 1e9)
    if not totals:
        raise BadValue(f"data set {cfg.DATASETS.TEST[0]!r} has no images")
    print(f"Flops of the last image, by module:\n{flop_count_table(analysis, max_depth=3)}\n")
    print_average("Gflops (multiply-adds)", totals, {name: count / 1e9 for name, count in counts.items()})


def activation(cfg, args, model):
    from det2lite.utils.analysis import activation_count_operators

    totals, counts = [], Counter()
    for inputs in inputs_of(cfg, args, model):
        count = activation_count_operators(model, inputs)
        counts.update(count)
        totals.append(sum(count.values()))
    print_average("Million activations", totals, counts)


def print_average(what, totals, counts):
    """totals: one number an image; counts: sums over all images, by operator."""
    import numpy as np

    rows = sorted(counts.items(), key=lambda row: -row[1])
    print(f"{what}, average of {len(totals)} images:")
    for name, count in rows:
        print(f"  {name:<24}{count / len(totals):12.3f}")
    print(f"  {'total':<24}{np.mean(totals):12.3f} ± {np.std(totals):.3f}\n")


def parameter(cfg, args, model):
    from det2lite.utils.analysis import parameter_count_table

    print(f"Parameters:\n{parameter_count_table(model, max_depth=5)}\n")


def structure(cfg, args, model):
    print(f"Structure:\n{model}\n")


TASKS = {"flop": flop, "activation": activation, "parameter": parameter, "structure": structure}


@exit_on_user_error
def main(arguments=None):
    args = parse_arguments(arguments)
    from det2lite.engine import config_from_arguments
    from det2lite.modeling import build_model

    cfg = config_from_arguments(args)
    logging.getLogger("fvcore.nn.jit_analysis").setLevel(logging.ERROR)  # it lists every module with folded norms
    model = build_model(cfg).eval()
    for task in args.tasks:
        TASKS[task](cfg, args, model)


if __name__ == "__main__":
    main()
