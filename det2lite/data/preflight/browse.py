"""The whole of `det2lite browse`: finds the data set, draws it, and puts the pictures where they were asked for."""

import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from det2lite.config import CfgNode, get_cfg
from det2lite.data.catalog import DatasetCatalog, Metadata, MetadataCatalog
from det2lite.data.converters.output import names_in, require_writable
from det2lite.data.dataset_mapper import DatasetMapper
from det2lite.data.datasets.coco_loader import load_coco_json
from det2lite.data.overview import draw_overview, label_statistics
from det2lite.data.pictures import Picture, before_and_after, contact_sheet, free_path
from det2lite.data.preflight.run import FileThere
from det2lite.data.preflight.source import Source, find_source
from det2lite.utils.env import seed_all_rng
from det2lite.utils.errors import BadValue
from det2lite.utils.vis_image import VisImage


@dataclass
class Album:
    """A data set to look through: its samples, what is known of it, and the config that augments it."""

    name: str
    samples: Sequence[dict]
    metadata: Metadata
    cfg: CfgNode

    def pictures(self, count: int, variants: int, scale: float) -> Iterator[Picture]:
        """The first `count` samples, each with `variants` augmented ones beside it."""
        mapper = DatasetMapper(self.cfg, True) if variants else dict
        some = islice(self.samples, count)
        return before_and_after(some, mapper, self.metadata, self.cfg.INPUT.FORMAT, variants=variants, scale=scale)


def album_of_config(cfg: CfgNode) -> Album:
    """The first of DATASETS.TRAIN."""
    if not len(cfg.DATASETS.TRAIN):
        raise BadValue("DATASETS.TRAIN is empty: name a data set, DATASETS.TRAIN \"('name',)\"")
    name = cfg.DATASETS.TRAIN[0]
    samples = DatasetCatalog.get(name)
    if not isinstance(samples, list) or not len(samples):
        raise BadValue(f"data set {name!r} is no list of images that could be browsed")
    return Album(name, samples, MetadataCatalog.get(name), cfg)


def album_of_data(data: str, images: str | None, split: str | None, changes: Sequence[str] = ()) -> Album:
    """A JSON file, folder or registered name, augmented as the defaults do, or as `changes` (KEY VALUE ...) say."""
    sources = find_source(data, images)
    chosen = [source for source in sources if split is None or _split_of(source) == split]
    if not chosen:
        raise BadValue(f"{data} has no split {split!r}; it has {', '.join(map(_split_of, sources))}")
    source = chosen[0]
    cfg = get_cfg()
    if source.name in DatasetCatalog:
        samples, metadata = DatasetCatalog.get(source.name), MetadataCatalog.get(source.name)
    else:
        samples, metadata = _load(source)
    annotations = [a for sample in samples for a in sample.get("annotations") or ()]
    if annotations and all("segmentation" in a for a in annotations if not a.get("iscrowd", 0)):
        cfg.MODEL.MASK_ON = True
        cfg.INPUT.MASK_FORMAT = "bitmask"  # takes polygons and run-length masks
    cfg.merge_from_list(list(changes))
    return Album(source.name, samples, metadata, cfg)


def _split_of(source: Source) -> str:
    stem = os.path.splitext(os.path.basename(source.json_file or source.name))[0]
    return stem.rsplit("_", 1)[-1]


def _load(source: Source) -> tuple[list[dict], Metadata]:
    """The samples, in the way in which a training reads them."""
    with tempfile.TemporaryDirectory() as folder:
        path = source.json_file
        if path is None:
            path = os.path.join(folder, "data.json")
            with open(path, "w", encoding="utf-8") as file:
                json.dump(source.content.as_dict(), file)
        name = f"browse: {source.name}"
        MetadataCatalog.pop(name, None)
        samples = list(load_coco_json(path, source.image_root or "", name))
    if not samples:
        raise BadValue(f"{source.name} has no images")
    return samples, MetadataCatalog.pop(name)


def browse(
    album: Album,
    *,
    output_dir: str | None = None,
    sheet: str | None = None,
    labels: str | None = None,
    window: Any = None,
    count: int = 16,
    variants: int = 1,
    scale: float = 1.0,
    seed: int = 0,
    overwrite: bool = False,
) -> list[str]:
    """Draws the album to a folder, on one sheet, in a window, and an overview of its labels; returns what was written.

    window: takes a picture (H, W, 3) RGB, returns False to stop. See `Album.pictures` for count, variants and scale.
    """
    from tqdm import tqdm

    _refuse_what_is_there(output_dir, [sheet, labels], overwrite)
    written = []
    if output_dir or sheet or window:
        seed_all_rng(seed)
        kept, taken = [], {}
        pictures = album.pictures(count, variants, scale)
        total = min(count, len(album.samples))
        for picture in tqdm(pictures, total=total, disable=None if window is None else True, unit="image"):
            if output_dir:
                VisImage(picture.image).save(free_path(output_dir, picture.name, taken))
            if sheet:
                kept.append(picture)
            if window is not None and not window(picture.image):
                break
        if sheet:
            VisImage(contact_sheet(kept)).save(sheet)
        written += [f"{sum(taken.values())} pictures in {output_dir}"] if output_dir else []
        written += [f"{len(kept)} images on {sheet}"] if sheet else []
    if labels:
        statistics = label_statistics(album.samples, album.metadata.get("thing_classes") or [])
        _save_figure(draw_overview(statistics, album.name), labels)
        written.append(f"overview of the labels: {labels}")
    return written


def _save_figure(figure: Any, path: str) -> None:
    import numpy as np

    figure.set_dpi(100)
    figure.canvas.draw()
    VisImage(np.asarray(figure.canvas.buffer_rgba())[:, :, :3]).save(path)


def _refuse_what_is_there(output_dir: str | None, files: Sequence[str | None], overwrite: bool) -> None:
    for path in filter(None, [output_dir and os.path.join(output_dir, "1.jpg"), *files]):
        require_writable(path, "another place")
    if overwrite:
        return
    if output_dir and os.path.isdir(output_dir) and names_in(output_dir):
        raise FileThere(f"{output_dir} is not empty; choose another folder, or put the pictures there: --overwrite")
    for path in filter(None, files):
        if os.path.exists(path):
            raise FileThere(f"{path} is there already; choose another place, or replace it: --overwrite")
