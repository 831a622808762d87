#!/usr/bin/env python
"""One training step: forward, backward, optimizer.

    python -m benchmarks.train_step --vs torchvision                              # 2 images, short edge 480, float32
    python -m benchmarks.train_step --vs torchvision --precision bfloat16 --vs-precision float32
    python -m benchmarks.train_step --device cuda --images 16 --short-edge 800 --precision bfloat16 --vs torchvision
    python -m benchmarks.train_step --package detectron2 --vs det2lite            # any package with the interface
    python -m benchmarks.train_step --peak                                        # operations, and share of the peak
    python -m benchmarks.train_step --profile                                     # where the time goes

Name the reference with --vs: it comes last in the table, and the ratios are to it.
"""

import statistics

import torch

from benchmarks import common, models

CONFIG = "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x"


def parse_arguments(description: str, images: int):
    parser = common.make_parser(description, vs=["torchvision", "det2lite"], rounds=5)
    parser.add_argument("--config", default=CONFIG, help="config of the package's zoo (default: %(default)s)")
    parser.add_argument("--images", type=int, default=images, help="in a batch (default: %(default)s)")
    parser.add_argument("--short-edge", type=int, default=480, help="pixels (default: %(default)s)")
    parser.add_argument("--precision", choices=list(models.PRECISIONS), default="float32")
    parser.add_argument("--vs-precision", choices=list(models.PRECISIONS), help="default: that of --precision")
    parser.add_argument("--tf32", action="store_true", help="TF32 in float32 matrix products on CUDA")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, help="torch threads (default: torch's)")
    parser.add_argument("--peak", action="store_true", help="count the operations too, and their share of the peak")
    parser.add_argument("--profile", action="store_true", help="print the operators that take most time")
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="changes of the package's config")
    return parser.parse_args()


def prepare(name: str, precision: str, args):
    """A training step of the model called `name`, warmed up."""
    model, batch, autocast = models.prepare(name, precision, args, training=True)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(parameters, lr=1e-6, momentum=0.9, weight_decay=1e-4)

    def step():
        with autocast():
            losses = model(batch)
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()

    step = models.synchronised(step, args.device)
    for _ in range(models.WARMUP):
        step()
    return step


def run(prepare, description: str, images: int, what: str) -> None:
    """Measures what `prepare(name, precision, args)` returns, of the package and of those named by --vs."""
    args = parse_arguments(description, images)
    sides = [(args.package, args.precision)]
    sides += [(name, args.vs_precision or args.precision) for name in args.vs]
    if args.profile:
        print(models.profile_table(prepare(*sides[0], args)))
        return
    names = [f"{name} {precision}" for name, precision in sides]
    jobs = {name: (prepare, *side, args) for name, side in zip(names, sides, strict=True)}
    measured = common.by_turns_apart(jobs, args.rounds)
    title = f"{what}, {args.config}, {args.images} images, short edge {args.short_edge}, {args.device}"
    common.report(title, measured, args.output, items=args.images)
    for name, side in zip(names, sides, strict=True) if args.peak else ():
        print(share_of_peak(name, statistics.median(measured[name].seconds), prepare, *side, args))


def share_of_peak(title: str, seconds: float, prepare, name: str, precision: str, args) -> str:
    """The operations of a job that takes so many seconds, and how much of the device's peak that is, in a line."""
    count = common.fresh(models.prepare_work, prepare, name, precision, args)[2]
    peak = common.fresh(models.prepare_peak, precision, args)[2]
    return (f"{title}: {count / 1e12:.3g} TFLOP in {seconds:.4g} s, {count / seconds / 1e12:.3g} TFLOP/s, "
            f"{count / seconds / peak:.0%} of the {peak / 1e12:.3g} TFLOP/s of a matrix product")  # fmt: skip


def main():
    run(prepare, __doc__, images=2, what="training step")


if __name__ == "__main__":
    main()
