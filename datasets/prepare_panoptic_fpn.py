#!/usr/bin/env python
"""Makes panoptic_stuff_*/ from COCO's panoptic annotations: the semantic maps that Panoptic FPN is trained on."""

import argparse
import importlib.util
import os
import sys
from pathlib import Path

if importlib.util.find_spec("det2lite") is None:  # a checkout that is not installed
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from det2lite.utils.errors import MissingFile, exit_on_user_error

EXAMPLE = """example:

  $ {tool} --root $DETECTRON2_DATASETS/coco --splits val2017
"""


def parse_arguments(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=EXAMPLE.format(tool=os.path.basename(sys.argv[0])),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--root", type=Path, metavar="DIR", help="COCO's folder (default: coco/ in $DETECTRON2_DATASETS or datasets/)"
    )
    parser.add_argument(
        "--splits", nargs="+", metavar="SPLIT", help="default: those of train2017, val2017, val2017_100 that are there"
    )
    return parser.parse_args(arguments)


@exit_on_user_error
def main(arguments=None):
    args = parse_arguments(arguments)
    from tqdm import tqdm

    from det2lite.data.data_root import data_root, missing_hint
    from det2lite.data.datasets.preparation import make_stuff_maps

    root = args.root or Path(data_root()) / "coco"
    splits = args.splits or [
        split
        for split in ("val2017_100", "val2017", "train2017")
        if (root / f"annotations/panoptic_{split}.json").exists()
    ]
    if not splits:
        path = root / "annotations/panoptic_val2017.json"
        raise MissingFile(f"{path}: no such file; {missing_hint(str(path))}")
    for split in splits:
        target = root / f"panoptic_stuff_{split}"
        count, maps = make_stuff_maps(root / f"annotations/panoptic_{split}.json", root / f"panoptic_{split}", target)
        for _ in tqdm(maps, total=count, desc=split, unit="map", disable=None):
            pass
        print(f"{count} maps in {target}")


if __name__ == "__main__":
    main()
