#!/usr/bin/env python
"""Makes a COCO instances JSON of the things in panoptic annotations: Panoptic FPN learns from both."""

import argparse
import importlib.util
import os
import sys
from pathlib import Path

if importlib.util.find_spec("det2lite") is None:  # a checkout that is not installed
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from det2lite.utils.errors import exit_on_user_error

EXAMPLE = """example:

  $ {tool} street/panoptic_val.json street/panoptic_val street/instances_val.json
"""


def parse_arguments(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=EXAMPLE.format(tool=os.path.basename(sys.argv[0])),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("panoptic_json", type=Path, help="panoptic annotations")
    parser.add_argument("panoptic_root", type=Path, help="folder of their PNG maps")
    parser.add_argument("output", type=Path, help="instances JSON to write")
    return parser.parse_args(arguments)


@exit_on_user_error
def main(arguments=None):
    args = parse_arguments(arguments)
    from tqdm import tqdm

    from det2lite.data.datasets.preparation import instances_of_panoptic, write_json

    count, per_image, content = instances_of_panoptic(args.panoptic_json, args.panoptic_root)
    annotations = [a for of_image in tqdm(per_image, total=count, unit="image", disable=None) for a in of_image]
    content["annotations"] = [{"id": number, **a} for number, a in enumerate(annotations, 1)]
    write_json(content, args.output)
    print(f"{args.output}: {len(annotations)} instances of {count} images")


if __name__ == "__main__":
    main()
