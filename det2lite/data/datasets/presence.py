"""Which of the registered data sets have their files where they are looked for."""

import os

from det2lite.data.catalog import DatasetCatalog, MetadataCatalog
from det2lite.data.datasets.shapes_files import FOLDER

_PATHS = ("json_file", "image_root", "panoptic_root", "panoptic_json", "sem_seg_root", "image_dir", "gt_dir", "dirname")


def missing_paths() -> dict[str, list[str]]:
    """By name of each registered data set the files and folders of it that are not there; empty: it can be used.

    Data sets whose paths are not known, and the embedded one, which is made when it is asked for, are left out.
    """
    missing = {}
    for name in DatasetCatalog.list():
        metadata = MetadataCatalog.get(name)
        paths = [os.fspath(path) for key in _PATHS if (path := metadata.get(key)) is not None]
        if paths and not name.startswith(f"{FOLDER}_"):
            missing[name] = [path for path in paths if not os.path.exists(path)]
    return missing
