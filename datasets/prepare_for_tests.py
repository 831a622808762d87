#!/usr/bin/env python
"""Makes the annotations of the small splits: coco_2017_val_100 with its keypoints and panoptic maps, from val2017,
and lvis_v0.5_val_rand_100. They hold the images of the lowest ids."""

import argparse
import importlib.util
import os
import sys
from pathlib import Path

if importlib.util.find_spec("det2lite") is None:  # a checkout that is not installed
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from det2lite.utils.errors import MissingFile, exit_on_user_error

EXAMPLE = """example, and the semantic maps after it:

  $ {tool} --root $DETECTRON2_DATASETS
  $ prepare_panoptic_fpn.py --root $DETECTRON2_DATASETS/coco --splits val2017_100
"""
# whole file -> small file; what is not there is left out
FILES = {
    "coco/annotations/instances_val2017.json": "coco/annotations/instances_val2017_100.json",
    "coco/annotations/person_keypoints_val2017.json": "coco/annotations/person_keypoints_val2017_100.json",
    "coco/annotations/panoptic_val2017.json": "coco/annotations/panoptic_val2017_100.json",
    "lvis/lvis_v0.5_val.json": "lvis/lvis_v0.5_val_rand_100.json",
}


def parse_arguments(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=EXAMPLE.format(tool=os.path.basename(sys.argv[0])),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--root",
        type=Path,
        metavar="DIR",
        help="folder of coco/ and lvis/ (default: $DETECTRON2_DATASETS or datasets/)",
    )
    parser.add_argument("--images", type=int, default=100, metavar="N", help="how many (default: %(default)s)")
    return parser.parse_args(arguments)


@exit_on_user_error
def main(arguments=None):
    args = parse_arguments(arguments)
    from tqdm import tqdm

    from det2lite.data.data_root import data_root, missing_hint
    from det2lite.data.datasets.preparation import (
        COCO_LISTS,
        PANOPTIC_LISTS,
        first_images,
        make_panoptic_subset,
        read_content,
        write_json,
    )

    root = args.root or Path(data_root())
    there = [source for source in FILES if (root / source).exists()]
    if not there:
        path = root / next(iter(FILES))
        raise MissingFile(f"{path}: no such file; {missing_hint(str(path))}")
    for source in tqdm(there, unit="file", disable=None):
        is_panoptic = "panoptic" in source
        kind, lists = ("panoptic", COCO_LISTS | PANOPTIC_LISTS) if is_panoptic else ("COCO", COCO_LISTS)
        content = first_images(read_content(root / source, kind, lists), args.images)
        if is_panoptic:
            make_panoptic_subset(content, root / "coco/panoptic_val2017", root / "coco/panoptic_val2017_100")
        write_json(content, root / FILES[source])
        tqdm.write(f"{root / FILES[source]}: {len(content['images'])} images")


if __name__ == "__main__":
    main()
