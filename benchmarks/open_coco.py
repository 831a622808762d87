#!/usr/bin/env python
"""Opening a COCO file of the size of train2017 for training: time, memory, and memory with worker processes.

    python -m benchmarks.open_coco --vs reference
    python -m benchmarks.open_coco --images 5000 --annotations 36000 --vs reference

"first" opens the file as a package does that has never seen it, "again" as one that has. The reference is the way that
Detectron2 documents: pycocotools' COCO, a list of dicts, images without objects left out, instances counted, each dict
pickled into one buffer that worker processes share.
"""

import contextlib
import io
import os
import pickle
import tempfile
from collections.abc import Callable

from benchmarks.coco_file import TRAIN_ANNOTATIONS, TRAIN_IMAGES, make_coco_file
from benchmarks.common import by_turns_fresh, fresh, make_parser, part, proportional_memory, report


def parse_arguments():
    parser = make_parser(__doc__, vs=["reference"], rounds=3)
    parser.add_argument("--file", help="a file that is there (default: one is made in the temporary folder)")
    parser.add_argument("--images", type=int, default=TRAIN_IMAGES)
    parser.add_argument("--annotations", type=int, default=TRAIN_ANNOTATIONS)
    parser.add_argument("--workers", type=int, default=4, help="processes whose memory is measured (default: 4)")
    return parser.parse_args()


def open_reference(json_file: str) -> Callable[[], int]:
    """Prepares the way that Detectron2 documents."""
    import numpy as np
    import torch  # noqa: F401 - part of the memory of every training
    from pycocotools.coco import COCO

    def job():
        with contextlib.redirect_stdout(io.StringIO()):
            coco = COCO(json_file)
        samples = reference_samples(coco)
        samples = [s for s in samples if any(a.get("iscrowd", 0) == 0 for a in s["annotations"])]
        counts = np.zeros(len(coco.cats), dtype=int)
        for sample in samples:
            classes = [a["category_id"] for a in sample["annotations"] if not a["iscrowd"]]
            counts += np.histogram(classes, bins=np.arange(len(counts) + 1))[0]
        buffers = [np.frombuffer(pickle.dumps(sample, protocol=-1), dtype=np.uint8) for sample in samples]
        reference_samples.kept = np.concatenate(buffers)
        return len(samples)

    return job


def reference_samples(coco) -> list[dict]:
    """Detectron2's standard dicts of an open file."""
    index_of = {category: index for index, category in enumerate(sorted(coco.getCatIds()))}
    samples = []
    for image_id in sorted(coco.imgs):
        image, objects = coco.imgs[image_id], []
        for annotation in coco.imgToAnns[image_id]:
            instance = {k: annotation[k] for k in ("iscrowd", "bbox", "category_id")}
            segmentation = annotation["segmentation"]
            if isinstance(segmentation, list):
                segmentation = [p for p in segmentation if len(p) % 2 == 0 and len(p) >= 6]
            instance.update(segmentation=segmentation, bbox_mode=1, category_id=index_of[annotation["category_id"]])
            objects.append(instance)
        sample = {"file_name": image["file_name"], "height": image["height"], "width": image["width"]}
        samples.append(sample | {"image_id": image_id, "annotations": objects})
    return samples


def open_by_package(package: str, json_file: str) -> Callable[[], int]:
    """Prepares what a package does from a name to a data set that workers read."""
    coco, build, common = (part(package, f"data.{name}") for name in ("datasets.coco", "build", "common"))
    coco.register_coco_instances("opened", {}, json_file, "/images")

    def job():
        samples = build.get_detection_dataset_dicts(["opened"], filter_empty=True)
        open_by_package.kept = common.DatasetFromList(samples, copy=False)
        return len(open_by_package.kept)

    return job


def memory_with_workers(package: str, json_file: str, workers: int) -> Callable[[], float]:
    """Prepares loading the whole data set once; the job returns the MiB of this process and its workers."""
    import psutil
    import torch

    open_by_package(package, json_file)()
    loader = torch.utils.data.DataLoader(
        open_by_package.kept, batch_size=64, num_workers=workers, collate_fn=len,
        multiprocessing_context="fork" if workers else None,  # as where a training is started
    )  # fmt: skip

    def job():
        most = 0.0
        for number, _ in enumerate(loader):
            if number % 500 == 499 or number == len(loader) - 1 - 2 * workers:
                processes = [os.getpid(), *(child.pid for child in psutil.Process().children())]
                most = max(most, proportional_memory(processes))
        return most

    return job


def main():
    args = parse_arguments()
    folder = tempfile.gettempdir()
    json_file = args.file or os.path.join(folder, f"coco_{args.images}_{args.annotations}.json")
    make_coco_file(json_file, args.images, args.annotations)
    title = f"opening {os.path.basename(json_file)}, {os.path.getsize(json_file) / 1e6:.0f} MB"
    reference = {"reference": (open_reference, json_file)} if args.vs else {}
    # keeps the page cache of every file warm: all candidates read from memory
    with open(json_file, "rb") as file:
        while file.read(1 << 24):
            pass
    with tempfile.TemporaryDirectory() as cache:
        os.environ["DET2LITE_CACHE"] = cache
        unknown = {f"{args.package}, first": (open_unknown, args.package, json_file, cache)}
        first = by_turns_fresh(unknown | reference, args.rounds)
        fresh(open_by_package, args.package, json_file)
        again = by_turns_fresh({f"{args.package}, again": (open_by_package, args.package, json_file)}, args.rounds)
        report(title, again | first, args.output)
        memory = {n: fresh(memory_with_workers, args.package, json_file, n)[2] for n in (0, args.workers)}
    print(f"\nwhole data set read: {memory[0]:.0f} MiB in one process, {memory[args.workers]:.0f} MiB with "
          f"{args.workers} workers, {memory[args.workers] / memory[0]:.2f} times")  # fmt: skip


def open_unknown(package: str, json_file: str, cache: str) -> Callable[[], int]:
    """As `open_by_package`, for a package that has nothing in its cache."""
    for entry in os.scandir(cache):
        os.unlink(entry)
    return open_by_package(package, json_file)


if __name__ == "__main__":
    main()
