"""Prediction from the command line: finds what to read and where to write before a model is built."""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from det2lite.apis import sources as files
from det2lite.apis.coco_file import CocoFile
from det2lite.apis.detector import Detector, checked_batch_size
from det2lite.apis.inputs import is_address
from det2lite.apis.many import ManyPredictions, Summary
from det2lite.apis.tiling import Tiling
from det2lite.apis.video import VIDEO_CODECS, VIDEO_ENDINGS, VideoReader
from det2lite.utils.errors import BadValue, MissingFile, UserError

logger = logging.getLogger(__name__)
JSON_NAME = "predictions.json"
PICTURE_ENDINGS = (*files.WRITABLE_ENDINGS, *VIDEO_CODECS)


@dataclass(frozen=True)
class Plan:
    """Inputs, and the files to write: a path each in `pictures` and `movies`, none where these are empty.

    A video is a path, an address, or the number of a camera.
    """

    images: Sequence[Path | str]
    videos: Sequence[Path | str | int]
    pictures: Sequence[Path] = ()
    movies: Sequence[Path] = ()
    json: Path | None = None

    @property
    def written(self) -> list[Path]:
        """All files that are going to be."""
        return [*self.pictures, *self.movies, *([self.json] if self.json else [])]


def find_inputs(inputs: Sequence[str]) -> tuple[list[Path | str], list[Path | str]]:
    """Images and videos that are meant by what a user typed, see `sources.find_files`.

    Raises `MissingFile` where all of them are paths and none is there: no model needs to be loaded for that.
    """
    found = files.find_files(inputs, (*files.IMAGE_ENDINGS, *VIDEO_ENDINGS))
    if not any(is_address(source) or source.exists() for source in found):
        more = f", and none of the {len(found) - 1} after it" if len(found) > 1 else ""
        raise MissingFile(f"{found[0]}: no such file or folder{more}; check --input")
    videos = [source for source in found if files.ending_of(source) in VIDEO_ENDINGS]
    return [source for source in found if files.ending_of(source) not in VIDEO_ENDINGS], videos


def make_plan(
    images: Sequence[Path | str],
    videos: Sequence[Path | str | int],
    output: str,
    *,
    draws: bool = True,
    json: str | None = None,
) -> Plan:
    """What to write for these inputs below the folder `output`, or to that file for a single input.

    draws: pictures and videos. json: name of the COCO file, "" for the usual one, None for none.
    """
    path = None if json is None else _json_path(json, output)
    if not draws:
        return Plan(images, videos, json=path)
    names = [Path(f"webcam{source}.mp4") if isinstance(source, int) else source for source in videos]
    count = len(images) + len(names)
    if count > 1 and files.is_file_name(output, PICTURE_ENDINGS):
        raise BadValue(f"--output {output} is one file, but there are {count} inputs; name a folder")
    pictures = files.output_paths(images, output) if images else []
    movies = files.output_paths(names, output, tuple(VIDEO_CODECS), ".mp4") if names else []
    return Plan(images, videos, pictures, movies, path)


def _json_path(name: str, output: str) -> Path:
    if name:
        path = Path(os.path.expanduser(name))
        return path / JSON_NAME if path.is_dir() else path
    path = Path(os.path.expanduser(output))
    return (path.parent if files.is_file_name(output, PICTURE_ENDINGS) else path) / JSON_NAME


def run_plan(
    plan: Plan,
    detector: Detector,
    *,
    batch_size: int | None = None,
    tiling: Tiling | None = None,
    shown: bool = False,
) -> Summary:
    """Predicts on the plan's images, then on its videos, and writes its files."""
    batch_size = checked_batch_size(detector, batch_size)
    files.make_folders(plan.written)
    coco = CocoFile(detector.classes) if plan.json else None
    job = ManyPredictions(detector, batch_size=batch_size, tiling=tiling, coco=coco, shown=shown)
    if plan.images:
        job.images(plan.images, plan.pictures or None)
    for index, source in enumerate(plan.videos):
        _run_video(job, source, plan.movies[index] if plan.movies else None, is_alone=len(plan.videos) == 1)
    if coco is not None:
        if not detector.classes.category_ids:
            logger.warning(
                "the checkpoint does not tell the data set's category ids: in %s they count from 0", plan.json
            )
        coco.write(plan.json)
        job.summary.written.append(plan.json)
    return job.summary


def _run_video(job: ManyPredictions, source: Path | str | int, output: Path | None, *, is_alone: bool) -> None:
    is_camera = isinstance(source, int)
    try:
        reader = VideoReader(source)
    except UserError as error:
        if is_alone and not job.summary.images:
            raise
        logger.error("left out: %s", error)
        job.summary.unreadable.append(str(source))
        return
    job.video(reader, f"webcam{source}" if is_camera else str(source), output, live=is_camera)
