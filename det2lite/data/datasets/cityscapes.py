"""Cityscapes (arXiv 1604.01685): street scenes with polygons and label maps of every object and surface.

Loading needs nothing but the published files. `python -m det2lite.data.datasets.cityscapes` draws what is loaded.
"""

import argparse
import functools
import json
import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from det2lite.data.datasets.cityscapes_files import (
    CityscapesFiles,
    cityscapes_files,
    read_annotation,
    require_train_ids,
    train_id_map,
)
from det2lite.data.image_io import read_image
from det2lite.structures import BoxMode
from det2lite.utils.comm import get_world_size
from det2lite.utils.errors import BadValue
from det2lite.utils.logger import setup_logger

logger = logging.getLogger(__name__)

__all__ = ["BoxMode", "load_cityscapes_instances", "load_cityscapes_semantic"]


def load_cityscapes_instances(
    image_dir: str | os.PathLike, gt_dir: str | os.PathLike, from_json: bool = True, to_polygons: bool = True
) -> list[dict]:
    """Images and things of one split in the standard format; groups of things are crowds.

    image_dir, gt_dir: folders such as `leftImg8bit/train` and `gtFine/train`. from_json: read polygons, from which
    those painted later are cut out, rather than maps of instance ids. to_polygons: masks as polygons, else run-length
    codes, which only maps give.
    """
    if from_json and not to_polygons:
        raise BadValue("Cityscapes: polygons from JSON stay polygons; give from_json=False for run-length masks")
    files = cityscapes_files(image_dir, gt_dir)
    from det2lite.data.datasets.cityscapes_masks import instances_of_map, instances_of_polygons

    read = instances_of_polygons if from_json else functools.partial(instances_of_map, to_polygons=to_polygons)
    samples = _in_threads(read, files)
    logger.info("loaded %d images from %s", len(samples), os.fspath(image_dir))
    return samples


def load_cityscapes_semantic(image_dir: str | os.PathLike, gt_dir: str | os.PathLike) -> list[dict]:
    """Images and semantic maps of one split in the standard format.

    The maps are `*_labelTrainIds.png`, which `createTrainIdLabelImgs.py` of cityscapesScripts makes.
    """
    samples = []
    for files in cityscapes_files(image_dir, gt_dir):
        content = read_annotation(files.polygons)
        samples.append(
            {
                "file_name": files.image,
                "sem_seg_file_name": train_id_map(files.labels),
                "height": content["imgHeight"],
                "width": content["imgWidth"],
            }
        )
    require_train_ids(samples[0]["sem_seg_file_name"])
    return samples


def _in_threads(read: Callable[[CityscapesFiles], dict], files: list[CityscapesFiles]) -> list[dict]:
    """Decoding images and cutting polygons leave the interpreter free, so threads do."""
    workers = max((os.cpu_count() or 1) // get_world_size(), 1)
    with ThreadPoolExecutor(min(workers, 16)) as pool:
        return list(pool.map(read, files))


def main() -> None:
    """Draws the things, or the semantic maps, of a split into a folder."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("image_dir", help="such as datasets/cityscapes/leftImg8bit/val")
    parser.add_argument("gt_dir", help="such as datasets/cityscapes/gtFine/val")
    parser.add_argument("--type", choices=["instance", "semantic"], default="instance")
    parser.add_argument("--output-dir", default="cityscapes-data-vis", help="default: %(default)s")
    args = parser.parse_args()
    from tqdm import tqdm

    from det2lite.data.catalog import Metadata
    from det2lite.data.datasets.builtin_meta import _get_builtin_metadata
    from det2lite.utils.visualizer import Visualizer

    setup_logger()
    load = load_cityscapes_instances if args.type == "instance" else load_cityscapes_semantic
    samples = load(args.image_dir, args.gt_dir)
    logger.info("the first sample is %s ...", json.dumps(samples[0], default=str)[:1000])
    metadata = Metadata(**_get_builtin_metadata("cityscapes"))
    os.makedirs(args.output_dir, exist_ok=True)
    for sample in tqdm(samples, disable=None, unit="image"):
        picture = Visualizer(read_image(sample["file_name"], "RGB"), metadata=metadata).draw_dataset_dict(sample)
        picture.save(os.path.join(args.output_dir, os.path.basename(sample["file_name"])))


if __name__ == "__main__":
    main()
