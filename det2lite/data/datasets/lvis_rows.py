"""Large LVIS files from the cache that large COCO files are opened from."""

import numpy as np

from det2lite.data.datasets.coco_columns import file_of_url
from det2lite.data.datasets.coco_rows import CocoReader
from det2lite.data.sample_store import SampleRows, SampleStore, StoredSamples

__all__ = ["lvis_sample", "stored_lvis_samples"]


def lvis_sample(image: dict, path: str, instances: list[dict]) -> dict:
    """The standard format of an image as it stands in the file, which lies at `path`."""
    return {
        "file_name": path,
        "height": image["height"],
        "width": image["width"],
        "image_id": image["id"],
        "not_exhaustive_category_ids": image.get("not_exhaustive_category_ids", []),
        "neg_category_ids": image.get("neg_category_ids", []),
        "annotations": instances,
    }


class LvisReader(CocoReader):
    """From a row of a store to a sample of LVIS."""

    def __call__(self, row: bytes) -> dict:
        image, instances = self.read(row)
        name = file_of_url(image["coco_url"]) if "coco_url" in image else image["file_name"]
        return lvis_sample(image, self.path_of(name), instances)


def stored_lvis_samples(
    store: SampleStore, json_file: str, image_root: str, keys: list[str], index_of: dict[int, int]
) -> StoredSamples | None:
    """The samples of a store made by URL. keys: of annotations to keep. index_of: the class of each category id.

    None where there are annotations of other categories.
    """
    if not np.isin(store.columns["category"], [*index_of]).all():
        return None
    return StoredSamples(SampleRows.whole(store, LvisReader(json_file, image_root, keys, index_of)))
