#!/usr/bin/env python
"""COCO evaluation after the last forward pass: results collected, saved, matched and averaged.

    python -m benchmarks.evaluation --vs pycocotools
    python -m benchmarks.evaluation --task segm --images 1000 --vs pycocotools

Objects are those of a synthetic file; detections are objects moved at random, and boxes without an object, 100 in
each image. What the evaluator does with each batch is timed apart: it happens between forward passes. The alternative
gets the results as a list of dicts, and does not save them.
"""

import contextlib
import functools
import io
import json
import os
import tempfile
from collections.abc import Callable, Iterator

import numpy as np
import torch

from benchmarks.coco_file import make_coco_file
from benchmarks.common import by_turns_fresh, make_parser, part, report, timed

METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl")


def parse_arguments():
    parser = make_parser(__doc__, vs=["pycocotools"], rounds=3)
    parser.add_argument("--task", choices=["bbox", "segm"], default="bbox")
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--detections", type=int, default=100, help="of each image (default: 100)")
    return parser.parse_args()


def detections(package: str, json_file: str, per_image: int, with_masks: bool) -> Iterator[tuple[dict, dict]]:
    """Inputs and outputs of a model, image by image."""
    structures = part(package, "structures")
    with open(json_file, encoding="utf-8") as file:
        content = json.load(file)
    boxes_of = {image["id"]: [] for image in content["images"]}
    for annotation in content["annotations"]:
        boxes_of[annotation["image_id"]].append((*annotation["bbox"], annotation["category_id"] - 1))
    rng = np.random.default_rng(1)
    for image in content["images"]:
        size = image["height"], image["width"]
        found = np.array(boxes_of[image["id"]]).reshape(-1, 5)[: per_image // 2]
        noise = rng.uniform(0, 200, (per_image - len(found), 5))
        noise[:, 4] = rng.integers(0, 80, len(noise))
        found[:, :4] += rng.normal(0, 3, (len(found), 4))
        found = np.concatenate([found, noise])
        found[:, 2:4] = np.abs(found[:, 2:4]) + 2
        found[:, 2:4] += found[:, :2]
        instances = structures.Instances(size)
        instances.pred_boxes = structures.Boxes(torch.tensor(found[:, :4], dtype=torch.float32))
        instances.pred_boxes.clip(size)
        instances.scores = torch.tensor(rng.uniform(0.05, 1, per_image), dtype=torch.float32)
        instances.pred_classes = torch.tensor(found[:, 4], dtype=torch.int64)
        if with_masks:
            instances.pred_masks = ellipses(instances.pred_boxes.tensor, size)
        yield {"image_id": image["id"], "height": size[0], "width": size[1]}, {"instances": instances}


def ellipses(boxes: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """(N, H, W) bool: the ellipse in each box (N, 4)."""
    x0, y0, x1, y1 = boxes.clamp(min=0)[:, :, None].unbind(1)  # (N, 1)
    x = (torch.arange(size[1]) + 0.5 - (x0 + x1) / 2) / (x1 - x0 + 1e-3) * 2
    y = (torch.arange(size[0]) + 0.5 - (y0 + y1) / 2) / (y1 - y0 + 1e-3) * 2
    return x[:, None, :] ** 2 + y[:, :, None] ** 2 <= 1


def prepare_package(package: str, json_file: str, args) -> Callable[[], dict]:
    """All images processed; the job is what comes after."""
    data, evaluation, coco = part(package, "data"), part(package, "evaluation"), part(package, "data.datasets.coco")
    coco.register_coco_instances("evaluated", {}, json_file, "/images")
    data.DatasetCatalog.get("evaluated")
    folder = tempfile.TemporaryDirectory()
    evaluator = evaluation.COCOEvaluator("evaluated", (args.task,), distributed=False, output_dir=folder.name)
    evaluator.reset()
    prepare_package.kept = folder
    seconds = 0.0
    for input, output in detections(package, json_file, args.detections, args.task == "segm"):
        seconds += timed(functools.partial(evaluator.process, [input], [output]), collect=False)[1]
    print(f"{package}: {seconds / args.images * 1e3:.3g} ms of the processor to process an image")

    def job():
        results = evaluator.evaluate()[args.task]
        return {name: results[name] for name in METRICS}

    return job


def prepare_pycocotools(package: str, json_file: str, args) -> Callable[[], dict]:
    """Results as a list of dicts; the job is loading, matching and averaging them. package: whose structures to use."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    encode = part(package, "evaluation.coco_evaluation").instances_to_coco_json
    results = []
    for input, output in detections(package, json_file, args.detections, args.task == "segm"):
        results += encode(output["instances"], input["image_id"])
    for result in results:
        result["category_id"] += 1
        if args.task == "segm":
            del result["bbox"]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(json_file)

    def job():
        with contextlib.redirect_stdout(io.StringIO()):
            evaluation = COCOeval(truth, truth.loadRes(results), args.task)
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        return dict(zip(METRICS, (evaluation.stats[:6] * 100).tolist(), strict=True))

    return job


def main():
    args = parse_arguments()
    objects = args.images * 36_781 // 5000
    json_file = os.path.join(tempfile.gettempdir(), f"coco_{args.images}_{objects}.json")
    make_coco_file(json_file, args.images, objects)
    jobs = {args.package: (prepare_package, args.package, json_file, args)}
    if args.vs:
        jobs["pycocotools"] = (prepare_pycocotools, args.package, json_file, args)
    measured = by_turns_fresh(jobs, args.rounds)
    title = f"{args.task} of {args.images} images with {args.detections} detections each"
    report(title, measured, args.output, items=args.images)
    for name, m in measured.items():
        print(f"{name}: {', '.join(f'{metric} {value:.3f}' for metric, value in m.value.items())}")
    if args.vs:
        ours, theirs = (np.array(list(m.value.values())) for m in measured.values())
        print(f"largest difference: {np.nanmax(np.abs(ours - theirs))}")


if __name__ == "__main__":
    main()
