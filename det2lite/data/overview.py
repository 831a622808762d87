"""One picture of what a data set's labels are like: classes, sizes, places, crowdedness."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from det2lite.data.annotations import xyxy_boxes
from det2lite.utils.vis_image import font_family

MOST_BARS = 40  # classes that are drawn; the others are counted in the last bar
BINS = 48


class LabelStatistics(NamedTuple):
    """boxes: (N, 4) XYXY as fractions of the image. sides: (N, 2) width, height in pixels. per_image: (M,) counts."""

    class_counts: list[tuple[str, int]]
    boxes: np.ndarray
    sides: np.ndarray
    per_image: np.ndarray


def label_statistics(samples: Sequence[dict], class_names: Sequence[str]) -> LabelStatistics:
    """Counts of samples in the standard format with "width" and "height"; crowds are left out."""
    boxes, sizes, per_image = [np.zeros((0, 4))], [np.zeros((0, 2))], []
    counts = Counter(dict.fromkeys(class_names, 0))
    for sample in samples:
        annotations = [a for a in sample.get("annotations") or () if not a.get("iscrowd", 0)]
        per_image.append(len(annotations))
        boxes.append(xyxy_boxes(annotations))
        sizes.append(np.tile([sample["width"], sample["height"]], (len(annotations), 1)))
        for annotation in annotations:
            label = annotation["category_id"]
            counts[class_names[label] if label < len(class_names) else str(label)] += 1
    boxes, sizes = np.concatenate(boxes), np.concatenate(sizes)
    sides = boxes[:, 2:] - boxes[:, :2]
    return LabelStatistics(counts.most_common(), boxes / np.tile(sizes, 2), sides, np.array(per_image, dtype=np.int64))


def draw_overview(statistics: LabelStatistics, title: str) -> Any:
    """A matplotlib figure of four parts."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 10), layout="constrained")
    FigureCanvasAgg(figure)
    parts = figure.subplots(2, 2)
    family = {"fontfamily": font_family()}
    _draw_classes(parts[0, 0], statistics.class_counts, family)
    _draw_sides(parts[0, 1], statistics.sides)
    _draw_centres(parts[1, 0], statistics.boxes)
    _draw_counts(parts[1, 1], statistics.per_image)
    objects, images = len(statistics.boxes), len(statistics.per_image)
    figure.suptitle(f"{title}: {objects} objects in {images} images", **family)
    return figure


def _draw_classes(part: Any, counts: list[tuple[str, int]], family: dict) -> None:
    shown = counts[:MOST_BARS]
    if len(counts) > MOST_BARS:
        shown = [*counts[: MOST_BARS - 1], (f"{len(counts) - MOST_BARS + 1} others", 0)]
        shown[-1] = (shown[-1][0], sum(count for _, count in counts[MOST_BARS - 1 :]))
    names, values = [name for name, _ in shown], [count for _, count in shown]
    part.bar(range(len(shown)), values, color="tab:blue")
    part.set_xticks(range(len(shown)), names, rotation=90 if len(shown) > 6 else 0, fontsize=8, **family)
    if len(shown) <= 20:
        for position, value in enumerate(values):
            part.annotate(str(value), (position, value), ha="center", va="bottom", fontsize=8)
    part.set(title="objects of each class", ylabel="objects")


def _draw_sides(part: Any, sides: np.ndarray) -> None:
    """Width against height, both logarithmic, with COCO's borders between small, medium and large."""
    from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

    sides = sides[(sides > 0).all(axis=1)]
    part.set(title="box sizes", xlabel="width (pixels)", ylabel="height (pixels)", xscale="log", yscale="log")
    if not len(sides):
        return
    low, high = max(sides.min() * 0.9, 0.1), sides.max() * 1.1
    edges = np.geomspace(low, high, BINS + 1)
    heat = np.histogram2d(sides[:, 0], sides[:, 1], bins=(edges, edges))[0]
    mesh = part.pcolormesh(edges, edges, np.ma.masked_equal(heat.T, 0), cmap="viridis")
    part.figure.colorbar(mesh, ax=part, label="objects")
    for side, colour in ((32, "tab:orange"), (96, "tab:red")):
        part.plot(edges, side**2 / edges, color=colour, linewidth=0.8, label=f"area {side}²")
    part.legend(loc="upper left", fontsize=8)
    part.set(xlim=(low, high), ylim=(low, high), aspect="equal")
    for axis in (part.xaxis, part.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(FormatStrFormatter("%g"))
        axis.set_minor_formatter(NullFormatter())


def _draw_centres(part: Any, boxes: np.ndarray) -> None:
    part.set(title="centres of boxes", xlabel="x / width", ylabel="y / height", aspect="equal")
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    edges = np.linspace(0, 1, BINS + 1)
    heat = np.histogram2d(centres[:, 0], centres[:, 1], bins=(edges, edges))[0]
    mesh = part.pcolormesh(edges, edges, heat.T, cmap="magma")
    part.figure.colorbar(mesh, ax=part, label="objects")
    part.set(xlim=(0, 1), ylim=(1, 0))


def _draw_counts(part: Any, per_image: np.ndarray) -> None:
    part.set(title="objects in an image", xlabel="objects", ylabel="images")
    if len(per_image):
        top = int(per_image.max())
        step = max(1, -(-(top + 1) // BINS))
        part.hist(per_image, bins=np.arange(0, top + step + 1, step) - 0.5, color="tab:blue")
        part.set_xlim(-0.5)
        part.axvline(per_image.mean(), color="tab:red", linewidth=0.8)
        part.annotate(f" mean {per_image.mean():.1f}", (per_image.mean(), 0.95), xycoords=("data", "axes fraction"),
                      color="tab:red", fontsize=8)  # fmt: skip
