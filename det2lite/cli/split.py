"""Splits a COCO JSON file at random or into folds. One seed gives the same parts, whatever the order in the file."""

import argparse

EXAMPLES = """examples:

  $ {tool} --input instances.json --output parts --ratio 0.8 0.1 0.1 --stratify
  $ {tool} --input instances.json --output folds --folds 5 --group-by video_id
  $ {tool} --input instances.json --output parts --ratio 0.8 0.2 --group-by '^(video\\d+)'

--ratio writes instances_train.json, instances_val.json and instances_test.json; --folds writes, for each fold,
instances_fold0_train.json and instances_fold0_val.json.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--input", required=True, metavar="FILE", help="COCO JSON file")
    add("--output", required=True, metavar="DIR", help="folder to write to")
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--ratio", type=float, nargs="+", metavar="R", help="fractions of the images; their sum is 1")
    how.add_argument("--folds", type=int, metavar="K", help="K pairs of files; each image is in one val")
    add("--names", nargs="+", metavar="NAME", help="names of the parts of --ratio; default: train, val, test")
    add("--stratify", action="store_true", help="share out the images of each class evenly")
    add(
        "--group-by",
        metavar="KEY",
        help="keep images together that agree in this key, or regular expression of file names",
    )
    add("--seed", type=int, default=0, help="default: %(default)s")
    add("--overwrite", action="store_true", help="replace files that are there")


def run(args: argparse.Namespace) -> None:
    from det2lite.data.converters.split import split_file, split_table

    contents = split_file(
        args.input,
        args.output,
        ratios=args.ratio,
        folds=args.folds,
        names=args.names,
        stratify=args.stratify,
        group_by=args.group_by,
        seed=args.seed,
        overwrite=args.overwrite,
    )
    print(split_table(contents))
    print(f"written: {len(contents)} files in {args.output}")
