#!/usr/bin/env python
"""How costs grow: a training step with pixels, objects, classes, proposals; data and evaluation with images.

    python -m benchmarks.scaling                                  # all of them, with a plot
    python -m benchmarks.scaling --only objects --only classes --plot objects.png

The exponent is the slope in the doubly logarithmic plot: 1 is a cost in proportion, 0 one that does not grow. Seconds
are those of the processor, the least of the rounds: what else a machine does changes them least.
"""

import functools
import os
import tempfile
from argparse import Namespace
from collections.abc import Callable

import numpy as np
import torch

from benchmarks import common, evaluation, models, open_coco
from benchmarks.coco_file import make_coco_file

CONFIG = "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x"
SHORT_EDGE = 240  # pixels, of what is not measured over sizes
OBJECTS_PER_IMAGE = 7
DETECTIONS_PER_IMAGE = 20
COUNTS = (1000, 10_000, 100_000)  # images


def step(package: str, short_edge: int = SHORT_EDGE, objects: int = 10, opts: tuple = ()) -> Callable[[], None]:
    """Forward and backward of two images with `objects` objects each, warmed up."""
    samples = models.read_samples(2, short_edge)
    for seed, sample in enumerate(samples):
        height, width = sample["image"].shape[1:]
        rng = np.random.default_rng(seed)
        corners = rng.uniform(0, 0.8, (objects, 2)) * (width, height)
        boxes = np.concatenate([corners, corners + rng.uniform(0.02, 0.2, (objects, 2)) * (width, height)], axis=1)
        sample["boxes"] = torch.tensor(boxes, dtype=torch.float32)
        sample["classes"] = torch.arange(objects) % 80
        sample["polygons"] = [[box[[0, 1, 2, 1, 2, 3, 0, 3]]] for box in boxes]
    model, batch = models.packaged(package, CONFIG, samples, True, "cpu", list(opts))

    def job() -> None:
        model.zero_grad()
        sum(model(batch).values()).backward()

    job()
    return job


def made_file(images: int) -> str:
    path = os.path.join(tempfile.gettempdir(), f"coco_{images}_{images * OBJECTS_PER_IMAGE}.json")
    make_coco_file(path, images, images * OBJECTS_PER_IMAGE)
    return path


def opening(package: str, images: int, scratch: str) -> Callable[[], None]:
    """Opening a COCO file for training, the first time: its cache in `scratch` is new."""
    os.environ["DET2LITE_CACHE"] = tempfile.mkdtemp(dir=scratch)
    return open_coco.open_by_package(package, made_file(images))


def evaluating(package: str, images: int) -> Callable[[], dict]:
    """Evaluating boxes after the last forward pass."""
    args = Namespace(task="bbox", detections=DETECTIONS_PER_IMAGE, images=images)
    return evaluation.prepare_package(package, made_file(images), args)


def axes(package: str, scratch: str) -> dict[str, tuple[str, dict[int, Callable]]]:
    """Name -> (unit, value -> what prepares the job). scratch: a folder for files of the jobs."""
    classes, proposals = "MODEL.ROI_HEADS.NUM_CLASSES", "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE"
    part = functools.partial
    return {
        "pixels": ("pixels of the short edge", {n: part(step, package, n) for n in (160, 240, 320, 480)}),
        "objects": ("objects an image", {n: part(step, package, objects=n) for n in (1, 10, 100, 400)}),
        "classes": ("classes", {n: part(step, package, opts=(classes, n)) for n in (80, 300, 1203)}),
        "proposals": ("proposals an image", {n: part(step, package, opts=(proposals, n)) for n in (128, 512, 2000)}),
        "opening": ("images in the file", {n: part(opening, package, n, scratch) for n in COUNTS}),
        "evaluation": ("images evaluated", {n: part(evaluating, package, n) for n in COUNTS}),
    }


def exponent(values: list[float], seconds: list[float]) -> float:
    """Slope of the straight line through the logarithms."""
    return float(np.polyfit(np.log(values), np.log(seconds), 1)[0])


def _decades(seconds: list[float]) -> tuple[float, float]:
    """Whole decades round the values, so that a flat curve looks flat."""
    return 10 ** np.floor(np.log10(min(seconds))), 10 ** np.ceil(np.log10(max(seconds)))


def plot(curves: dict[str, tuple[str, list, list]], path: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    columns = min(3, len(curves))
    rows = -(-len(curves) // columns)
    figure, grid = pyplot.subplots(rows, columns, figsize=(3.6 * columns, 3.2 * rows), squeeze=False)
    for axis in grid.flat[len(curves) :]:
        axis.remove()
    for axis, (name, (unit, values, seconds)) in zip(grid.flat, curves.items(), strict=False):
        axis.loglog(values, seconds, "o-")
        title = f"{name}: exponent {exponent(values, seconds):.2f}"
        axis.set(title=title, xlabel=unit, ylabel="seconds of the processor", ylim=_decades(seconds))
        axis.minorticks_off()
        axis.set_xticks(values, [f"{value:,}" for value in values])
        axis.grid(True, alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def measure(args: Namespace, scratch: str) -> dict[str, tuple[str, list, list]]:
    """Measures and prints the axes asked for; returns name -> (unit, values, seconds)."""
    curves = {}
    for name, (unit, prepared_by) in axes(args.package, scratch).items():
        if args.only and name not in args.only:
            continue
        jobs = {f"{n:,} {unit}": (prepare,) for n, prepare in prepared_by.items()}
        measured = common.by_turns_fresh(jobs, args.rounds)
        common.report(name, measured)
        seconds = [min(m.cpu_seconds) for m in measured.values()]
        curves[name] = (unit, list(prepared_by), seconds)
        print(f"exponent: {exponent(*curves[name][1:]):.2f}")
    return curves


def main() -> None:
    parser = common.make_parser(__doc__, rounds=3)
    parser.add_argument("--only", action="append", choices=list(axes("", "")), help="repeatable; default: all")
    parser.add_argument("--plot", default="benchmarks/scaling.png", metavar="FILE")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="scaling_") as scratch:
        curves = measure(args, scratch)
    plot(curves, args.plot)


if __name__ == "__main__":
    main()
