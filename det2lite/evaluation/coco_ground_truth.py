"""Ground truth in the COCO format, made fit for evaluation."""

import copy
import logging
import os
from collections.abc import Iterable
from typing import Any

from det2lite.data.datasets.coco_reader import read_json
from det2lite.utils.errors import BadValue

__all__ = ["CocoGroundTruth"]

logger = logging.getLogger(__name__)


class CocoGroundTruth:
    """A COCO file and the fast index on it.

    dataset: the file's content. api: `hotcoco.COCO`, which answers as `pycocotools.coco.COCO` does. Image ids that are
    not integers are numbered for the api; `image_id` gives the number. Annotations without an area get their
    box's. Raises `BadValue` for content that is not COCO's, naming the file.
    """

    def __init__(self, source: str | os.PathLike | dict[str, Any]):
        """source: a file, or its content, which is not changed."""
        self.name = "ground truth" if isinstance(source, dict) else os.fspath(source)
        self.dataset = source if isinstance(source, dict) else read_json(source)
        self._check()
        self.has_annotations = "annotations" in self.dataset
        self._numbers: dict[Any, int] | None = None
        self._number_images()
        self._fill_areas()
        self.api = self._make_api()

    def _make_api(self) -> Any:
        import hotcoco

        content = self._for_api()
        try:
            return hotcoco.COCO(content)
        except (ValueError, TypeError, KeyError):
            pass  # it checks types that nobody needs here, such as that of an image's licence
        try:
            return hotcoco.COCO(_what_counts(content))
        except (ValueError, TypeError, KeyError) as error:
            raise BadValue(f"{self.name}: not usable as COCO ground truth: {_one_line(error)}") from None

    def _for_api(self) -> dict[str, Any]:
        """The content as the api takes it."""
        return self.dataset

    def _check(self) -> None:
        for key in ("images", "categories"):
            if not isinstance(self.dataset, dict) or not isinstance(self.dataset.get(key), list):
                raise BadValue(f"{self.name}: not in the COCO format: there is no list {key!r} in it")
        for key in ("images", "categories", "annotations"):
            entries = self.dataset.get(key) or []
            if not isinstance(entries, list) or not all(issubclass(kind, dict) for kind in {*map(type, entries)}):
                raise BadValue(f"{self.name}: not in the COCO format: {key!r} must be a list of objects")

    def _number_images(self) -> None:
        ids = [image.get("id") for image in self.dataset["images"]]
        if all(type(image_id) is int and image_id >= 0 for image_id in ids):
            return
        self._numbers = {image_id: number for number, image_id in enumerate(ids, start=1)}
        dataset = dict(self.dataset)
        dataset["images"] = [image | {"id": self._numbers[image["id"]]} for image in dataset["images"]]
        if self.has_annotations:
            annotations = dataset["annotations"]
            dataset["annotations"] = [a | {"image_id": self._numbers[a["image_id"]]} for a in annotations]
        self.dataset = dataset

    def _fill_areas(self) -> None:
        annotations = self.dataset.get("annotations") or []
        without = sum("area" not in annotation for annotation in annotations)
        if not without:
            return
        logger.warning("%s: %d annotations have no area; that of their box is taken", self.name, without)
        filled = [a if "area" in a else a | {"area": float(a["bbox"][2] * a["bbox"][3])} for a in annotations]
        self.dataset = self.dataset | {"annotations": filled}

    def image_id(self, image_id: Any) -> int:
        """The integer that stands for an image's id."""
        if self._numbers is None:
            return image_id
        if image_id not in self._numbers:
            raise BadValue(f"image {image_id!r} of the predictions is not in {self.name}; is it another data set's?")
        return self._numbers[image_id]

    def numbered(self, results: Iterable[dict]) -> list[dict]:
        """Copies of results, with the integers that stand for their image ids."""
        if self._numbers is None:
            return [dict(result) for result in results]
        return [result | {"image_id": self.image_id(result["image_id"])} for result in results]

    def pycocotools(self) -> Any:
        """The same ground truth as a `pycocotools.coco.COCO`."""
        return to_pycocotools(self.dataset)


def to_pycocotools(dataset: dict[str, Any]) -> Any:
    """A `pycocotools.coco.COCO` of the content of a COCO file, without its printing."""
    import contextlib
    import io

    from pycocotools.coco import COCO

    api = COCO()
    api.dataset = copy.deepcopy(dataset)  # it writes into annotations
    with contextlib.redirect_stdout(io.StringIO()):
        api.createIndex()
    return api


def _what_counts(dataset: dict[str, Any]) -> dict[str, Any]:
    """The content without what evaluation does not look at; annotations are numbered anew."""

    def chosen(entry: dict, *keys: str) -> dict:
        return {key: entry[key] for key in keys if entry.get(key) is not None}

    annotation_keys = ("image_id", "category_id", "bbox", "area", "iscrowd", "segmentation", "keypoints",
                       "num_keypoints", "obb", "rotated_bbox")  # fmt: skip
    return {
        "images": [
            chosen(image, "id", "height", "width", "neg_category_ids", "not_exhaustive_category_ids")
            for image in dataset["images"]
        ],
        "categories": [
            {**chosen(category, "id", "frequency"), "name": str(category.get("name"))}
            for category in dataset["categories"]
        ],
        "annotations": [
            {"id": number, **chosen(annotation, *annotation_keys)}
            for number, annotation in enumerate(dataset.get("annotations", []), start=1)
        ],
    }


def _one_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
