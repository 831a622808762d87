#!/usr/bin/env python
"""The dataset mapper on one core: reading an image, resizing and flipping it, and its boxes and polygons with it.

    DETECTRON2_DATASETS=/data python -m benchmarks.data_loading --vs reference --vs pillow
    python -m benchmarks.data_loading --dataset coco_2017_val --short-edge 800
    python -m benchmarks.data_loading --stages                                # where the time goes

The reference does what Detectron2 documents of its mapper, object by object. `pillow` decodes and resizes alone, the
least that can be done with Pillow's pixels. Each runs in a process of its own, as a worker does: how a process keeps
memory is part of its speed.
"""

import copy
import itertools
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image

from benchmarks.common import by_turns, by_turns_fresh, make_parser, part, report


def parse_arguments():
    parser = make_parser(__doc__, vs=["reference", "pillow"], rounds=7)
    parser.add_argument("--dataset", default="coco_2017_train", help="a registered name (default: %(default)s)")
    parser.add_argument("--short-edge", type=int, default=480)
    parser.add_argument("--images", type=int, default=100, help="at most (default: 100)")
    parser.add_argument("--stages", action="store_true", help="the stages of the package's mapper instead")
    return parser.parse_args()


def made_mapper(package: str, short_edge: int) -> Callable[[dict], dict]:
    """The mapper that a config of Mask R-CNN makes."""
    cfg = part(package, "config").get_cfg()
    cfg.MODEL.MASK_ON = True
    cfg.INPUT.MIN_SIZE_TRAIN = (short_edge,)
    return part(package, "data").DatasetMapper(cfg, True)


def by_package(package: str, samples: list[dict], short_edge: int) -> Callable[[], None]:
    mapper = made_mapper(package, short_edge)

    def job():
        for sample in samples:
            mapper(sample)

    return job


def target_size(height: int, width: int, short_edge: int, longest: int = 1333) -> tuple[int, int]:
    scale = min(short_edge / min(height, width), longest / max(height, width))
    return int(height * scale + 0.5), int(width * scale + 0.5)


def by_reference(package: str, samples: list[dict], short_edge: int) -> Callable[[], None]:
    """One transform after the other, one object after the other, without any of the package's mapper."""
    structures = part(package, "structures")
    rng = np.random.default_rng(0)

    def one(sample: dict) -> structures.Instances:
        sample = copy.deepcopy(sample)
        with open(sample["file_name"], "rb") as file:
            picture = Image.open(file)
            picture.getexif()
            image = np.asarray(picture.convert("RGB"))[:, :, ::-1]
        height, width = image.shape[:2]
        new_height, new_width = target_size(height, width, short_edge)
        image = np.asarray(Image.fromarray(image).resize((new_width, new_height), Image.BILINEAR))
        mirrored = rng.random() < 0.5
        if mirrored:
            image = np.flip(image, axis=1)
        torch.as_tensor(np.ascontiguousarray(image.transpose(2, 0, 1)))
        scale = np.array([new_width / width, new_height / height])

        def move(points: np.ndarray) -> np.ndarray:
            points = points * scale
            if mirrored:
                points[:, 0] = new_width - points[:, 0]
            return points

        boxes, polygons, classes = [], [], []
        for annotation in sample["annotations"]:
            if annotation.get("iscrowd", 0):
                continue
            x, y, w, h = annotation["bbox"]
            corners = move(np.array(list(itertools.product((x, x + w), (y, y + h))), dtype=float))
            boxes.append(np.concatenate([corners.min(axis=0), corners.max(axis=0)]).clip(min=0))
            shapes = [np.asarray(polygon).reshape(-1, 2) for polygon in annotation["segmentation"]]
            polygons.append([move(points).reshape(-1) for points in shapes])
            classes.append(annotation["category_id"])
        instances = structures.Instances((new_height, new_width))
        instances.gt_boxes = structures.Boxes(torch.tensor(np.array(boxes).reshape(-1, 4), dtype=torch.float32))
        instances.gt_classes = torch.tensor(classes, dtype=torch.int64)
        instances.gt_masks = structures.PolygonMasks(polygons)
        return instances[instances.gt_boxes.nonempty(threshold=1e-5) & instances.gt_masks.nonempty()]

    def job():
        for sample in samples:
            one(sample)

    return job


def by_pillow(package: str, samples: list[dict], short_edge: int) -> Callable[[], None]:
    """Decoding and resizing, and nothing else."""

    def job():
        for sample in samples:
            with Image.open(sample["file_name"]) as picture:
                picture = picture.convert("RGB")
                height, width = target_size(picture.height, picture.width, short_edge)
                np.asarray(picture.resize((width, height), Image.BILINEAR))

    return job


def of_stages(package: str, samples: list[dict], short_edge: int) -> dict[str, Callable[[], None]]:
    """What the mapper does one after the other, each by itself."""
    data = part(package, "data")
    utils, transforms = data.detection_utils, data.transforms
    mapper = made_mapper(package, short_edge)
    images = [utils.read_image(sample["file_name"], format="BGR") for sample in samples]
    moved = []
    for image in images:
        augmented = transforms.AugInput(image)
        applied = mapper.augmentations(augmented)
        moved.append((augmented.image, applied))

    def read():
        for sample in samples:
            utils.read_image(sample["file_name"], format="BGR")

    def augment():
        for image in images:
            mapper.augmentations(transforms.AugInput(image))

    def annotate():
        for sample, (image, applied) in zip(samples, moved, strict=True):
            annotations = [dict(a) for a in sample["annotations"] if not a.get("iscrowd", 0)]
            annotations = utils.transform_annotations(annotations, applied, image.shape[:2])
            utils.filter_empty_instances(utils.annotations_to_instances(annotations, image.shape[:2]))

    def whole():
        for sample in samples:
            mapper(sample)

    whole()
    return {"read": read, "resize and flip": augment, "annotations": annotate, "whole mapper": whole}


CANDIDATES = {"package": by_package, "reference": by_reference, "pillow": by_pillow}


def samples_of(package: str, args) -> list[dict]:
    torch.set_num_threads(1)
    return list(part(package, "data").DatasetCatalog.get(args.dataset))[: args.images]


def prepare(candidate: str, package: str, args) -> Callable[[], None]:
    job = CANDIDATES[candidate](package, samples_of(package, args), args.short_edge)
    job()
    return job


def main():
    args = parse_arguments()
    samples = samples_of(args.package, args)
    if args.stages:
        measured = by_turns(of_stages(args.package, samples, args.short_edge), args.rounds)
    else:
        names = {args.package: "package", **{name: name for name in args.vs}}
        jobs = {name: (prepare, candidate, args.package, args) for name, candidate in names.items()}
        measured = by_turns_fresh(jobs, args.rounds)
    report(f"mapper, {args.dataset}, short edge {args.short_edge}", measured, args.output, items=len(samples))


if __name__ == "__main__":
    main()
