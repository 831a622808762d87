#!/usr/bin/env python
"""Draws the detections of a COCO result file beside the ground truth: one picture an image."""

import argparse
import importlib.util
import os
import sys
from collections import defaultdict

if importlib.util.find_spec("det2lite") is None:  # a checkout that is not installed
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from det2lite.utils.errors import BadValue, close_names, exit_on_user_error

EXAMPLE = """example, after an evaluation:

  $ {tool} --input output/inference/coco_instances_results.json --dataset coco_2017_val --output pictures
"""


def parse_arguments(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=EXAMPLE.format(tool=os.path.basename(sys.argv[0])),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--input", required=True, metavar="FILE", help="JSON that an evaluation wrote")
    parser.add_argument("--output", required=True, metavar="DIR", help="where the pictures go")
    parser.add_argument("--dataset", default="coco_2017_val", metavar="NAME", help="data set (default: %(default)s)")
    parser.add_argument(
        "--conf-threshold", type=float, default=0.5, metavar="SCORE", help="lowest score drawn (default: %(default)s)"
    )
    parser.add_argument("-n", "--num-images", type=int, metavar="N", help="of the first N images only")
    return parser.parse_args(arguments)


def read_results(path):
    """The entries of the file by image id."""
    from det2lite.data.datasets.coco_reader import read_json

    entries = read_json(path)
    if not isinstance(entries, list) or not all(
        isinstance(entry, dict) and isinstance(entry.get("image_id"), int | str) for entry in entries
    ):
        raise BadValue(f"{path}: not a list of detections, each with an image_id; give coco_instances_results.json")
    of_image = defaultdict(list)
    for entry in entries:
        of_image[entry["image_id"]].append(entry)
    return of_image


def draw(sample, results, metadata, threshold):
    """The picture of one image, (H, 2 * W, 3) RGB: detections left, ground truth right."""
    import numpy as np

    from det2lite.data.detection_utils import read_image
    from det2lite.evaluation.coco_results import instances_from_coco_json
    from det2lite.utils.visualizer import Visualizer

    image = read_image(sample["file_name"], "RGB")
    # ids of the data set; without such a table they are the classes
    ids = metadata.get("thing_dataset_id_to_contiguous_id")
    found = instances_from_coco_json(results, image.shape[:2], ids, threshold)
    found = Visualizer(image, metadata).draw_instance_predictions(found).get_image()
    truth = Visualizer(image, metadata).draw_dataset_dict(sample).get_image()
    return np.concatenate([found, truth], axis=1)


@exit_on_user_error
def main(arguments=None):
    args = parse_arguments(arguments)
    import cv2
    from tqdm import tqdm

    from det2lite.data import DatasetCatalog, MetadataCatalog

    results = read_results(args.input)
    if args.dataset not in DatasetCatalog.list():
        hint = close_names(args.dataset, DatasetCatalog.list())
        raise BadValue(f"no data set {args.dataset!r}{hint}; --dataset is the one that was evaluated on")
    samples = DatasetCatalog.get(args.dataset)
    if results and not results.keys() & {sample["image_id"] for sample in samples}:
        raise BadValue(
            f"no detection of {args.input} is on an image of {args.dataset}; give --dataset the one it is of"
        )
    metadata = MetadataCatalog.get(args.dataset)
    os.makedirs(args.output, exist_ok=True)
    for sample in tqdm(samples[: args.num_images], disable=None, unit="image"):
        picture = draw(sample, results[sample["image_id"]], metadata, args.conf_threshold)
        name = str(sample["image_id"]).replace(os.sep, "_")
        cv2.imwrite(os.path.join(args.output, f"{name}.jpg"), picture[:, :, ::-1])
    print(f"{len(samples[: args.num_images])} pictures in {args.output}")


if __name__ == "__main__":
    main()
