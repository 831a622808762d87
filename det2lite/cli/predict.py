"""Finds objects in images, videos or the camera; writes pictures and, with --json, a COCO file.

Inputs are files, folders, patterns ('a/**/*.jpg'), addresses (https, file), and lists of all these (@names.txt,
one a line). The checkpoint carries config and class names.
"""

import argparse

EXAMPLES = """examples:

  pictures of all images of a folder, and their detections as JSON with the training data's category ids:
    $ {tool} --weights output/model_final.pth --input photos --output found --json

  a video; the camera in a window:
    $ {tool} --weights output/model_final.pth --input walk.mp4 --output found
    $ {tool} --weights output/model_final.pth --webcam --show

  a very large image, tile by tile:
    $ {tool} --weights output/model_final.pth --input plate.tif --tile 1024 --overlap 256
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--weights", required=True, metavar="FILE", help="checkpoint, such as output/model_final.pth")
    parser.add_argument("--config-file", metavar="FILE", help="config, or its zoo name (the checkpoint's)")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--input", nargs="+", metavar="PATH", help="images, videos, folders, patterns, URLs, lists")
    source.add_argument("--webcam", nargs="?", const=0, type=int, metavar="N", help="the camera number N (0)")
    parser.add_argument(
        "--output", default="predictions", metavar="PATH", help="folder, or file for one input (%(default)s)"
    )
    parser.add_argument("--json", nargs="?", const="", metavar="FILE", help="COCO file (predictions.json in --output)")
    parser.add_argument("--no-pictures", action="store_true", help="write no pictures and videos")
    parser.add_argument("--show", action="store_true", help="show in a window, write nothing but --json")
    parser.add_argument("--overwrite", action="store_true", help="replace files that are there")
    parser.add_argument(
        "--confidence-threshold", type=float, default=0.5, metavar="S", help="least score (%(default)s)"
    )
    parser.add_argument("--batch-size", type=int, metavar="N", help="images, or tiles, at once (8 on a GPU, else 1)")
    parser.add_argument("--tile", type=int, metavar="SIZE", help="cut images into tiles of this side, in pixels")
    parser.add_argument("--overlap", type=int, metavar="N", help="pixels that tiles share (a quarter of SIZE)")
    parser.add_argument(
        "--merge", choices=("ios", "nms"), default="ios", help="at seams, join views or keep the best (ios)"
    )
    parser.add_argument("--device", metavar="NAME", help="cpu, cuda, cuda:1, mps (the best there is)")
    parser.add_argument("--opts", nargs=argparse.REMAINDER, default=[], metavar="KEY VALUE", help="config changes")


def run(args: argparse.Namespace) -> int:
    """Returns the exit status: 1 where something could not be read."""
    from det2lite.apis import Tiling, command, init_detector
    from det2lite.apis.sources import check_new
    from det2lite.apis.window import require_display
    from det2lite.utils.errors import BadValue
    from det2lite.utils.logger import setup_logger

    setup_logger()
    if args.tile is None and args.overlap is not None:
        raise BadValue("--overlap is that of tiles; add --tile SIZE")
    tiling = None if args.tile is None else Tiling(args.tile, args.overlap, args.merge)
    if args.no_pictures and args.json is None and not args.show:
        raise BadValue("--no-pictures without --json would write nothing; add --json")
    if args.show:
        require_display("leave out --show to write pictures instead")
    images, videos = command.find_inputs(args.input) if args.input else ([], [args.webcam])
    draws = not (args.no_pictures or args.show)
    plan = command.make_plan(images, videos, args.output, draws=draws, json=args.json)
    check_new(plan.written, overwrite=args.overwrite)
    threshold = args.confidence_threshold
    config, device = args.config_file, args.device
    detector = init_detector(config, args.weights, device, options=args.opts, score_threshold=threshold)
    summary = command.run_plan(plan, detector, batch_size=args.batch_size, tiling=tiling, shown=args.show)
    print(summary)
    return 0 if summary.is_complete else 1
