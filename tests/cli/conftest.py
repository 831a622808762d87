"""The embedded data set in three layouts, a detector that is trained in seconds, and the command in this process."""

import json
import logging
import os
import shutil
from pathlib import Path

import pytest

from det2lite.cli import main as cli
from det2lite.data import DatasetCatalog, MetadataCatalog
from det2lite.data.converters import convert, recognise_layout
from det2lite.data.datasets.shapes_files import ensure_shapes

ROOT = Path(__file__).resolve().parents[2]
TINY = f"""
_BASE_: "{ROOT}/tests/tiny_mask_rcnn.yaml"
MODEL: {{ROI_HEADS: {{SCORE_THRESH_TEST: 0.0}}}}
SOLVER: {{MAX_ITER: 900, STEPS: [600, 800], IMS_PER_BATCH: 16, BASE_LR: 0.0016}}
TEST: {{DETECTIONS_PER_IMAGE: 10}}
"""


@pytest.fixture(scope="session")
def shapes(tmp_path_factory):
    """A folder with tiny.yaml and 6 + 2 images of shapes as coco/, yolo/, voc/ and, without annotations, photos/."""
    folder = tmp_path_factory.mktemp("shapes")
    (folder / "tiny.yaml").write_text(TINY)
    made = ensure_shapes(str(folder / "root"), num_train=6, num_val=2)
    coco = folder / "coco"
    (coco / "annotations").mkdir(parents=True)
    for split in ("train", "val"):
        shutil.copytree(made / split, coco / split)
        shutil.copy(made / "annotations" / f"instances_{split}.json", coco / "annotations")
    shutil.copytree(made / "val", folder / "photos")
    for layout in ("yolo", "voc"):
        convert(recognise_layout(coco), folder / layout, to=layout, images="copy")
    return folder


@pytest.fixture(scope="session")
def trained(shapes):
    """The folder of a run of 3 iterations on coco/, with class ids that are not 1, 2, 3, ..."""
    with process_as_before():
        words = ["--data", str(shapes / "coco"), "--model", str(shapes / "tiny.yaml"), "--batch", "2", "--epochs", "1"]
        assert cli.main(["train", *words, "--output", str(shapes / "trained")]) == 0
    return shapes / "trained"


class process_as_before:
    """Loggers, data sets and working folder of the process are put back at the end."""

    def __enter__(self):
        self.loggers = [
            (logger, list(logger.handlers), logger.propagate, logger.level)
            for logger in (logging.getLogger("det2lite"), logging.getLogger("fvcore"))
        ]
        self.catalogs = [(catalog, dict(catalog)) for catalog in (DatasetCatalog, MetadataCatalog)]

    def __exit__(self, *error):
        for logger, handlers, propagate, level in self.loggers:
            logger.handlers[:], logger.propagate = handlers, propagate
            logger.setLevel(level)
        for catalog, content in self.catalogs:
            catalog.data.clear()
            catalog.data.update(content)


@pytest.fixture
def det2lite(capsys, tmp_path, monkeypatch):
    """`det2lite(*words)` runs the command in tmp_path as a new process would; returns what it printed, or its error."""
    monkeypatch.chdir(tmp_path)

    def run(*words, status=0):
        capsys.readouterr()
        with process_as_before():
            try:
                code = cli.main([os.fspath(word) for word in words])
            except SystemExit as end:
                code = end.code
        shown = capsys.readouterr()
        assert code == status, shown.out + shown.err
        if not status:
            return shown.out
        return shown.err

    return run


def read_json(path):
    return json.loads(Path(path).read_text())
