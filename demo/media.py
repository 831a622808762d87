"""Images, videos and windows of the demo: finding, reading, naming, writing, showing."""

import glob
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from det2lite.utils.errors import BadValue, MissingFile, UserError

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".gif")
WRITABLE_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
# container and codec, tried in this order after what the name of the output asks for
VIDEO_CODECS = {".mp4": ("mp4v", "avc1"), ".mkv": ("mp4v", "XVID"), ".mov": ("mp4v",), ".avi": ("MJPG", "XVID")}
FAILURES_IN_A_ROW = 30  # frames; more of them are the end of a video
WINDOW = "det2lite"


class NoDisplay(UserError, RuntimeError):
    """A window cannot be opened."""


def find_images(inputs: list[str]) -> list[Path]:
    """The image files that are meant by files, folders and patterns such as `photos/*.jpg`, in order."""
    found: list[Path] = []
    for text in inputs:
        path = Path(os.path.expanduser(text))
        if path.is_dir():
            files = sorted(p for p in path.iterdir() if p.suffix.lower() in IMAGE_ENDINGS and p.is_file())
            if not files:
                raise MissingFile(f"{path}: no images in this folder ({' '.join(IMAGE_ENDINGS)})")
            found += files
        elif not path.exists() and glob.has_magic(text):
            files = sorted(Path(name) for name in glob.glob(os.path.expanduser(text)) if os.path.isfile(name))
            if not files:
                raise MissingFile(f"no file matches the pattern {text!r}")
            found += files
        else:
            found.append(path)  # whether it can be read turns out in its turn
    return found


def output_paths(inputs: list[Path], output: str) -> list[Path]:
    """A path for each picture: `output` itself where it names a file, else files of the inputs' names in that folder.

    No two are the same, and none is one of the inputs: a name that is taken gets a number.
    """
    folder = Path(os.path.expanduser(output))
    if len(inputs) == 1 and is_file_name(output, WRITABLE_ENDINGS):
        if _key(folder) == _key(inputs[0]):
            raise BadValue(f"--output {output} is the input itself; name another file or a folder")
        return [folder]
    if folder.is_file() or is_file_name(output, WRITABLE_ENDINGS):
        raise BadValue(f"--output {output} is one file, but there are {len(inputs)} inputs; name a folder")
    taken = {_key(path) for path in inputs}
    paths = []
    for source in inputs:
        ending = source.suffix if source.suffix.lower() in WRITABLE_ENDINGS else ".jpg"
        path, number = folder / f"{source.stem}{ending}", 1
        while _key(path) in taken:
            number += 1
            path = folder / f"{source.stem}_{number}{ending}"
        taken.add(_key(path))
        paths.append(path)
    return paths


def is_file_name(output: str, endings: Any) -> bool:
    """Whether `output` names a file with one of these endings, rather than a folder."""
    return not output.endswith(("/", os.sep)) and not os.path.isdir(output) and Path(output).suffix.lower() in endings


def _key(path: Path) -> str:
    return os.path.realpath(path).lower()  # some file systems do not tell cases apart


def open_video(source: str | int) -> cv2.VideoCapture:
    """A video file, or the camera of this number."""
    if isinstance(source, str) and "://" not in source and not os.path.isfile(source):
        raise MissingFile(f"{source}: no such video file")
    capture = cv2.VideoCapture(source)
    if not capture.isOpened():
        name = f"camera {source}" if isinstance(source, int) else source
        raise BadValue(f"{name}: cannot be opened as video; is it connected, or is its codec known to OpenCV?")
    return capture


class VideoReader:
    """The frames of a video, (H, W, 3) BGR, one by one; `broken` counts those that could not be decoded."""

    def __init__(self, capture: cv2.VideoCapture):
        self.capture = capture
        self.broken = 0
        self.expected = max(0, int(_number(capture.get(cv2.CAP_PROP_FRAME_COUNT))))  # 0: not known
        self.fps = _number(capture.get(cv2.CAP_PROP_FPS)) or 25.0

    def __iter__(self) -> Iterator[np.ndarray]:
        decoded = failures = 0
        while failures < FAILURES_IN_A_ROW:
            good, frame = self.capture.read()
            if good:
                self.broken += failures
                failures = 0
                decoded += 1
                yield frame
            elif decoded + self.broken + failures >= self.expected:
                break
            else:
                failures += 1
        missing = self.expected - decoded - self.broken
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


def require_display() -> None:
    """Raise `NoDisplay` where no window can be opened."""
    remedy = "give --output DIR to write pictures instead"
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise NoDisplay(f"there is no display to open a window on; {remedy}")
    # tried in another process, because Qt ends the one in which it cannot reach the display
    script = f"import cv2; cv2.namedWindow({WINDOW!r})"
    tried = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    if tried.returncode:
        lines = tried.stderr.strip().splitlines() or ["no reason given"]
        raise NoDisplay(f"cannot open a window ({lines[0][:100]}); {remedy}")
    cv2.namedWindow(WINDOW, cv2.WINDOW_NORMAL)


def show(frame: np.ndarray, *, wait_ms: int) -> bool:
    """Show a BGR picture; 0 waits for a key. Returns False when q or Escape was pressed or the window closed."""
    cv2.imshow(WINDOW, frame)
    key = cv2.waitKey(wait_ms) & 0xFF
    return key not in (27, ord("q")) and cv2.getWindowProperty(WINDOW, cv2.WND_PROP_VISIBLE) >= 1
