"""The canvas that visualizers draw on: an image with matplotlib artists over it."""

import os
from functools import lru_cache
from pathlib import Path

import numpy as np

from det2lite.utils.errors import BadValue, UserError

DPI = 100
POINTS_PER_PIXEL = 72 / DPI
PIXEL_FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".bmp": "BMP", ".webp": "WEBP", ".tif": "TIFF",
                 ".tiff": "TIFF"}  # fmt: skip
VECTOR_FORMATS = (".pdf", ".svg", ".eps", ".ps")
WIDER_FONTS = ("Noto Sans CJK JP", "Noto Sans CJK SC", "WenQuanYi Zen Hei", "Hiragino Sans", "Microsoft YaHei")


class CannotWritePicture(UserError, OSError):
    """A file that cannot be written: no permission, no space, a file where a folder should be."""


def as_rgb_image(img: np.ndarray) -> np.ndarray:
    """`img`, (H, W, 3) RGB or (H, W) grey of any type with values 0..255, as (H, W, 3) uint8."""
    img = np.asarray(img)
    if img.ndim == 2:
        img = np.repeat(img[:, :, None], 3, axis=2)
    if img.ndim != 3 or img.shape[2] != 3 or 0 in img.shape:
        raise BadValue(f"an image to draw on has shape (H, W, 3) with at least one pixel, not {img.shape}")
    if img.dtype != np.uint8:
        img = np.nan_to_num(img).clip(0, 255).astype(np.uint8)
    return img


@lru_cache(maxsize=1)
def font_family() -> list[str]:
    """matplotlib's own font first, then fonts of this machine that know more scripts, where there are any."""
    from matplotlib import font_manager

    known = {font.name for font in font_manager.fontManager.ttflist}
    return ["DejaVu Sans", *(name for name in WIDER_FONTS if name in known)]


class VisImage:
    """An image of `scale` times the input's size with drawings over it.

    `ax` has the input's pixels as units, (0, 0) the upper left corner of the first pixel; further matplotlib
    artists may be added to it. `width` and `height` are the input's, `canvas_size` the result's (width, height).
    """

    def __init__(self, img: np.ndarray, scale: float = 1.0):
        if not 0 < scale < float("inf"):
            raise BadValue(f"scale of a drawing is a positive number, not {scale!r}")
        self.img = as_rgb_image(img)
        self.scale = scale
        self.height, self.width = self.img.shape[:2]
        # the small addend keeps 0.29 * 100 from becoming 28
        self.canvas_size = tuple(max(1, int(side * scale + 1e-2)) for side in (self.width, self.height))
        self._setup_figure()

    def _setup_figure(self) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self.dpi = DPI
        figure_size = [(side + 1e-2) / DPI for side in self.canvas_size]
        self.fig = Figure(figsize=figure_size, dpi=DPI, frameon=False)
        self.canvas = FigureCanvasAgg(self.fig)
        self.ax = self.fig.add_axes([0.0, 0.0, 1.0, 1.0])
        self.ax.axis("off")
        self._background = self.add_pixels(self._resized(self.img), zorder=0)

    def _resized(self, img: np.ndarray) -> np.ndarray:
        if img.shape[1::-1] == self.canvas_size:
            return img
        import cv2

        shrinks = self.canvas_size[0] < img.shape[1]
        return cv2.resize(img, self.canvas_size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)

    def add_pixels(self, pixels: np.ndarray, zorder: float = 1):
        """Lay pixels of the canvas' own size over what is drawn. pixels: (canvas H, canvas W, 3 or 4) uint8."""
        extent = (0, self.width, self.height, 0)
        artist = self.ax.imshow(pixels, extent=extent, interpolation="nearest", aspect="auto", zorder=zorder)
        self.ax.set_xlim(0, self.width)
        self.ax.set_ylim(self.height, 0)
        return artist

    def reset_image(self, img: np.ndarray) -> None:
        """Change the image under the drawings. img: (H, W, 3) RGB of the same size."""
        img = as_rgb_image(img)
        if img.shape != self.img.shape:
            raise BadValue(f"reset_image needs the size {self.img.shape[:2]} that was drawn on, not {img.shape[:2]}")
        self.img = img
        self._background.set_data(self._resized(img))

    def text_size(self, text: str, font_size: float) -> tuple[float, float]:
        """Width and height in canvas pixels of one line of text at `font_size` points."""
        from matplotlib.font_manager import FontProperties

        renderer = self.canvas.get_renderer()
        font = FontProperties(family=font_family(), size=font_size)
        width, height, descent = renderer.get_text_width_height_descent(text, font, ismath=False)
        _, line_height, line_descent = renderer.get_text_width_height_descent("lp", font, ismath=False)
        return width, max(height - descent, line_height - line_descent) + max(descent, line_descent)

    def get_image(self) -> np.ndarray:
        """The finished picture. Returns (H * scale, W * scale, 3) RGB uint8."""
        self.canvas.draw()
        return np.asarray(self.canvas.buffer_rgba())[:, :, :3].copy()

    def save(self, filepath: str | os.PathLike) -> None:
        """Write the picture to a file, whose ending says the format (png, jpg, webp, ... or pdf, svg)."""
        path = Path(filepath)
        suffix = path.suffix.lower()
        if suffix not in PIXEL_FORMATS and suffix not in VECTOR_FORMATS:
            known = " ".join([*PIXEL_FORMATS, *VECTOR_FORMATS])
            raise BadValue(f"{path}: no image format is called {path.suffix!r}; use one of {known}")
        from det2lite.utils.file_io import atomic_write

        try:
            with atomic_write(path, "wb") as file:
                if suffix in PIXEL_FORMATS:
                    from PIL import Image

                    Image.fromarray(self.get_image()).save(file, format=PIXEL_FORMATS[suffix], quality=95)
                else:
                    self.fig.savefig(file, format=suffix[1:], dpi=DPI)
        except OSError as error:
            reason = error.strerror or str(error)
            raise CannotWritePicture(f"cannot write {path}: {reason}; choose another folder or make room") from error
