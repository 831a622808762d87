#!/usr/bin/env python
"""Runs a model on images, a video or the camera and shows or writes what it found."""

import argparse
import importlib.util
import logging
import os
import sys
import time
from pathlib import Path

if importlib.util.find_spec("det2lite") is None:  # a checkout that is not installed
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from det2lite.utils.errors import BadValue, UserError, exit_on_user_error

logger = logging.getLogger("det2lite.demo")

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


def config_of(args: argparse.Namespace):
    """The config of --config-file, else the one that the checkpoint carries, with --opts and the threshold set."""
    from det2lite.checkpoint.run_info import read_run_info
    from det2lite.config import get_cfg

    if not 0 <= args.confidence_threshold <= 1:
        raise BadValue(f"--confidence-threshold {args.confidence_threshold} is no score; give a number in 0..1")
    cfg = get_cfg()
    if args.config_file:
        cfg.merge_from_file(args.config_file)
    cfg.merge_from_list(args.opts)
    if not args.config_file:
        if not cfg.MODEL.WEIGHTS:
            raise BadValue("which model? Give --config-file FILE, or --opts MODEL.WEIGHTS FILE of a run of det2lite")
        text = read_run_info(cfg.MODEL.WEIGHTS).get("config")
        if not text:
            raise BadValue(f"{cfg.MODEL.WEIGHTS} carries no config of its own; give --config-file FILE")
        weights, cfg = cfg.MODEL.WEIGHTS, get_cfg()
        cfg.merge_from_text(text, f"the config in {weights}")
        cfg.merge_from_list(["MODEL.DEVICE", "auto", *args.opts])  # trained there, perhaps, on another device
    cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = args.confidence_threshold
    cfg.MODEL.RETINANET.SCORE_THRESH_TEST = args.confidence_threshold
    cfg.MODEL.PANOPTIC_FPN.COMBINE.INSTANCES_CONFIDENCE_THRESH = args.confidence_threshold
    cfg.freeze()
    return cfg


def run_on_images(demo, sources: list[Path], outputs: list[Path] | None) -> int:
    """Returns how many images could not be read."""
    import media
    from tqdm import tqdm
    from tqdm.contrib.logging import logging_redirect_tqdm

    from det2lite.data.detection_utils import read_image

    skipped = []
    with logging_redirect_tqdm([logging.getLogger("det2lite")]):
        for index, path in enumerate(tqdm(sources, disable=None, unit="image")):
            try:
                image = read_image(str(path), format="BGR")
            except (UserError, OSError) as error:
                skipped.append(path)
                logger.error("skipped %s", error if str(path) in str(error) else f"{path}: {error}")
                continue
            start = time.perf_counter()
            predictions, picture = demo.run_on_image(image)
            logger.info("%s: %s in %.2f s", path, found(predictions), time.perf_counter() - start)
            if outputs is not None:
                picture.save(outputs[index])
            elif not media.show(picture.get_image()[:, :, ::-1], wait_ms=0):
                break
    if skipped:
        logger.error("%d of %d images could not be read: %s", len(skipped), len(sources), ", ".join(map(str, skipped)))
    return len(skipped)


def found(predictions: dict) -> str:
    """What was found, in a few words."""
    for name in ("instances", "proposals"):
        if name in predictions:
            return f"{len(predictions[name])} {name}"
    if predictions.get("panoptic_seg") is not None:
        return f"{len(predictions['panoptic_seg'][1] or [])} segments"
    return "done"


def run_on_video(demo, capture, output: Path | None, *, live: bool) -> int:
    """Returns the number of broken frames. Without `output` the video is shown."""
    import media
    from tqdm import tqdm

    reader, writer, complete = media.VideoReader(capture), None, False
    try:
        for frame in tqdm(demo.run_on_video(reader), total=reader.expected or None, disable=None, unit="frame"):
            if output is None:
                if not media.show(frame, wait_ms=1):
                    break
                continue
            if writer is None:
                writer = media.VideoWriter(output, reader.fps, frame.shape[1::-1])
            writer.write(frame)
        complete = True
    except KeyboardInterrupt:
        if not live:
            raise
        complete = True  # the way to end a recording of the camera
    finally:
        capture.release()
        if writer is not None:
            writer.close(keep=complete)
    if output is not None and writer is None:
        raise BadValue("the video has no frame that can be read")
    if writer is not None:
        logger.info("written: %s", writer.path)
    if reader.broken:
        logger.error("%d broken frames were left out", reader.broken)
    return reader.broken


def video_output(args: argparse.Namespace) -> Path | None:
    """The file to write the video to: --output itself, or in that folder under the input's name."""
    import media

    if not args.output:
        return None
    if media.is_file_name(args.output, media.VIDEO_CODECS):
        path = Path(args.output)
    else:
        source = Path(args.video_input or "webcam.mp4")
        path = Path(args.output) / f"{source.stem}{source.suffix if source.suffix in media.VIDEO_CODECS else '.mp4'}"
    if args.video_input and os.path.realpath(path) == os.path.realpath(args.video_input):
        raise BadValue(f"--output {path} is the input itself; name another file or folder")
    return path


@exit_on_user_error
def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status: 1 where an image or frame could not be read."""
    args = parse_arguments(arguments)
    import media

    from det2lite.utils.logger import setup_logger

    setup_logger()
    if not args.output:
        media.require_display()
    cfg = config_of(args)
    if args.input:  # ask for what is missing before a model is built
        sources = media.find_images(args.input)
        outputs = media.output_paths(sources, args.output) if args.output else None
    else:
        output = video_output(args)
        capture = media.open_video(args.video_input or args.webcam)
    from predictor import VisualizationDemo

    demo = VisualizationDemo(cfg, confidence_threshold=args.confidence_threshold)
    if args.input:
        return int(run_on_images(demo, sources, outputs) > 0)
    return int(run_on_video(demo, capture, output, live=args.video_input is None) > 0)


if __name__ == "__main__":
    sys.exit(main())
