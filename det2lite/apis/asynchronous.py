"""Prediction that a coroutine can wait for, while images are decoded and other work goes on."""

import asyncio
import contextlib
import os
from collections import deque
from collections.abc import AsyncIterator, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

from det2lite.apis.batching import Batcher, Prepared
from det2lite.apis.detector import READERS, Detector, checked_batch_size
from det2lite.apis.inputs import Source, as_list
from det2lite.apis.result import DetectionResult


async def async_inference_detector(
    model: Detector, images: Source | Iterable[Source], *, batch_size: int | None = None
) -> DetectionResult | list[DetectionResult]:
    """As `inference_detector`, without holding up the event loop.

    Images are read and decoded in threads while the model works on those before them, within a call and between calls
    that run at the same time; these take turns at the model.
    """
    sources, alone = as_list(images)
    batch_size = checked_batch_size(model, batch_size)
    loop = asyncio.get_running_loop()
    results: list[DetectionResult | None] = [None] * len(sources)
    running: asyncio.Future | None = None
    batch: list[Prepared] = []
    try:
        async for following in _batches(model, sources, batch_size):
            if running is not None:
                _store(results, batch, await running)
            batch, running = following, loop.run_in_executor(_pool("predict", 1), model.predict, following)
        if running is not None:
            _store(results, batch, await running)
    finally:
        if running is not None and not running.done():
            running.cancel()
    return results[0] if alone else results


async def _batches(model: Detector, sources: Iterable[Source], batch_size: int) -> AsyncIterator[list[Prepared]]:
    """Batches of one group each; reading is up to two batches ahead."""
    batcher, ahead = Batcher(batch_size), 2 * batch_size
    async for image in _prepared(model, sources, ahead):
        if image.error is not None:
            raise image.error
        for batch in batcher.add(image):
            yield batch
    for batch in batcher.flush():
        yield batch


async def _prepared(model: Detector, sources: Iterable[Source], ahead: int) -> AsyncIterator[Prepared]:
    loop, reading = asyncio.get_running_loop(), deque()
    try:
        for index, source in enumerate(sources):
            reading.append(loop.run_in_executor(_pool("read", READERS), model.prepare, index, source))
            if len(reading) > ahead:
                yield await reading.popleft()
        while reading:
            yield await reading.popleft()
    finally:
        for future in reading:
            future.cancel()


def _store(results: list, batch: list[Prepared], found: list[DetectionResult]) -> None:
    for image, result in zip(batch, found, strict=True):
        results[image.index] = result


@cache
def _pool(kind: str, workers: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(workers, thread_name_prefix=f"det2lite-{kind}")


def _forget_pools() -> None:
    _pool.cache_clear()


with contextlib.suppress(AttributeError):  # a forked process has none of its parent's threads
    os.register_at_fork(after_in_child=_forget_pools)
