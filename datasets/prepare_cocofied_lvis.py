#!/usr/bin/env python
"""Makes lvis_v0.5_*_cocofied.json: LVIS with COCO's 80 categories, to compute COCO's AP by LVIS's rules."""

import argparse
import importlib.util
import os
import sys
from pathlib import Path

if importlib.util.find_spec("det2lite") is None:  # a checkout that is not installed
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from det2lite.utils.errors import MissingFile, exit_on_user_error

EXAMPLE = """example:

  $ {tool} --root $DETECTRON2_DATASETS/lvis
  $ {tool} lvis_v1_val.json
"""


def parse_arguments(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=EXAMPLE.format(tool=os.path.basename(sys.argv[0])),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "files", nargs="*", type=Path, metavar="FILE", help="LVIS JSON (default: lvis_v0.5_train and _val in --root)"
    )
    parser.add_argument(
        "--root", type=Path, metavar="DIR", help="LVIS's folder (default: lvis/ in $DETECTRON2_DATASETS or datasets/)"
    )
    return parser.parse_args(arguments)


@exit_on_user_error
def main(arguments=None):
    args = parse_arguments(arguments)
    from tqdm import tqdm

    from det2lite.data.data_root import data_root, missing_hint
    from det2lite.data.datasets.preparation import LVIS_LISTS, cocofied_lvis, read_content, write_json

    root = args.root or Path(data_root()) / "lvis"
    files = args.files or [f for s in ("train", "val") if (f := root / f"lvis_v0.5_{s}.json").exists()]
    if not files:
        path = root / "lvis_v0.5_val.json"
        raise MissingFile(f"{path}: no such file; {missing_hint(str(path))}")
    for file in tqdm(files, unit="file", disable=None):
        target = file.with_name(f"{file.stem}_cocofied.json")
        content = cocofied_lvis(read_content(file, "LVIS", LVIS_LISTS))
        write_json(content, target)
        tqdm.write(f"{target}: {len(content['annotations'])} annotations of {len(content['images'])} images")


if __name__ == "__main__":
    main()
