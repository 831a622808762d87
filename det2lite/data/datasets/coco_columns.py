"""A COCO file's text as the columns and rows of a `SampleStore`, without making an object of every number.

Most of a large file are coordinates of polygons. That they are numbers is seen from their characters; they are read
when their image is. What is not plainly as it should be raises `Unusual`, and is left to a reader that takes its time.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import msgspec
import numpy as np

from det2lite.data.datasets.coco_instance import usable_segmentation
from det2lite.utils.errors import BadValue

__all__ = ["Meta", "Unusual", "file_of_url", "store_contents"]

_CHUNK = 4096  # annotations decoded at a time: their objects stay in the processor's cache
_OF_NUMBERS = b"0123456789.- \t\n\r"
_LONGEST_NAME = 512
_NO_MASK = (b"[]", b"{}", b"null")


class Unusual(Exception):
    """A file that has to be read with care."""


class _File(msgspec.Struct):
    images: list[msgspec.Raw]
    annotations: list[msgspec.Raw] = []
    categories: list[dict[str, Any]] = []


class _Image(msgspec.Struct, gc=False):
    id: int
    height: int | float
    width: int | float
    file_name: str | None = None
    coco_url: Any = msgspec.UNSET


class _Annotation(msgspec.Struct, gc=False):
    image_id: int
    category_id: int
    bbox: Annotated[list[int | float], msgspec.Meta(min_length=4, max_length=4)]
    segmentation: msgspec.Raw = msgspec.Raw(b"[]")
    keypoints: list[int | float] | None = None
    iscrowd: int = 0
    ignore: int | float = 0
    id: int | msgspec.UnsetType = msgspec.UNSET


class _Category(msgspec.Struct):
    id: int
    name: Any


class Meta(msgspec.Struct):
    """What a store knows of its file beside samples. categories: by ascending id. without_mask: instances left out."""

    categories: list[dict[str, Any]]
    without_mask: int
    unique_annotations: bool


_annotations = msgspec.json.Decoder(list[_Annotation])
_polygons = msgspec.json.Decoder(list[list[int | float]])


def store_contents(content: bytes, by_url: bool = False) -> tuple[dict[str, np.ndarray], bytes, Iterator[bytes]]:
    """Columns, meta and rows of a store: a row is an image and its usable annotations, as they stand in the file.

    by_url: names of files are the last two parts of `coco_url`, where an image has one, as in the LVIS format.
    Raises `Unusual` or an error of msgspec.
    """
    file = msgspec.json.decode(content, type=_File)
    categories = _sorted_categories(file.categories)
    images = msgspec.json.decode(_as_list(file.images), type=list[_Image])
    by_id = sorted(range(len(images)), key=lambda i: images[i].id)
    images, image_texts = [images[i] for i in by_id], [bytes(file.images[i]) for i in by_id]
    columns = _image_columns(images, by_url)
    sizes = {image.id: [image.height, image.width] for image in images}
    if len(sizes) < len(images):
        raise Unusual("image ids that occur twice")

    found = _Annotations(sizes)
    for start in range(0, len(file.annotations), _CHUNK):
        found.add(_annotations.decode(_as_list(file.annotations[start : start + _CHUNK])))
    of_annotations, order, counts = found.by_image(list(sizes), [category["id"] for category in categories])
    columns |= of_annotations
    columns["annotation_end"] = np.cumsum(counts)
    columns["labelled"] = _per_image(found.labelled[order], counts)
    columns["usable"] = _per_image((~columns["crowd"]).astype(np.int64), counts)

    texts = [file.annotations[i] for i in order.tolist()]
    lengths = np.fromiter(map(len, texts), np.int64, len(texts)) + 1  # and a comma
    columns["row_end"] = np.cumsum(_per_image(lengths, counts) + [len(text) + 2 for text in image_texts])
    meta = Meta(categories, found.without_mask, len(set(found.ids)) == len(found.ids))
    return columns, msgspec.json.encode(meta), _rows(image_texts, texts, counts.tolist())


def _as_list(texts: Sequence[msgspec.Raw]) -> bytes:
    return b"[" + b",".join(texts) + b"]"


def _rows(images: list[bytes], annotations: list[msgspec.Raw], counts: list[int]) -> Iterator[bytes]:
    rest = iter(annotations)
    for image, count in zip(images, counts, strict=True):
        yield b"[" + b",".join([image, *itertools.islice(rest, count)]) + b"]"


def _per_image(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Sums over each image's annotations. values: (A,), image by image. counts: (N,). Returns (N,)."""
    sums = np.concatenate([[0], np.cumsum(values, dtype=np.int64)])
    ends = np.cumsum(counts)
    return sums[ends] - sums[ends - counts]


def _sorted_categories(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    msgspec.convert(entries, list[_Category])  # raises where one has no id or no name
    categories = sorted(entries, key=lambda category: category["id"])
    if len({category["id"] for category in categories}) < len(categories):
        raise Unusual("category ids that occur twice")
    return categories


def file_of_url(url: str) -> str:
    """Folder and name of the image behind a URL."""
    return "/".join(url.split("/")[-2:])


def _file_name(image: _Image, by_url: bool) -> bytes:
    name = image.file_name
    if by_url and image.coco_url is not msgspec.UNSET:
        name = file_of_url(image.coco_url) if isinstance(image.coco_url, str) else None
    if not name:
        raise Unusual("an image without a file")
    return name.encode()


def _image_columns(images: list[_Image], by_url: bool) -> dict[str, np.ndarray]:
    names = [_file_name(image, by_url) for image in images]
    if max(map(len, names), default=0) > _LONGEST_NAME or any(name.endswith(b"\0") for name in names):
        raise Unusual("long names of files")
    sizes = np.array([(image.height, image.width) for image in images], dtype=np.float64).reshape(-1, 2)
    if not (sizes > 0).all():
        raise Unusual("sizes of images that are not positive")
    return {"file_name": np.array(names, dtype=np.bytes_), "height": sizes[:, 0].copy(), "width": sizes[:, 1].copy()}


class _Annotations:
    """Columns of annotations in the order of the file, as far as they are read."""

    def __init__(self, sizes: dict[int, list]):
        """sizes: [height, width] of each image."""
        self._sizes = sizes
        self._rows: list[tuple] = []  # image, category, crowd, has_mask (or left out: None), keypoint numbers, labelled
        self._boxes: list[np.ndarray] = []
        self.ids: list[int] = []
        self.without_mask = 0
        self.labelled = np.zeros(0, dtype=np.int64)

    def add(self, annotations: list[_Annotation]) -> None:
        for annotation in annotations:
            if annotation.ignore:
                raise Unusual("an annotation to be ignored")
            keypoints = annotation.keypoints or ()
            if len(keypoints) % 3:
                raise Unusual("keypoints that are not x, y, visibility")
            mask = self._mask(annotation)
            self._rows.append((annotation.image_id, annotation.category_id, annotation.iscrowd != 0, mask,
                               len(keypoints), sum(v > 0 for v in keypoints[2::3]) if keypoints else 0))  # fmt: skip
        self._boxes.append(np.array([annotation.bbox for annotation in annotations], dtype=np.float64))
        self.ids += [annotation.id for annotation in annotations if annotation.id is not msgspec.UNSET]

    def _mask(self, annotation: _Annotation) -> bool | None:
        """Whether there is a mask; None where there are polygons of which none is usable."""
        text = bytes(annotation.segmentation)
        skeleton = text.translate(None, _OF_NUMBERS)
        commas = len(skeleton) - 4  # where it is one polygon
        if commas >= 5 and commas % 2 and skeleton.count(b",") == commas and skeleton.startswith(b"[["):
            return True
        if skeleton in _NO_MASK:
            return False
        if skeleton.startswith(b"["):
            polygons = _polygons.decode(text)
            return True if any(len(p) >= 6 and len(p) % 2 == 0 for p in polygons) else None
        size = self._sizes.get(annotation.image_id)
        try:
            return bool(usable_segmentation(msgspec.json.decode(text), size, {"image_id": None}, _NoSource()))
        except BadValue as error:
            raise Unusual(str(error)) from None

    def by_image(
        self, image_ids: list[int], category_ids: list[int]
    ) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
        """Columns (A,) by image, the position in the file of each of these annotations, and how many each image has.

        image_ids, category_ids: those that there are, ascending.
        """
        image, category, crowd, mask, keypoints, labelled = (
            zip(*self._rows, strict=True) if self._rows else ((),) * 6
        )
        image, category = np.array(image, dtype=np.int64), np.array(category, dtype=np.int64)
        if not np.isin(category, category_ids).all() or not np.isin(image, image_ids).all():
            raise Unusual("annotations of categories or images that are not there")
        boxes = np.concatenate(self._boxes) if self._boxes else np.zeros((0, 4))
        kept = np.array([m is not None for m in mask], dtype=bool)
        self.without_mask = int((~kept).sum())
        self.labelled = np.array(labelled, dtype=np.int64)
        index = np.searchsorted(image_ids, image)
        order = np.argsort(index, kind="stable")
        order = order[kept[order]]
        columns = {
            "bbox": boxes[order], "category": category[order], "crowd": np.array(crowd, dtype=bool)[order],
            "has_mask": np.array(mask, dtype=bool)[order], "keypoints": np.array(keypoints, dtype=np.int32)[order],
        }  # fmt: skip
        return columns, order, np.bincount(index[order], minlength=len(image_ids))


class _NoSource:
    def where(self, annotation: dict) -> str:
        return "an annotation"
