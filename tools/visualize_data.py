#!/usr/bin/env python
"""Draws the ground truth of DATASETS.TRAIN: as annotated, or as the data loader gives it to the model.

`det2lite browse` draws both side by side, of data sets without a config too.
"""

import argparse
import importlib.util
import os
import sys
from itertools import islice

if importlib.util.find_spec("det2lite") is None:  # a checkout that is not installed
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from det2lite.utils.errors import BadValue, exit_on_user_error

EXAMPLE = """example:

  $ {tool} --config-file configs/COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml --source annotation \\
      --output-dir pictures -n 50 DATASETS.TRAIN "('coco_2017_val',)"
"""


def parse_arguments(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=EXAMPLE.format(tool=os.path.basename(sys.argv[0])),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--source", choices=["annotation", "dataloader"], required=True, help="annotated, or augmented for training"
    )
    parser.add_argument("--config-file", default="", metavar="FILE", help="config file (YAML)")
    parser.add_argument("--output-dir", default="./", metavar="DIR", help="where the pictures go (default: here)")
    parser.add_argument("--show", action="store_true", help="show them in a window instead")
    parser.add_argument("--scale", type=float, default=1.0, help="size of the pictures (default: 1.0)")
    parser.add_argument(
        "-n", "--num-images", type=int, metavar="N", help="how many (default: all annotated, 100 of the data loader)"
    )
    parser.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="changes of the config")
    return parser.parse_args(arguments)


@exit_on_user_error
def main(arguments=None):
    args = parse_arguments(arguments)
    from tqdm import tqdm

    from det2lite.apis import window
    from det2lite.data.pictures import annotated, free_path, loaded
    from det2lite.engine import config_from_arguments

    cfg = config_from_arguments(args)
    if not cfg.DATASETS.TRAIN:
        raise BadValue("DATASETS.TRAIN is empty: name a data set, DATASETS.TRAIN \"('name',)\"")
    if args.show:
        window.require_display("leave out --show and give --output-dir")
    count = args.num_images or (100 if args.source == "dataloader" else None)
    pictures = annotated(cfg, args.scale) if args.source == "annotation" else loaded(cfg, args.scale)
    taken = {}
    for name, picture in tqdm(islice(pictures, count), total=count, disable=None, unit="image"):
        if not args.show:
            picture.save(free_path(args.output_dir, name, taken))
        elif not window.show(picture.get_image()[:, :, ::-1].copy(), wait_ms=0):
            break
    if not args.show:
        print(f"{sum(taken.values())} pictures in {args.output_dir}")


if __name__ == "__main__":
    main()
