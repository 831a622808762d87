#!/usr/bin/env python
"""Masks of a crowded image: pasted into the image and encoded as COCO's run-length codes. Time and peak memory.

    python -m benchmarks.mask_paste --vs pycocotools

The alternative samples each mask over the whole image and encodes the bitmaps with
pycocotools.
"""

from collections.abc import Callable

import torch

from benchmarks.common import by_turns_fresh, make_parser, part, report


def parse_arguments():
    parser = make_parser(__doc__, vs=["pycocotools"], rounds=3)
    parser.add_argument("--instances", type=int, default=400)
    parser.add_argument("--width", type=int, default=3000)
    parser.add_argument("--height", type=int, default=2000)
    return parser.parse_args()


def predicted(args) -> tuple[torch.Tensor, torch.Tensor]:
    """Masks (N, 28, 28) of blobs, and boxes (N, 4) XYXY of a tenth of the image's sides on average."""
    generator = torch.Generator().manual_seed(0)
    x, y = torch.meshgrid(torch.linspace(-1, 1, 28), torch.linspace(-1, 1, 28), indexing="xy")
    noise = torch.rand((args.instances, 28, 28), generator=generator) * 0.3
    masks = (1.2 - (x**2 + y**2).sqrt() + noise - 0.15).clamp(0, 1)
    size = torch.tensor([args.width, args.height])
    corners = torch.rand((args.instances, 2), generator=generator) * size * 0.8
    sides = torch.rand((args.instances, 2), generator=generator) * size * 0.2 + 4
    return masks, torch.cat([corners, corners + sides], dim=1)


def by_package(package: str, args) -> Callable[[], int]:
    """As a model's output is made and an evaluator encodes it."""
    paste = part(package, "layers").paste_masks_in_image
    structures, evaluation = part(package, "structures"), part(package, "evaluation.coco_evaluation")
    masks, boxes = predicted(args)
    size = (args.height, args.width)

    def job():
        instances = structures.Instances(size)
        instances.pred_boxes = structures.Boxes(boxes)
        instances.scores, instances.pred_classes = torch.ones(len(boxes)), torch.zeros(len(boxes), dtype=torch.int64)
        instances.pred_masks = paste(masks, boxes, size)
        return sum(len(result["segmentation"]["counts"]) for result in evaluation.instances_to_coco_json(instances, 1))

    return job


def by_pycocotools(package: str, args) -> Callable[[], int]:
    """Each mask over the whole image, one by one, then all bitmaps encoded."""
    import numpy as np
    import pycocotools.mask as mask_util

    masks, boxes = predicted(args)
    rows, columns = torch.arange(args.height) + 0.5, torch.arange(args.width) + 0.5

    def job():
        bitmaps = []
        for mask, (x0, y0, x1, y1) in zip(masks, boxes.tolist(), strict=True):
            y, x = (rows - y0) / (y1 - y0) * 2 - 1, (columns - x0) / (x1 - x0) * 2 - 1
            grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)[None]
            soft = torch.nn.functional.grid_sample(mask[None, None], grid, align_corners=False)
            bitmaps.append((soft[0, 0] >= 0.5).numpy())
        codes = [mask_util.encode(np.asfortranarray(bitmap[:, :, None], dtype=np.uint8))[0] for bitmap in bitmaps]
        return sum(len(code["counts"]) for code in codes)

    return job


def main():
    args = parse_arguments()
    jobs = {args.package: (by_package, args.package, args)}
    if args.vs:
        jobs["pycocotools"] = (by_pycocotools, args.package, args)
    measured = by_turns_fresh(jobs, args.rounds)
    report(f"{args.instances} masks in {args.width} x {args.height} pixels", measured, args.output)
    for name, m in measured.items():
        print(f"{name}: {m.value} characters of codes")


if __name__ == "__main__":
    main()
