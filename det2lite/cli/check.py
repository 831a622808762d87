"""Finds faults of a data set: in its annotations, and in its image files.

DATA is a COCO JSON file, a folder of a layout that `det2lite convert` recognises, or the name of a registered data set.
The exit status is 1 if there are errors, else 0; warnings and notes do not count.
"""

import argparse

EXAMPLES = """examples:

  everything, every image decoded:
    $ {tool} annotations/instances_train.json --images train

  a folder in COCO, YOLO or Pascal VOC layout, no image opened:
    $ {tool} my_data --quick

  all findings as JSON, for a script:
    $ {tool} coco_2017_val --json findings.json

  a cleaned copy of the annotations in cleaned/, and the list of changes; the original stays as it is:
    $ {tool} annotations.json --images images --fix --output cleaned
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("data", metavar="DATA", help="COCO JSON file, folder, or registered name")
    parser.add_argument("--images", metavar="DIR", help="folder that file names are relative to (default: looked for)")
    parser.add_argument("--quick", action="store_true", help="open no image file")
    parser.add_argument("--nproc", type=int, default=0, metavar="N", help="processes that decode (default: one a core)")
    parser.add_argument("--max", type=int, default=3, metavar="N", help="findings to print of each kind (default: 3)")
    parser.add_argument("--json", metavar="FILE", help="write all findings to FILE")
    parser.add_argument("--fix", action="store_true", help="write a cleaned copy of the annotations to --output")
    parser.add_argument("--output", metavar="DIR", help="folder of the cleaned copy")
    parser.add_argument("--overwrite", action="store_true", help="replace files of an earlier run")


def run(args: argparse.Namespace) -> int:
    from det2lite.data.preflight.run import check_sources

    if args.fix and not args.output:
        from det2lite.utils.errors import BadValue

        raise BadValue("--fix writes a copy: say where, --output DIR")
    return check_sources(
        args.data,
        args.images,
        quick=args.quick,
        nproc=args.nproc,
        per_kind=args.max,
        json_file=args.json,
        output=args.output if args.fix else None,
        overwrite=args.overwrite,
    )
