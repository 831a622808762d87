#!/usr/bin/env python
"""Inference of one batch, masks pasted into the images.

    python -m benchmarks.inference --vs torchvision                               # 1 image, short edge 480, float32
    python -m benchmarks.inference --vs torchvision --precision bfloat16 --vs-precision float32
    python -m benchmarks.inference --device cuda --images 16 --short-edge 800 --vs torchvision

Name the reference with --vs: it comes last in the table, and the ratios are to it.
"""

import torch

from benchmarks import models, train_step


def prepare(name: str, precision: str, args):
    """One forward pass in evaluation mode of the model called `name`, warmed up."""
    model, batch, autocast = models.prepare(name, precision, args, training=False)

    @torch.inference_mode()
    def step():
        with autocast():
            return model(batch)

    step = models.synchronised(step, args.device)
    for _ in range(models.WARMUP):
        step()
    return step


def main():
    train_step.run(prepare, __doc__, images=1, what="inference")


if __name__ == "__main__":
    main()
