#!/usr/bin/env python
"""Can a model learn at all? Trains a config on a few images of a data set and evaluates it on the same ones.

    DETECTRON2_DATASETS=/data python benchmarks/overfit.py --images 8 --output-dir output/overfit
    python benchmarks/overfit.py --dataset shapes_train --images 8 SOLVER.MAX_ITER 300

A model whose parts are right knows the images by heart in the end: box AP50 far above 80.
"""

import argparse

from det2lite.utils.errors import exit_on_user_error


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config-file", default="configs/quick_start/faster_rcnn_R_18_FPN_gn_scratch.yaml")
    parser.add_argument("--dataset", default="coco_2017_train", help="a registered name (default: %(default)s)")
    parser.add_argument("--images", type=int, default=8, help="how many, from the first that have objects")
    parser.add_argument("--output-dir", default="output/overfit")
    parser.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="keys of the config to change")
    return parser.parse_args()


def register_part(dataset: str, count: int) -> str:
    """Registers the first `count` samples of a data set that have an object. Returns the new name."""
    from det2lite.data import DatasetCatalog, MetadataCatalog

    def load() -> list[dict]:
        samples = DatasetCatalog.get(dataset)
        return [s for s in samples if any(not a.get("iscrowd", 0) for a in s["annotations"])][:count]

    name = f"{dataset}_first_{count}"
    load()  # reading it is what tells the classes
    metadata = MetadataCatalog.get(dataset)
    DatasetCatalog.register(name, load)
    MetadataCatalog.get(name).set(thing_classes=metadata.thing_classes)
    return name


@exit_on_user_error
def main() -> None:
    args = parse_arguments()
    from det2lite.config import get_cfg
    from det2lite.engine import DefaultTrainer, default_setup

    cfg = get_cfg()
    cfg.merge_from_file(args.config_file)
    name = register_part(args.dataset, args.images)
    cfg.OUTPUT_DIR = args.output_dir
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = (name,), (name,)
    cfg.merge_from_list(args.opts)
    default_setup(cfg, args)
    trainer = DefaultTrainer(cfg)
    trainer.resume_or_load(resume=False)
    results = trainer.train()
    for task, values in results.items():
        print(f"{task} on the {args.images} images it was trained on: AP {values['AP']:.1f}, AP50 {values['AP50']:.1f}")


if __name__ == "__main__":
    main()
