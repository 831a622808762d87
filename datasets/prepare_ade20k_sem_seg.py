#!/usr/bin/env python
"""Makes annotations_detectron2/ of ADE20K: maps whose classes count from 0, with 255 where nothing is labelled."""

import argparse
import importlib.util
import os
import sys
from pathlib import Path

if importlib.util.find_spec("det2lite") is None:  # a checkout that is not installed
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from det2lite.utils.errors import exit_on_user_error

EXAMPLE = """example:

  $ {tool} --root $DETECTRON2_DATASETS/ADEChallengeData2016
"""


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
        help="folder with annotations/ (default: ADEChallengeData2016/ in $DETECTRON2_DATASETS or datasets/)",
    )
    return parser.parse_args(arguments)


@exit_on_user_error
def main(arguments=None):
    args = parse_arguments(arguments)
    from tqdm import tqdm

    from det2lite.data.data_root import data_root
    from det2lite.data.datasets.preparation import make_ade20k_maps

    root = args.root or Path(data_root()) / "ADEChallengeData2016"
    count, maps = make_ade20k_maps(root)
    for _ in tqdm(maps, total=count, unit="map", disable=None):
        pass
    print(f"{count} maps in {root / 'annotations_detectron2'}")


if __name__ == "__main__":
    main()
