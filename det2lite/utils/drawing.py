"""Drawing primitives over an image: text, boxes, lines, circles, polygons and masks."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from det2lite.utils.colormap import lighten, luminance, palette_color
from det2lite.utils.vis_image import POINTS_PER_PIXEL, VisImage
from det2lite.utils.vis_inputs import as_array
from det2lite.utils.vis_labels import LabelPlacer
from det2lite.utils.vis_mask import GenericMask, MaskLayer, label_point

TEXT_PADDING = 0.25  # of the font size, on each side of a label
PLATE = f"round,pad={TEXT_PADDING},rounding_size=0.2"
SMALLEST_FONT = 9  # canvas pixels
CASING_ALPHA = 0.45  # a dark rim keeps bright lines visible on bright ground
LAYER_MASK, LAYER_LINE, LAYER_POINT, LAYER_TEXT = 1, 2, 3, 4  # drawn in this order, whatever the order of calls


def to_rgb(color: Any) -> tuple[float, float, float]:
    """Any colour that matplotlib knows, as RGB in [0, 1]."""
    import matplotlib.colors

    if hasattr(color, "tolist"):
        color = color.tolist()
    return matplotlib.colors.to_rgb(color)


class Drawing:
    """What is drawn on one image. Coordinates are pixels of the image, whatever its scale; every call returns `output`.

    img_rgb: (H, W, 3) RGB, values 0..255. `scale` enlarges the canvas, `font_size_scale` the text.
    """

    def __init__(self, img_rgb: np.ndarray, scale: float = 1.0, font_size_scale: float = 1.0):
        self.output = VisImage(img_rgb, scale=scale)
        self.img = self.output.img
        size = float(np.sqrt(np.prod(self.output.canvas_size)))  # canvas pixels
        self._line_width = max(size / 350, 1.0) * POINTS_PER_PIXEL
        self._default_font_size = max(size / 48, SMALLEST_FONT) * POINTS_PER_PIXEL * font_size_scale
        # canvas pixels per image pixel, (2,)
        self._stretch = np.divide(self.output.canvas_size, (self.output.width, self.output.height))

    def limit_sizes(self, side: float) -> None:
        """Makes lines and text no larger than suits objects of this side, in pixels of the image.

        They grow with the picture, and would cover what is small on a large one.
        """
        side *= float(self._stretch.mean())
        self._line_width = min(self._line_width, max(side / 25, 1.0) * POINTS_PER_PIXEL)
        self._default_font_size = min(self._default_font_size, max(side / 4, SMALLEST_FONT) * POINTS_PER_PIXEL)

    def get_output(self) -> VisImage:
        """The picture with everything that was drawn so far."""
        return self.output

    def draw_text(
        self,
        text: str,
        position: tuple[float, float],
        *,
        font_size: float | None = None,
        color: Any = "g",
        horizontal_alignment: str = "center",
        rotation: float = 0,
    ) -> VisImage:
        """Text on a dark plate, its top at `position` (x, y). `font_size` in points, `rotation` in degrees."""
        ink = to_rgb(color)
        ink = lighten(ink, max(0.0, 0.6 - luminance(ink)))
        self._put_text(text, position, ink=ink, plate="black", font_size=font_size, rotation=rotation,
                       horizontalalignment=horizontal_alignment, verticalalignment="top")  # fmt: skip
        return self.output

    def _put_text(self, text: str, position: Sequence[float], *, ink: Any, plate: Any, font_size: float | None = None,
                  rotation: float = 0, **alignment: str) -> None:  # fmt: skip
        from det2lite.utils.vis_image import font_family

        self.output.ax.text(
            *position,
            text,
            size=font_size or self._default_font_size,
            family=font_family(),
            color=ink,
            rotation=rotation,
            rotation_mode="default",
            parse_math=False,  # a class called "$5 note" is no formula
            clip_on=True,
            zorder=LAYER_TEXT,
            bbox={"boxstyle": PLATE, "facecolor": plate, "alpha": 0.8, "linewidth": 0},
            **alignment,
        )

    def draw_box(self, box_coord: Any, alpha: float = 0.5, edge_color: Any = "g", line_style: str = "-") -> VisImage:
        """The outline of a box (4,) XYXY."""
        x0, y0, x1, y1 = (float(v) for v in as_array(box_coord).reshape(-1))
        corners = np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])
        return self._draw_outline(corners, edge_color, alpha=alpha, line_style=line_style)

    def draw_rotated_box_with_label(
        self,
        rotated_box: Any,
        alpha: float = 0.5,
        edge_color: Any = "g",
        line_style: str = "-",
        label: str | None = None,
    ) -> VisImage:
        """A rotated box (5,): centre x, y, width, height, degrees counter-clockwise. Its upper edge is the stronger."""
        corners = rotated_corners(rotated_box)
        self._draw_outline(corners, edge_color, alpha=alpha, line_style=line_style)
        top = corners[:2]
        self.draw_line(top[:, 0], top[:, 1], edge_color, line_style, linewidth=1.8 * self._line_width)
        if label:
            self._put_label(label, rotated_bounds(corners), to_rgb(edge_color), LabelPlacer(*self.output.canvas_size))
        return self.output

    def _draw_outline(self, points: np.ndarray, color: Any, *, alpha: float, line_style: str = "-",
                      width: float | None = None) -> VisImage:  # fmt: skip
        from matplotlib import patheffects
        from matplotlib.patches import Polygon

        width = width or self._line_width
        rim = width + 1.5 * POINTS_PER_PIXEL
        casing = patheffects.Stroke(linewidth=rim, foreground="black", alpha=CASING_ALPHA * alpha)
        outline = Polygon(points, closed=True, fill=False, edgecolor=to_rgb(color), alpha=alpha, linewidth=width,
                          linestyle=line_style, joinstyle="miter", zorder=LAYER_LINE)  # fmt: skip
        if line_style in ("-", "solid"):
            outline.set_path_effects([casing, patheffects.Normal()])
        self.output.ax.add_artist(outline)
        return self.output

    def draw_circle(self, circle_coord: Any, color: Any, radius: float = 3) -> VisImage:
        """A filled disc. circle_coord: centre (x, y); `radius` in pixels of the image."""
        from matplotlib.patches import Circle

        x, y = (float(v) for v in as_array(circle_coord).reshape(-1)[:2])
        disc = Circle((x, y), radius=radius, facecolor=to_rgb(color), edgecolor=(0, 0, 0, CASING_ALPHA),
                      linewidth=0.25 * self._line_width, zorder=LAYER_POINT)  # fmt: skip
        self.output.ax.add_artist(disc)
        return self.output

    def draw_line(
        self, x_data: Any, y_data: Any, color: Any, linestyle: str = "-", linewidth: float | None = None
    ) -> VisImage:
        """A line through points. x_data, y_data: (K,) each; `linewidth` in points."""
        from matplotlib.lines import Line2D

        line = Line2D(as_array(x_data), as_array(y_data), linewidth=linewidth or self._line_width, color=to_rgb(color),
                      linestyle=linestyle, solid_capstyle="round", zorder=LAYER_LINE)  # fmt: skip
        self.output.ax.add_artist(line)
        return self.output

    def draw_polygon(self, segment: Any, color: Any, edge_color: Any = None, alpha: float = 0.5) -> VisImage:
        """A filled polygon. segment: (K, 2) or (2K,) XY. The edge is a darker shade of `color` by default."""
        from matplotlib.patches import Polygon

        points = as_array(segment).reshape(-1, 2)
        if len(points) < 2:
            return self.output
        color = to_rgb(color)
        edge = lighten(color, -0.3) if edge_color is None else to_rgb(edge_color)
        self.output.ax.add_artist(Polygon(points, closed=True, facecolor=(*color, alpha), edgecolor=(*edge, 1.0),
                                         linewidth=0.6 * self._line_width, zorder=LAYER_MASK))  # fmt: skip
        return self.output

    def draw_binary_mask(
        self,
        binary_mask: Any,
        color: Any = None,
        *,
        edge_color: Any = None,
        text: str | None = None,
        alpha: float = 0.5,
        area_threshold: float | None = 10,
    ) -> VisImage:
        """A mask (H, W) blended over the image, pixel by pixel, with a line round it where `edge_color` is given.

        Nothing is drawn of a mask with fewer pixels than `area_threshold`.
        """
        mask = GenericMask(as_array(binary_mask), self.output.height, self.output.width)
        if mask.area() < max(area_threshold or 0, 1):
            return self.output
        color = palette_color(0) if color is None else to_rgb(color)
        layer = MaskLayer(self.output.canvas_size)
        layer.paint(mask.on_canvas(*self.output.canvas_size), color, alpha)
        self.output.add_pixels(layer.pixels(), zorder=LAYER_MASK)
        if edge_color is not None:
            for ring in mask.outlines():
                self._draw_outline(ring, edge_color, alpha=0.8, width=0.6 * self._line_width)
        if text:
            self._put_label_in_mask(text, mask, color)
        return self.output

    def draw_soft_mask(
        self, soft_mask: Any, color: Any = None, *, text: str | None = None, alpha: float = 0.5
    ) -> VisImage:
        """A mask of shares in [0, 1], (H, W), blended over the image."""
        import cv2

        shares = np.nan_to_num(as_array(soft_mask)).astype(np.float32).clip(0, 1)
        mask = GenericMask(shares > 0.5, self.output.height, self.output.width)
        color = palette_color(0) if color is None else to_rgb(color)
        layer = MaskLayer(self.output.canvas_size)
        layer.paint(cv2.resize(shares, self.output.canvas_size, interpolation=cv2.INTER_LINEAR), color, alpha)
        self.output.add_pixels(layer.pixels(), zorder=LAYER_MASK)
        if text:
            self._put_label_in_mask(text, mask, color)
        return self.output

    def _put_label_in_mask(self, text: str, mask: GenericMask, color: tuple[float, ...],
                           placer: LabelPlacer | None = None) -> None:  # fmt: skip
        """A label deep inside the mask where it has room, else beside it."""
        point = label_point(mask.mask)
        if point is None:
            return
        placer = placer or LabelPlacer(*self.output.canvas_size)
        self._put_label(text, mask.bbox(), color, placer, point)

    def _put_label(self, text: str, target: np.ndarray, color: tuple[float, ...], placer: LabelPlacer,
                   point: tuple[float, float] | None = None) -> None:  # fmt: skip
        """A label in the object's colour at a place that `placer` chooses. target: (4,) XYXY."""
        text, size = self._fitted_label(text)
        if not text:
            return
        if point is not None:
            point = tuple(point * self._stretch)
        place = placer.place(size, target * np.tile(self._stretch, 2), point)
        center = (place.box[:2] + place.box[2:]) / 2 / self._stretch
        if place.leader is not None:
            ends = np.stack([center, np.divide(place.leader, self._stretch)])
            self.draw_line(ends[:, 0], ends[:, 1], color, linewidth=0.6 * self._line_width)
        ink = "black" if luminance(color) > 0.5 else "white"
        self._put_text(text, center, ink=ink, plate=color, horizontalalignment="center", verticalalignment="center")

    def _fitted_label(self, text: str) -> tuple[str, tuple[float, float]]:
        """The text, shortened to the canvas' width and empty where no room is, and its plate's size in pixels."""
        text = " ".join(str(text).split())
        padding = 2 * TEXT_PADDING * self._default_font_size / POINTS_PER_PIXEL
        room_x, room_y = self.output.canvas_size
        for length in range(min(len(text), 200), 0, -1):
            shown = text if length == len(text) else text[:length].rstrip() + "…"
            width, height = self.output.text_size(shown, self._default_font_size)
            if height + padding > room_y / 2:
                break
            if width + padding <= room_x:
                return shown, (width + padding, height + padding)
        return "", (0.0, 0.0)


def rotated_corners(rotated_box: Any) -> np.ndarray:
    """Corners of a box (5,) (centre x, y, width, height, degrees counter-clockwise), upper left first. (4, 2) XY."""
    x, y, width, height, angle = (float(v) for v in as_array(rotated_box).reshape(-1))
    cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    upright = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * (width / 2, height / 2)  # (4, 2)
    turn = np.array([[cos, sin], [-sin, cos]])  # y points down
    return upright @ turn.T + (x, y)


def rotated_bounds(corners: np.ndarray) -> np.ndarray:
    """The upright box round corners (..., 4, 2). Returns (..., 4) XYXY."""
    return np.concatenate([corners.min(axis=-2), corners.max(axis=-2)], axis=-1)
