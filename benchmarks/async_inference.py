#!/usr/bin/env python
"""What reading ahead gains: images one by one, as a list, and by coroutines that run at the same time.

    python benchmarks/async_inference.py                     # a small Mask R-CNN with the weights it begins with
    python benchmarks/async_inference.py --wait 0.1          # as if on a GPU, which leaves the processor alone
    python benchmarks/async_inference.py --weights output/model_final.pth --images 64 --size 4000 3000

The images are large JPEG files, whose decoding takes about as long as the small model does. Nothing can be gained where
one core does both: with a model on the CPU, OMP_NUM_THREADS=1 leaves the other cores to the decoding.
"""

import argparse
import asyncio
import tempfile
import threading
import time
from pathlib import Path

import cv2
import numpy as np

from det2lite import model_zoo
from det2lite.apis import Detector, async_inference_detector, inference_detector, init_detector
from det2lite.checkpoint import DetectionCheckpointer
from det2lite.modeling import build_model

CONFIG = "quick_start/mask_rcnn_shapes.yaml"


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", metavar="FILE", help="checkpoint that carries its config")
    parser.add_argument("--images", type=int, default=32, metavar="N", help="default: %(default)s")
    parser.add_argument(
        "--size", type=int, nargs=2, default=(3000, 2000), metavar=("W", "H"), help="pixels, %(default)s"
    )
    parser.add_argument("--batch-size", type=int, metavar="N")
    parser.add_argument("--device", metavar="NAME")
    parser.add_argument("--wait", type=float, metavar="SECONDS", help="an image, instead of the model: as if on a GPU")
    return parser.parse_args()


def make_detector(args: argparse.Namespace, folder: Path) -> Detector:
    if args.weights:
        return init_detector(checkpoint=args.weights, device=args.device)
    cfg = model_zoo.get_config(CONFIG)
    cfg.MODEL.DEVICE = args.device or "auto"
    checkpointer = DetectionCheckpointer(build_model(cfg), str(folder))
    checkpointer.attach_config(cfg)
    checkpointer.save("model")
    return init_detector(checkpoint=folder / "model.pth", device=args.device, score_threshold=0.5)


def make_images(folder: Path, count: int, size: tuple[int, int]) -> list[str]:
    """Photographs, as far as a decoder is concerned: soft, with some noise."""
    paths = []
    for number in range(count):
        generator = np.random.default_rng(number)
        soft = cv2.resize(generator.integers(0, 256, (30, 40, 3), dtype=np.uint8), size, interpolation=cv2.INTER_CUBIC)
        noise = generator.integers(0, 12, soft.shape, dtype=np.uint8)
        paths.append(str(folder / f"{number}.jpg"))
        cv2.imwrite(paths[-1], cv2.add(soft, noise))
    return paths


def let_wait(model: Detector, path: str, seconds: float) -> None:
    """Lets the model's answer, always the one for `path`, take so long an image, and no work of the processor."""
    (result,) = model.predict([model.prepare(0, path)])
    one_at_a_time = threading.Lock()

    def wait(batch: list) -> list:
        with one_at_a_time:
            time.sleep(seconds * len(batch))
        return [result] * len(batch)

    model.predict = wait


def main() -> None:
    args = parse_arguments()
    with tempfile.TemporaryDirectory() as name:
        model = make_detector(args, Path(name))
        paths = make_images(Path(name), args.images, tuple(args.size))
        if args.wait:
            let_wait(model, paths[0], args.wait)

        async def all_at_once():
            return await asyncio.gather(*(async_inference_detector(model, path) for path in paths))

        ways = {
            "one by one": lambda: [inference_detector(model, path) for path in paths],
            "coroutines, one image each": lambda: asyncio.run(all_at_once()),
            "a list": lambda: inference_detector(model, paths, batch_size=args.batch_size),
        }
        inference_detector(model, paths[:2])  # warms up
        first = None
        for way, run in ways.items():
            start = time.perf_counter()
            run()
            seconds = time.perf_counter() - start
            first = first or seconds
            print(f"{way:<28} {args.images / seconds:6.2f} images/s   {first / seconds:4.2f} x")


if __name__ == "__main__":
    main()
