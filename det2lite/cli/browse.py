"""Draws the images of a data set with their annotations, before and after augmentation, and an overview of its labels.

The first images are drawn, each as it is annotated and beside it as the training sees it.
"""

import argparse

from det2lite.engine.arguments import KeyValueParser as make_parser  # noqa: F401 - takes KEY VALUE pairs

EXAMPLES = """examples:

  nine images of a folder in any known layout, on one sheet:
    $ {tool} --data my_data --sheet sheet.png -n 9

  a COCO file: three augmented variants beside each image, in a folder, with stronger augmentation:
    $ {tool} --json train.json --images train --output-dir pictures --augment 3 INPUT.CROP.ENABLED True

  classes, box sizes, places and objects per image of what a config trains on:
    $ {tool} --config-file my.yaml --labels labels.png

  in a window; any key for the next image, q to stop:
    $ {tool} --data my_data --show
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--config-file", metavar="FILE", help="the first of its DATASETS.TRAIN")
    source.add_argument("--data", metavar="DATA", help="folder of a known layout, or name of a registered data set")
    source.add_argument("--json", metavar="FILE", help="COCO JSON file")
    parser.add_argument("--images", metavar="DIR", help="folder of the file's images (default: looked for)")
    parser.add_argument("--split", metavar="NAME", help="of a folder (default: the first, which is training)")
    parser.add_argument("--output-dir", metavar="DIR", help="write each picture into this folder")
    parser.add_argument("--sheet", metavar="FILE", help="write all pictures as one contact sheet")
    parser.add_argument("--labels", metavar="FILE", help="write an overview of the labels of all images")
    parser.add_argument("--show", action="store_true", help="show the pictures in a window")
    parser.add_argument("-n", "--num-images", type=int, default=16, metavar="N", help="how many (default: 16)")
    parser.add_argument("--augment", type=int, default=1, metavar="N", help="augmented variants (default: 1; 0: none)")
    parser.add_argument("--scale", type=float, default=1.0, help="size of the pictures (default: 1.0)")
    parser.add_argument("--seed", type=int, default=0, help="of the augmentation (default: 0)")
    parser.add_argument("--overwrite", action="store_true", help="replace pictures that are there")
    parser.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="changes of the config")


def run(args: argparse.Namespace) -> None:
    from det2lite.utils.errors import BadValue

    if not (args.output_dir or args.sheet or args.labels or args.show):
        raise BadValue("say where the pictures go: --output-dir DIR, --sheet FILE, --labels FILE, or --show")
    if args.num_images < 1 or args.augment < 0:
        raise BadValue("--num-images is 1 or more, --augment 0 or more")
    window = _window() if args.show else None
    from det2lite.data.preflight import browse as library

    if args.config_file:
        from det2lite.engine.arguments import config_from_arguments

        album = library.album_of_config(config_from_arguments(args))
    else:
        album = library.album_of_data(args.data or args.json, args.images, args.split, args.opts)
    written = library.browse(
        album,
        output_dir=args.output_dir,
        sheet=args.sheet,
        labels=args.labels,
        window=window,
        count=args.num_images,
        variants=args.augment,
        scale=args.scale,
        seed=args.seed,
        overwrite=args.overwrite,
    )
    print("\n".join(written))


def _window():
    from det2lite.apis import window

    window.require_display("leave out --show and give --sheet FILE or --output-dir DIR")
    return lambda image: window.show(image[:, :, ::-1].copy(), wait_ms=0)
