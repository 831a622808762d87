"""A window on the screen, where there is one."""

import os
import subprocess
import sys

import cv2
import matplotlib
import numpy as np

from det2lite.utils.errors import UserError

WINDOW = "det2lite"
LARGEST = (1280, 800)  # width and height that a window opens with at most
_shown = {"size": None}  # of the picture before


class NoDisplay(UserError, RuntimeError):
    """A window cannot be opened."""


def require_display(remedy: str = "give --output DIR to write pictures instead") -> None:
    """Raise `NoDisplay`, whose message ends in `remedy`, where no window can be opened."""
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise NoDisplay(f"there is no display to open a window on; {remedy}")
    _give_fonts_to_qt()
    # tried in another process, because Qt ends the one in which it cannot reach the display
    script = f"import cv2; cv2.namedWindow({WINDOW!r})"
    tried = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    if tried.returncode:
        lines = tried.stderr.strip().splitlines() or ["no reason given"]
        raise NoDisplay(f"cannot open a window ({lines[0][:100]}); {remedy}")
    cv2.namedWindow(WINDOW, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL)


def _give_fonts_to_qt() -> None:
    """OpenCV's wheel names a folder of fonts that it does not have, of which Qt complains for each label."""
    if not os.path.isdir(os.environ.get("QT_QPA_FONTDIR", "")):
        os.environ["QT_QPA_FONTDIR"] = os.path.join(matplotlib.get_data_path(), "fonts", "ttf")


def window_size(height: int, width: int) -> tuple[int, int]:
    """Width and height of a window for a picture: its own, or as large as `LARGEST` allows in its shape."""
    scale = min(1.0, LARGEST[0] / width, LARGEST[1] / height)
    return max(1, round(scale * width)), max(1, round(scale * height))


def show(frame: np.ndarray, *, wait_ms: int) -> bool:
    """Show a BGR picture; 0 waits for a key. Returns False when q or Escape was pressed or the window closed."""
    if _shown["size"] != frame.shape[:2]:
        _shown["size"] = frame.shape[:2]
        cv2.resizeWindow(WINDOW, *window_size(*frame.shape[:2]))
    cv2.imshow(WINDOW, frame)
    key = cv2.waitKey(wait_ms) & 0xFF
    return key not in (27, ord("q")) and cv2.getWindowProperty(WINDOW, cv2.WND_PROP_VISIBLE) >= 1
