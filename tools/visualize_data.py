#!/usr/bin/env python
"""Draws the ground truth of DATASETS.TRAIN: as annotated, or as the data loader gives it to the model."""

import argparse
import importlib.util
import os
import sys
from itertools import chain, islice

if importlib.util.find_spec("det2lite") is None:  # a checkout that is not installed
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from det2lite.utils.errors import BadValue, exit_on_user_error

EXAMPLE = """example:

  $ {tool} --config-file configs/COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml --source annotation \\
      --output-dir pictures -n 50 DATASETS.TRAIN "('coco_2017_val',)"
"""


def parse_arguments(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=EXAMPLE.format(tool=os.path.basename(sys.argv[0])),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--source", choices=["annotation", "dataloader"], required=True, help="annotated, or augmented for training"
    )
    parser.add_argument("--config-file", default="", metavar="FILE", help="config file (YAML)")
    parser.add_argument("--output-dir", default="./", metavar="DIR", help="where the pictures go (default: here)")
    parser.add_argument("--show", action="store_true", help="show them in a window instead")
    parser.add_argument("--scale", type=float, default=1.0, help="size of the pictures (default: 1.0)")
    parser.add_argument(
        "-n", "--num-images", type=int, metavar="N", help="how many (default: all annotated, 100 of the data loader)"
    )
    parser.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="changes of the config")
    return parser.parse_args(arguments)


def annotated(cfg, scale):
    """Yields (name, picture) of every annotated image."""
    from det2lite.data import DatasetCatalog, MetadataCatalog
    from det2lite.data.detection_utils import read_image
    from det2lite.utils.visualizer import Visualizer

    for name in cfg.DATASETS.TRAIN:
        metadata = MetadataCatalog.get(name)
        for sample in DatasetCatalog.get(name):
            image = read_image(sample["file_name"], "RGB")
            picture = Visualizer(image, metadata=metadata, scale=scale).draw_dataset_dict(sample)
            yield os.path.splitext(os.path.basename(sample["file_name"]))[0], picture


def loaded(cfg, scale):
    """Yields (name, picture) of training images without end."""
    from det2lite.data import MetadataCatalog, build_detection_train_loader
    from det2lite.data.detection_utils import convert_image_to_rgb
    from det2lite.utils.visualizer import Visualizer

    metadata = MetadataCatalog.get(cfg.DATASETS.TRAIN[0])
    names = metadata.get("thing_classes")
    for sample in chain.from_iterable(build_detection_train_loader(cfg)):
        image = convert_image_to_rgb(sample["image"].permute(1, 2, 0), cfg.INPUT.FORMAT)  # (H, W, 3)
        visualizer = Visualizer(image, metadata=metadata, scale=scale)
        if "instances" in sample:
            fields = sample["instances"].get_fields()
            classes = fields["gt_classes"].tolist()
            visualizer.overlay_instances(
                labels=[names[c] if names else str(c) for c in classes],
                boxes=fields.get("gt_boxes"),
                masks=fields.get("gt_masks"),
                keypoints=fields.get("gt_keypoints"),
            )
        if "sem_seg" in sample:
            visualizer.draw_sem_seg(sample["sem_seg"], area_threshold=0, alpha=0.5)
        name = sample.get("image_id", os.path.splitext(os.path.basename(sample["file_name"]))[0])
        yield str(name), visualizer.get_output()


def free_path(folder, name, taken):
    """A file for the picture of `name`; one image may come several times, and two folders may share names."""
    name = name.replace(os.sep, "_")
    count = taken[name] = taken.get(name, 0) + 1
    return os.path.join(folder, f"{name}.jpg" if count == 1 else f"{name}_{count}.jpg")


def show(picture):
    """Returns False when q or Escape was pressed."""
    import cv2

    try:
        cv2.imshow("det2lite", picture.get_image()[:, :, ::-1])
        return cv2.waitKey() & 0xFF not in (27, ord("q"))
    except cv2.error:
        raise BadValue("this OpenCV cannot open windows; leave out --show and give --output-dir") from None


@exit_on_user_error
def main(arguments=None):
    args = parse_arguments(arguments)
    from tqdm import tqdm

    from det2lite.engine import config_from_arguments

    cfg = config_from_arguments(args)
    if not cfg.DATASETS.TRAIN:
        raise BadValue("DATASETS.TRAIN is empty: name a data set, DATASETS.TRAIN \"('name',)\"")
    if args.show and sys.platform.startswith("linux") and not {"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys():
        raise BadValue("there is no display to open a window on; leave out --show and give --output-dir")
    count = args.num_images or (100 if args.source == "dataloader" else None)
    pictures = annotated(cfg, args.scale) if args.source == "annotation" else loaded(cfg, args.scale)
    taken = {}
    for name, picture in tqdm(islice(pictures, count), total=count, disable=None, unit="image"):
        if not args.show:
            picture.save(free_path(args.output_dir, name, taken))
        elif not show(picture):
            break
    if not args.show:
        print(f"{sum(taken.values())} pictures in {args.output_dir}")


if __name__ == "__main__":
    main()
