#!/usr/bin/env python
"""Trains a small Mask R-CNN on the embedded data set, evaluates it, and draws its predictions on held-out images.

    python tools/quick_start.py                       # a few minutes on 2 CPU cores
    python tools/quick_start.py --output-dir elsewhere SOLVER.MAX_ITER 200

What an earlier run left is used: an interrupted training goes on, a finished one is only evaluated.
"""

import argparse
import importlib.util
import logging
import os
import sys

if importlib.util.find_spec("det2lite") is None:  # a checkout that is not installed
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from det2lite.utils.errors import exit_on_user_error

CONFIG = "quick_start/mask_rcnn_shapes.yaml"
SCALE = 3  # of the pictures, whose images are small
MIN_SCORE = 0.7  # of the detections that are drawn


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output-dir", default="output/quick_start", help="default: %(default)s")
    parser.add_argument("--images", type=int, default=12, help="held-out images to draw (default: %(default)s)")
    parser.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="keys of the config to change")
    return parser.parse_args()


def train(cfg) -> dict:
    """Trains and evaluates; with final weights there already, evaluates alone. Returns the metrics."""
    from det2lite.engine import DefaultTrainer, evaluate_weights

    if os.path.isfile(cfg.MODEL.WEIGHTS):
        logging.getLogger("det2lite").info("%s is there: no training, evaluation only", cfg.MODEL.WEIGHTS)
        return evaluate_weights(cfg)
    weights = cfg.MODEL.WEIGHTS
    cfg.MODEL.WEIGHTS = ""
    trainer = DefaultTrainer(cfg)
    trainer.resume_or_load(resume=True)
    results = trainer.train()
    cfg.MODEL.WEIGHTS = weights
    return results


def draw_predictions(cfg, count: int) -> str:
    """Pictures of held-out images, ground truth at the left, prediction at the right. Returns their folder."""
    import cv2
    import numpy as np

    from det2lite.data import DatasetCatalog, MetadataCatalog
    from det2lite.engine import DefaultPredictor
    from det2lite.utils.visualizer import Visualizer

    folder = os.path.join(cfg.OUTPUT_DIR, "predictions")
    os.makedirs(folder, exist_ok=True)
    name = cfg.DATASETS.TEST[0]
    samples, metadata = DatasetCatalog.get(name)[:count], MetadataCatalog.get(name)
    images = [cv2.imread(sample["file_name"]) for sample in samples]
    for sample, image, output in zip(samples, images, DefaultPredictor(cfg)(images), strict=True):
        found = output["instances"].to("cpu")
        found = found[found.scores > MIN_SCORE]
        rgb = image[:, :, ::-1]
        truth = Visualizer(rgb, metadata, scale=SCALE).draw_dataset_dict(sample).get_image()
        drawn = Visualizer(rgb, metadata, scale=SCALE).draw_instance_predictions(found).get_image()
        both = np.concatenate([truth, drawn], axis=1)[:, :, ::-1]
        cv2.imwrite(os.path.join(folder, os.path.basename(sample["file_name"])), both)
    return folder


@exit_on_user_error
def main() -> None:
    args = parse_arguments()
    from det2lite import model_zoo
    from det2lite.engine import default_setup

    cfg = model_zoo.get_config(CONFIG)
    cfg.OUTPUT_DIR = args.output_dir
    cfg.merge_from_list(args.opts)
    cfg.MODEL.WEIGHTS = os.path.join(cfg.OUTPUT_DIR, "model_final.pth")
    default_setup(cfg, args)
    results = train(cfg)
    pictures = draw_predictions(cfg, args.images)
    output = cfg.OUTPUT_DIR
    print(
        f"""
Mask R-CNN on {cfg.DATASETS.TEST[0]}: box AP50 {results["bbox"]["AP50"]:.1f}, mask AP50 {results["segm"]["AP50"]:.1f}
  pictures     {pictures} (ground truth left, prediction right)
  tables, log  {output}/log.txt, {output}/metrics.json
  detections   {output}/inference/
  checkpoint   {cfg.MODEL.WEIGHTS}
  curves       tensorboard --logdir {output}
To train again, remove {output}."""
    )


if __name__ == "__main__":
    main()
