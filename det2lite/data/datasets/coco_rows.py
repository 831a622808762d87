"""Large COCO files read once: the own text of their annotations, by image, in a cache from which samples are made.

An entry of the cache is named by the content that it was made of, so that a changed file is read anew. What is unusual
in a file, or wrong, is left to the reader that can name it.
"""

import contextlib
import hashlib
import logging
import os
from dataclasses import dataclass

import msgspec
import numpy as np

from det2lite.data.datasets.coco_columns import Meta, Unusual, store_contents
from det2lite.data.datasets.coco_instance import read_instance
from det2lite.data.sample_store import SampleRows, SampleStore, StoredSamples
from det2lite.utils.disk_cache import cache_folder, known_digest, remember_digest
from det2lite.utils.errors import BadValue
from det2lite.utils.file_io import PathManager, atomic_write

__all__ = ["MIN_BYTES", "CocoReader", "opened_store", "stored_samples"]

logger = logging.getLogger(__name__)

MIN_BYTES = 1 << 24  # a smaller file is read in a moment
VERSION = 1  # of the rows; older entries are not found

@dataclass
class CocoReader:
    """From a row of a store to a sample. index_of: class of each category; None leaves categories as they are."""

    path: str
    image_root: str
    keys: list[str]
    index_of: dict[int, int] | None

    def __call__(self, row: bytes) -> dict:
        image, instances = self.read(row)
        sample = {"file_name": self.path_of(image["file_name"]), "height": image["height"], "width": image["width"]}
        return sample | {"image_id": image["id"], "annotations": instances}

    def read(self, row: bytes) -> tuple[dict, list[dict]]:
        """The image as it stands in the file, and its instances in the standard format."""
        try:
            image, *annotations = msgspec.json.decode(row)
        except msgspec.DecodeError as error:
            raise BadValue(f"{self.path}: entry in {cache_folder()} is broken: {error}; delete that folder") from None
        instances = []
        for annotation in annotations:
            instance = read_instance(annotation, [image["height"], image["width"]], self, self.keys)
            if instance is not None:
                if self.index_of is not None:
                    instance["category_id"] = self.index_of[annotation["category_id"]]
                instances.append(instance)
        return image, instances

    def class_of(self, categories: np.ndarray) -> np.ndarray:
        if self.index_of is None:
            return categories
        known = sorted(self.index_of)
        classes = np.array([self.index_of[category] for category in known], dtype=np.int64)
        return classes[np.searchsorted(known, categories)]

    def path_of(self, file_name: str) -> str:
        return os.path.join(self.image_root, file_name)

    def where(self, annotation: dict) -> str:
        return f"{self.path}: annotation {annotation.get('id')} of image {annotation['image_id']}"


def stored_samples(
    json_file: str, image_root: str, keys: list[str], *, contiguous: bool, unique_annotations: bool
) -> tuple[StoredSamples, list[dict]] | None:
    """The samples of a large COCO file in the standard format, and its categories by ascending id.

    keys: of annotations to keep. contiguous: whether categories are numbered as classes. unique_annotations: whether
    two annotations with one id are an error. None for a small file, and for one that is unusual or wrong.
    """
    opened = opened_store(json_file, by_url=False)
    if opened is None or (unique_annotations and not opened[1].unique_annotations):
        return None
    store, meta = opened
    index_of = {category["id"]: index for index, category in enumerate(meta.categories)}
    reader = CocoReader(json_file, image_root, keys, index_of if contiguous else None)
    logger.info("loaded %d images in COCO format from %s", len(store), json_file)
    if meta.without_mask:
        logger.warning(
            "%s: left out %d instances whose polygons all have fewer than 3 points or an odd number of coordinates",
            json_file, meta.without_mask,
        )  # fmt: skip
    return StoredSamples(SampleRows.whole(store, reader)), meta.categories


def opened_store(json_file: str, by_url: bool) -> tuple[SampleStore, Meta] | None:
    """The store of a large file, and what it knows of it; None for a small file, and for one that is unusual or wrong.

    by_url: see `store_contents`.
    """
    try:
        path = PathManager.get_local_path(json_file) if PathManager.isfile(json_file) else ""
        if not path or os.path.getsize(path) < MIN_BYTES:
            return None
        store = _open_store(path, by_url)
    except (Unusual, OSError, msgspec.MsgspecError, UnicodeError, OverflowError) as error:
        logger.debug("%s is read without a cache: %s", json_file, error)
        return None
    return store, msgspec.json.decode(store.meta, type=Meta)


def _open_store(path: str, by_url: bool) -> SampleStore:
    """The store of a file: from the cache, where it is made if it is not there."""
    folder = cache_folder()
    digest = known_digest(folder, path) if folder else None
    if digest and (store := _from_cache(_entry(folder, digest, by_url))):
        return store
    with open(path, "rb") as file:
        content = file.read()
    if folder is None:
        return SampleStore.in_memory(*store_contents(content, by_url))
    digest = hashlib.sha256(content).hexdigest()
    entry = _entry(folder, digest, by_url)
    store = _from_cache(entry)
    try:
        if store is None:
            columns, meta, rows = store_contents(content, by_url)
            with atomic_write(entry, "wb") as file:
                SampleStore.write(file, columns, meta, rows)
            store = SampleStore.open(entry)
            logger.info("%s is kept, made ready, as %s", path, entry)
        _note(folder, path, digest)
    except OSError as error:
        logger.warning("%s is not kept in the cache: %s; is DET2LITE_CACHE a folder that can be written?", path, error)
        store = store or SampleStore.in_memory(*store_contents(content, by_url))
    return store


def _entry(folder: str, digest: str, by_url: bool) -> str:
    return os.path.join(folder, f"{'lvis' if by_url else 'coco'}-{VERSION}-{digest[:40]}.rows")


def _from_cache(entry: str) -> SampleStore | None:
    try:
        return SampleStore.open(entry)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, OSError, EOFError) as error:
        logger.warning("%s is broken and made anew: %s", entry, error)
        return None


def _note(folder: str, path: str, digest: str) -> None:
    """Remembers what a file's content is; what it was before is not kept."""
    previous = remember_digest(folder, path, digest)
    if previous is not None:
        for by_url in (False, True):
            with contextlib.suppress(OSError):
                os.unlink(_entry(folder, previous, by_url))
