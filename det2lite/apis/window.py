"""A window on the screen, where there is one."""

import os
import subprocess
import sys

import cv2
import numpy as np

from det2lite.utils.errors import UserError

WINDOW = "det2lite"


class NoDisplay(UserError, RuntimeError):
    """A window cannot be opened."""


def require_display(remedy: str = "give --output DIR to write pictures instead") -> None:
    """Raise `NoDisplay`, whose message ends in `remedy`, where no window can be opened."""
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
