#!/usr/bin/env python
"""Runs a model on images, a video or the camera and shows or writes what it found."""

import argparse
import importlib.util
import os
import sys
from pathlib import Path

if importlib.util.find_spec("det2lite") is None:  # a checkout that is not installed
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from det2lite.utils.errors import MissingFile, exit_on_user_error

EXAMPLES = """examples:

  pictures of all images of a folder, written to another:
    $ {tool} --config-file configs/COCO-Detection/faster_rcnn_R_50_FPN_3x.yaml --input photos --output found \\
        --opts MODEL.WEIGHTS model_final.pth

  a model trained with det2lite knows its config and classes; shown in a window:
    $ {tool} --input photo.jpg --opts MODEL.WEIGHTS output/model_final.pth

  a video:
    $ {tool} --config-file cfg.yaml --video-input walk.mp4 --output walk_found.mp4 --opts MODEL.WEIGHTS model_final.pth
"""


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=EXAMPLES.format(tool=os.path.basename(sys.argv[0])),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config-file", default="", metavar="FILE", help="config; default: that in the checkpoint")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--input", nargs="+", metavar="PATH", help="images, folders of them, patterns like 'a/*.jpg'")
    source.add_argument("--video-input", metavar="FILE", help="a video")
    source.add_argument("--webcam", nargs="?", const=0, type=int, metavar="N", help="the camera, number N (default 0)")
    parser.add_argument("--output", metavar="PATH", help="folder, or file for one input; default: show in a window")
    parser.add_argument("--confidence-threshold", type=float, default=0.5, metavar="SCORE", help="least score, 0..1")
    parser.add_argument("--opts", nargs=argparse.REMAINDER, default=[], metavar="KEY VALUE", help="config changes")
    return parser.parse_args(arguments)


def video_file(name: str) -> Path | str:
    """The path of a video, or the address itself. Raises `MissingFile` where no such file is there."""
    if "://" in name:
        return name
    if not os.path.isfile(name):
        raise MissingFile(f"{name}: no such video file; check the path")
    return Path(name)


@exit_on_user_error
def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status: 1 where an image or frame could not be read."""
    args = parse_arguments(arguments)
    from det2lite.apis import command, init_detector
    from det2lite.apis.sources import find_files
    from det2lite.apis.window import require_display
    from det2lite.utils.logger import setup_logger

    setup_logger()
    if not args.output:
        require_display()
    if args.input:  # ask for what is missing before a model is built
        images, videos = find_files(args.input), []
    else:
        images, videos = [], [args.webcam if args.video_input is None else video_file(args.video_input)]
    plan = command.make_plan(images, videos, args.output or "", draws=bool(args.output))
    detector = init_detector(args.config_file or None, options=args.opts, score_threshold=args.confidence_threshold)
    summary = command.run_plan(plan, detector, shown=not args.output)
    print(summary)
    return 0 if summary.is_complete else 1


if __name__ == "__main__":
    sys.exit(main())
