#!/usr/bin/env python
"""Inference of one batch, masks pasted into the images.

    python benchmarks/inference.py --vs torchvision                               # 1 image, short edge 480, float32
    python benchmarks/inference.py --vs torchvision --precision bfloat16 --vs-precision float32
    python benchmarks/inference.py --device cuda --images 16 --short-edge 800 --vs torchvision

Name the reference with --vs: it comes last in the table, and the ratios are to it.
"""

from contextlib import nullcontext

import models
import torch
import train_step


def prepare(name: str, precision: str, args):
    """One forward pass in evaluation mode of the model called `name`, warmed up."""
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = args.tf32
    samples = models.read_samples(args.images, args.short_edge)
    if name == "torchvision":
        model, batch = models.torchvisions(samples, args.short_edge, False, args.device)
    else:
        model, batch = models.packaged(name, args.config, samples, False, args.device, args.opts)
    dtype = models.PRECISIONS[precision]

    @torch.inference_mode()
    def step():
        with torch.autocast(args.device.split(":")[0], dtype=dtype) if dtype else nullcontext():
            return model(batch)

    step = models.synchronised(step, args.device)
    step()
    return step


def main():
    train_step.run(prepare, __doc__, images=1, what="inference")


if __name__ == "__main__":
    main()
