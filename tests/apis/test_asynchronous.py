import asyncio
import itertools
import threading

import cv2
import numpy as np
import pytest

from det2lite.apis import async_inference_detector, inference_detector
from det2lite.utils.errors import BadValue, UserError


def noise(height, width, seed):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_results_are_those_of_the_plain_call(mask_rcnn):
    images = [noise(40, 60 + 20 * (seed % 2), seed) for seed in range(7)]
    expected = inference_detector(mask_rcnn, images)

    async def both():
        together = await async_inference_detector(mask_rcnn, images, batch_size=2)
        each = await asyncio.gather(*(async_inference_detector(mask_rcnn, image) for image in images))
        return together, each

    for results in asyncio.run(both()):
        for result, plain in zip(results, expected, strict=True):
            assert len(result) == len(plain) and np.allclose(result.boxes, plain.boxes, atol=1e-3)


def test_reading_goes_on_while_the_model_works(blobs, scene, tmp_path, monkeypatch):
    paths = []
    for number in range(6):
        paths.append(tmp_path / f"{number}.png")
        cv2.imwrite(str(paths[-1]), scene(8, 8, (0, 0, number + 1, 4, 1)))
    read = [threading.Event() for _ in paths]
    prepare, forward, calls = blobs.prepare, blobs.model.forward, itertools.count(1)

    def watched_prepare(index, source):
        read[index].set()
        return prepare(index, source)

    def patient_forward(batch):
        following = min(next(calls), len(read) - 1)
        assert read[following].wait(timeout=60)  # nobody would read it if the model were waited for
        return forward(batch)

    monkeypatch.setattr(blobs, "prepare", watched_prepare)
    monkeypatch.setattr(blobs.model, "forward", patient_forward)
    results = asyncio.run(async_inference_detector(blobs, paths, batch_size=1))
    assert [result.boxes[0, 2] for result in results] == [1, 2, 3, 4, 5, 6]


def test_the_event_loop_is_not_held_up(blobs, scene, monkeypatch):
    forward, turned = blobs.model.forward, threading.Event()

    def patient_forward(batch):
        assert turned.wait(timeout=60)
        return forward(batch)

    monkeypatch.setattr(blobs.model, "forward", patient_forward)

    async def turn_meanwhile():
        waiting = asyncio.ensure_future(async_inference_detector(blobs, scene(4, 4)))
        for _ in range(3):
            await asyncio.sleep(0.001)
        assert not waiting.done()
        turned.set()
        return await waiting

    asyncio.run(turn_meanwhile())


def test_mistakes_and_nothing(blobs, tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        asyncio.run(async_inference_detector(blobs, [tmp_path / "gone.png"]))
    with pytest.raises(BadValue, match="at least 1"):
        asyncio.run(async_inference_detector(blobs, [], batch_size=0))
    assert asyncio.run(async_inference_detector(blobs, [])) == []
