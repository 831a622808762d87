"""Pictures of a data set: annotated, augmented as for training, side by side, and many on one sheet."""

import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from det2lite.data.build import build_detection_train_loader
from det2lite.data.catalog import DatasetCatalog, MetadataCatalog
from det2lite.data.image_io import convert_image_to_rgb, read_image
from det2lite.utils.vis_image import VisImage
from det2lite.utils.visualizer import Visualizer

GAP = 6  # pixels between pictures
PAPER = 255
TITLE_HEIGHT = 18
SHEET_WIDTH = 4000


class Picture(NamedTuple):
    """image: (H, W, 3) RGB uint8."""

    name: str
    image: np.ndarray


def name_of(sample: dict) -> str:
    """The file name of a sample's image without its extension."""
    return os.path.splitext(os.path.basename(str(sample["file_name"])))[0]


def draw_sample(sample: dict, metadata: Any, scale: float = 1.0) -> VisImage:
    """A sample of a data set with its annotations."""
    image = read_image(sample["file_name"], "RGB")
    return Visualizer(image, metadata=metadata, scale=scale).draw_dataset_dict(sample)


def draw_input(sample: dict, metadata: Any, image_format: str, scale: float = 1.0) -> VisImage:
    """What a mapper gives to the model, with its ground truth. image_format: INPUT.FORMAT."""
    image = convert_image_to_rgb(sample["image"].permute(1, 2, 0), image_format)  # (H, W, 3)
    visualizer = Visualizer(image, metadata=metadata, scale=scale)
    names = metadata.get("thing_classes")
    if "instances" in sample:
        fields = sample["instances"].get_fields()
        classes = fields["gt_classes"].tolist()
        visualizer.overlay_instances(
            labels=[names[c] if names else str(c) for c in classes],
            boxes=fields.get("gt_boxes"),
            masks=fields.get("gt_masks"),
            keypoints=fields.get("gt_keypoints"),
        )
    if "sem_seg" in sample:
        visualizer.draw_sem_seg(sample["sem_seg"], area_threshold=0, alpha=0.5)
    return visualizer.get_output()


def annotated(cfg: Any, scale: float) -> Iterator[tuple[str, VisImage]]:
    """(name, picture) of every image of DATASETS.TRAIN as it is annotated."""
    for dataset in cfg.DATASETS.TRAIN:
        metadata = MetadataCatalog.get(dataset)
        for sample in DatasetCatalog.get(dataset):
            yield name_of(sample), draw_sample(sample, metadata, scale)


def loaded(cfg: Any, scale: float) -> Iterator[tuple[str, VisImage]]:
    """(name, picture) of what the data loader gives to the model in training, without end."""
    metadata = MetadataCatalog.get(cfg.DATASETS.TRAIN[0])
    for sample in chain.from_iterable(build_detection_train_loader(cfg)):
        picture = draw_input(sample, metadata, cfg.INPUT.FORMAT, scale)
        yield str(sample.get("image_id", name_of(sample))), picture


def before_and_after(
    samples: Iterable[dict],
    mapper: Callable[[dict], dict | None],
    metadata: Any,
    image_format: str,
    *,
    variants: int = 1,
    scale: float = 1.0,
) -> Iterator[Picture]:
    """Each sample as annotated, and beside it `variants` times as `mapper` augments it, made as high.

    Where the mapper refuses a sample with None, a variant is missing.
    """
    for sample in samples:
        images = [draw_sample(sample, metadata, scale).get_image()]
        for mapped in filter(None, (mapper(sample) for _ in range(variants))):
            fitting = images[0].shape[0] / mapped["image"].shape[1]  # as high as the first
            images.append(draw_input(mapped, metadata, image_format, fitting).get_image())
        yield Picture(name_of(sample), beside(images))


def beside(images: Sequence[np.ndarray]) -> np.ndarray:
    """Images (H, W, 3) of any sizes in a row on white, as high as the highest."""
    height = max(image.shape[0] for image in images)
    columns = []
    for image in images:
        column = np.full((height, image.shape[1], 3), PAPER, dtype=np.uint8)
        column[: image.shape[0]] = image
        columns += [np.full((height, GAP, 3), PAPER, dtype=np.uint8), column]
    return np.concatenate(columns[1:], axis=1)


def contact_sheet(pictures: Sequence[Picture], columns: int = 0, cell: int = 0) -> np.ndarray:
    """All pictures with their names in one grid (H, W, 3). columns: 0 for a sheet that is about square.

    cell: width of a column in pixels, 0 for what a picture of usual width needs in a sheet of 4,000 pixels; larger
    pictures are made smaller, smaller ones stay as they are.
    """
    shapes = np.array([picture.image.shape[:2] for picture in pictures], dtype=np.float64)
    height, width = np.median(shapes, axis=0)
    columns = min(columns or max(1, round(math.sqrt(len(pictures) * height / width))), len(pictures))
    cell = cell or round(min(width, SHEET_WIDTH / columns))
    cells = [_cell(picture, cell) for picture in pictures]
    rows = []
    for start in range(0, len(cells), columns):
        row = cells[start : start + columns]
        height = max(image.shape[0] for image in row)
        sheet = np.full((height + GAP, columns * (cell + GAP) + GAP, 3), PAPER, dtype=np.uint8)
        for index, image in enumerate(row):
            left = GAP + index * (cell + GAP)
            sheet[GAP : GAP + image.shape[0], left : left + cell] = image
        rows.append(sheet)
    return np.concatenate(rows)


def _cell(picture: Picture, width: int) -> np.ndarray:
    """A picture `width` wide with its name above."""
    from PIL import Image, ImageDraw

    image = Image.fromarray(picture.image)
    if image.width > width:
        image = image.resize((width, max(1, round(image.height * width / image.width))), Image.Resampling.BOX)
    cell = Image.new("RGB", (width, image.height + TITLE_HEIGHT), (PAPER,) * 3)
    ImageDraw.Draw(cell).text((2, 2), picture.name, fill=(0, 0, 0), font=_font())
    cell.paste(image, (0, TITLE_HEIGHT))
    return np.asarray(cell)


def _font() -> Any:
    from matplotlib import font_manager
    from PIL import ImageFont

    from det2lite.utils.vis_image import font_family

    return ImageFont.truetype(font_manager.findfont(font_family()[-1]), 12)  # the last knows the most scripts


def free_path(folder: str, name: str, taken: dict[str, int]) -> str:
    """A file for the picture of `name`; one image may come several times, and two folders may share names."""
    name = name.replace(os.sep, "_")
    count = taken[name] = taken.get(name, 0) + 1
    return os.path.join(folder, f"{name}.jpg" if count == 1 else f"{name}_{count}.jpg")
