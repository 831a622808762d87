"""Videos: opening, reading with a count of broken frames, writing so that the file is whole or not there."""

import contextlib
import math
import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from det2lite.utils.errors import BadValue, MissingFile

# container and codec, tried in this order after what the name of the output asks for
VIDEO_CODECS = {".mp4": ("mp4v", "avc1"), ".mkv": ("mp4v", "XVID"), ".mov": ("mp4v",), ".avi": ("MJPG", "XVID")}
VIDEO_ENDINGS = (*VIDEO_CODECS, ".m4v", ".mpg", ".mpeg", ".webm", ".wmv", ".ts")
FAILURES_IN_A_ROW = 30  # frames; more of them are the end of a video


def open_video(source: str | os.PathLike | int) -> cv2.VideoCapture:
    """A video file or address, or the camera of this number. Raises a `UserError` where it cannot be opened."""
    source = source if isinstance(source, int) else os.fspath(source)
    if isinstance(source, str) and "://" not in source and not os.path.isfile(source):
        raise MissingFile(f"{source}: no such video file")
    with _quiet():  # several lines of OpenCV's are less than the one below
        capture = cv2.VideoCapture(source)
    is_camera = isinstance(source, int)
    if not capture.isOpened():
        name = f"camera {source}" if is_camera else source
        advice = "is it connected, and free?" if is_camera else "is the file whole, and its codec known to OpenCV?"
        raise BadValue(f"{name}: cannot be opened as video; {advice}")
    if is_camera:
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # a slow model then sees what is there now, not seconds ago
    return capture


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """OpenCV's own messages are not printed inside."""
    logging = cv2.utils.logging
    level = logging.getLogLevel()
    logging.setLogLevel(logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        logging.setLogLevel(level)


class VideoReader:
    """The frames of a video, (H, W, 3) BGR, one by one.

    source: a file, an address that OpenCV knows, the number of a camera, or an open capture. `decoded` and `broken`
    count the frames that could and could not be decoded; the file announces `expected` of them (0: not known), `fps` a
    second.
    """

    def __init__(self, source: str | os.PathLike | int | cv2.VideoCapture):
        if isinstance(source, (str, os.PathLike, int)):
            source = open_video(source)
        self.capture = source
        self.broken = self.decoded = 0
        self.expected = max(0, int(_number(source.get(cv2.CAP_PROP_FRAME_COUNT))))
        self.fps = _number(source.get(cv2.CAP_PROP_FPS)) or 25.0

    def __enter__(self) -> "VideoReader":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """Lets go of the file or camera."""
        self.capture.release()

    def __iter__(self) -> Iterator[np.ndarray]:
        self.decoded = failures = 0
        while failures < FAILURES_IN_A_ROW:
            good, frame = self.capture.read()
            if good:
                self.broken += failures
                failures = 0
                self.decoded += 1
                yield frame
            elif self.decoded + self.broken + failures >= self.expected:
                break
            else:
                failures += 1
        missing = self.expected - self.decoded - self.broken
        if missing > 1:  # many files announce one frame more than they have
            self.broken += missing


def _number(value: float) -> float:
    return value if math.isfinite(value) and 0 < value < 1e9 else 0.0


class VideoWriter:
    """Writes frames to a video with the first codec that works here; `path` is the file that was really made.

    The file gets its name when it is complete.
    """

    def __init__(self, path: Path, fps: float, size: tuple[int, int]):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadValue(f"cannot make the folder {path.parent}: {error.strerror}; choose another --output") from None
        self.size = size
        for ending, codec in _codecs(path.suffix.lower()):
            self.path = path.with_suffix(ending)
            self._part = self.path.with_name(f".{self.path.stem}.part{ending}")
            self._writer = cv2.VideoWriter(str(self._part), cv2.VideoWriter_fourcc(*codec), fps, size)
            if self._writer.isOpened():
                return
            self._part.unlink(missing_ok=True)
        raise BadValue(f"{path}: this OpenCV has no codec to write videos with; install opencv-python with FFmpeg")

    def write(self, frame: np.ndarray) -> None:
        """frame: (H, W, 3) BGR, brought to the video's size where it differs."""
        if frame.shape[1::-1] != self.size:
            frame = cv2.resize(frame, self.size)
        self._writer.write(frame)

    def close(self, keep: bool = True) -> None:
        self._writer.release()
        if keep:
            os.replace(self._part, self.path)
        else:
            self._part.unlink(missing_ok=True)


def _codecs(ending: str) -> list[tuple[str, str]]:
    wanted = [(ending, codec) for codec in VIDEO_CODECS.get(ending, ())]
    others = [(".mp4", "mp4v"), (".avi", "MJPG"), (".avi", "XVID")]
    return wanted + [pair for pair in others if pair not in wanted]
