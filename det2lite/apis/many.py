"""Prediction on any number of images and videos: pictures, videos and a COCO file of what was found, and a summary."""

import logging
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

import numpy as np

from det2lite.apis.coco_file import CocoFile
from det2lite.apis.detector import Detector, Prediction
from det2lite.apis.drawing import VideoDrawer, draw_result
from det2lite.apis.tiling import Tiling
from det2lite.apis.video import VideoReader, VideoWriter
from det2lite.apis.window import show
from det2lite.utils.errors import BadValue

logger = logging.getLogger(__name__)


@dataclass
class Summary:
    """What has been done. `unreadable` are inputs, `seconds` those of predicting and writing."""

    images: int = 0
    frames: int = 0
    detections: Counter = field(default_factory=Counter)
    unreadable: list[str] = field(default_factory=list)
    broken_frames: int = 0
    written: list[Path] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def is_complete(self) -> bool:
        """Whether all that was asked for could be read."""
        return not self.unreadable and not self.broken_frames

    def __str__(self) -> str:
        seen = [_counted(self.images, "image")] if self.images or not self.frames else []
        seen += [_counted(self.frames, "frame")] if self.frames else []
        rate = (self.images + self.frames) / self.seconds if self.seconds else 0
        lines = [f"{' and '.join(seen)} in {self.seconds:.1f} s" + (f" ({rate:.2g} a second)" if rate else "")]
        count = sum(self.detections.values())
        by_class = ", ".join(f"{n} {name}" for name, n in self.detections.most_common(20))
        rest = ", ..." if len(self.detections) > 20 else ""
        lines.append(_counted(count, "detection") + (f": {by_class}{rest}" if count else ""))
        if self.unreadable:
            lines.append(f"{len(self.unreadable)} could not be read: {', '.join(self.unreadable)}")
        if self.broken_frames:
            lines.append(f"{_counted(self.broken_frames, 'broken frame')} left out")
        for folder, files in groupby(sorted(self.written), key=lambda path: path.parent):
            names = [path.name for path in files]
            what = f"{names[0]} ... {names[-1]} ({len(names)} files)" if len(names) > 4 else ", ".join(names)
            lines.append(f"written to {folder}: {what}")
        return "\n".join(lines)


class ManyPredictions:
    """Runs `detector` over images and videos; `summary` tells what came of it.

    tiling: cut images into tiles. coco: collects the detections. shown: open a window with each picture.
    """

    def __init__(
        self,
        detector: Detector,
        *,
        batch_size: int | None = None,
        tiling: Tiling | None = None,
        coco: CocoFile | None = None,
        shown: bool = False,
    ):
        self.detector = detector
        self.batch_size = batch_size
        self.tiling = tiling
        self.coco = coco
        self.shown = shown
        self.summary = Summary()

    def images(self, sources: Sequence[Path | str], pictures: Sequence[Path] | None = None) -> None:
        """Predicts on image files, and writes a picture of each to the path in `pictures`; broken ones are left out."""
        with self._timed():
            stream = self.detector.stream(sources, batch_size=self.batch_size, tiling=self.tiling)
            for found in _with_progress(stream, len(sources), "image"):
                name = str(found.source)
                if found.error is not None:
                    self.summary.unreadable.append(name)
                    logger.error("left out: %s", found.error)
                    continue
                self.summary.images += 1
                self._count(found, name)
                picture = draw_result(found.image, found.result) if pictures is not None or self.shown else None
                if pictures is not None:
                    picture.save(pictures[found.index])
                    self.summary.written.append(pictures[found.index])
                if self.shown and not show(np.ascontiguousarray(picture.get_image()[:, :, ::-1]), wait_ms=0):
                    break

    def video(self, reader: VideoReader, name: str, output: Path | None = None, *, live: bool = False) -> None:
        """Predicts on the frames of a video and writes a video to `output`, complete or not at all.

        live: an interruption (Ctrl-C) is the end of the recording, and frames are predicted on as they come.
        """
        drawer, writer, complete = VideoDrawer(self.detector.classes.metadata), None, False
        batch_size = 1 if live else self.batch_size
        try:
            with self._timed(), reader:
                stream = self.detector.stream(reader, batch_size=batch_size, workers=0, tiling=self.tiling)
                for found in _with_progress(stream, reader.expected or None, "frame"):
                    self.summary.frames += 1
                    self._count(found, f"{name}#{found.index:06d}", frame=found.index)
                    if output is None and not self.shown:
                        continue
                    picture = drawer.draw(found.image, found.result)
                    if output is not None:
                        writer = writer or VideoWriter(output, reader.fps, picture.shape[1::-1])
                        writer.write(picture)
                    if self.shown and not show(picture, wait_ms=1):
                        break
                else:
                    if live:
                        logger.warning("%s gives no more frames; was it disconnected?", name)
            complete = True
        except KeyboardInterrupt:
            if not live:
                raise
            complete = True
        finally:
            if writer is not None:
                writer.close(keep=complete)
        self._end_of_video(reader, name, writer)

    def _end_of_video(self, reader: VideoReader, name: str, writer: VideoWriter | None) -> None:
        if writer is not None:
            self.summary.written.append(writer.path)
        if reader.broken:
            self.summary.broken_frames += reader.broken
            logger.error("%s: %s left out", name, _counted(reader.broken, "broken frame"))
        if reader.decoded == 0:
            self.summary.unreadable.append(name)
            logger.error("left out: %s has no frame that can be read", name)

    def _count(self, found: Prediction, name: str, **more: int) -> None:
        result = found.result
        self.summary.detections.update(result.class_names)
        if self.coco is not None:
            if not result.finds_objects:
                raise BadValue("--json is for detections; this model only has a map of classes")
            self.coco.add(name, result, **more)

    @contextmanager
    def _timed(self) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.summary.seconds += time.perf_counter() - start


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _with_progress(items: Iterable[Prediction], total: int | None, unit: str) -> Iterator[Prediction]:
    """The items behind a progress bar, above which the log goes on."""
    from tqdm import tqdm
    from tqdm.contrib.logging import logging_redirect_tqdm

    with logging_redirect_tqdm([logging.getLogger("det2lite")]):
        yield from tqdm(items, total=total, disable=None, unit=unit)
