"""A tiny COCO, a tiny detector, and the training tools run in this process."""

import json
import logging
import os
import runpy
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from det2lite.data import MetadataCatalog

ROOT = Path(__file__).resolve().parents[2]

TINY = f"""
_BASE_: "{ROOT}/tests/tiny_mask_rcnn.yaml"
DATASETS: {{TRAIN: [coco_2017_train], TEST: [coco_2017_val]}}
SOLVER: {{MAX_ITER: 3, STEPS: [2], WARMUP_ITERS: 1, IMS_PER_BATCH: 2, BASE_LR: 0.001, CHECKPOINT_PERIOD: 2}}
"""


def write_coco(root: Path, name: str, images: int) -> None:
    """A COCO file of one rectangle an image, with all of COCO's categories."""
    meta = MetadataCatalog.get("coco_2017_train")
    ids = meta.thing_dataset_id_to_contiguous_id
    content = {
        "categories": [{"id": id_, "name": meta.thing_classes[i]} for id_, i in ids.items()],
        "images": [],
        "annotations": [],
    }
    os.makedirs(root / "coco" / name)
    os.makedirs(root / "coco" / "annotations", exist_ok=True)
    for i in range(1, images + 1):
        image = np.zeros((48, 64, 3), dtype=np.uint8)
        image[8:40, 10:50] = 200
        cv2.imwrite(str(root / "coco" / name / f"{i}.jpg"), image)
        content["images"].append({"id": i, "file_name": f"{i}.jpg", "height": 48, "width": 64})
        content["annotations"].append(
            {
                "id": i,
                "image_id": i,
                "category_id": 1,
                "bbox": [10, 8, 40, 32],
                "area": 1280,
                "iscrowd": 0,
                "segmentation": [[10, 8, 50, 8, 50, 40, 10, 40]],
            }
        )
    (root / "coco" / "annotations" / f"instances_{name}.json").write_text(json.dumps(content))


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    """A folder with tiny.yaml and a tiny COCO; loggers of the process are put back afterwards."""
    write_coco(tmp_path, "train2017", 3)
    write_coco(tmp_path, "val2017", 2)
    (tmp_path / "tiny.yaml").write_text(TINY)
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    loggers = [logging.getLogger(name) for name in ("det2lite", "fvcore")]
    before = [(list(logger.handlers), logger.propagate) for logger in loggers]
    yield tmp_path
    for logger, (handlers, propagate) in zip(loggers, before, strict=True):
        logger.handlers[:], logger.propagate = handlers, propagate


@pytest.fixture
def run_tool(workspace, monkeypatch):
    """`run_tool(tool, *words)` runs it with tiny.yaml and OUTPUT_DIR `out` in the workspace; returns that folder."""

    def run(tool: str, *words: str, config: str = "tiny.yaml", output: str = "out") -> Path:
        flags = ["--config-file", str(workspace / config)] if config else []
        output = workspace / output  # an absolute path stays what it is
        monkeypatch.setattr(sys, "argv", [tool, *flags, *words, "OUTPUT_DIR", str(output)])
        runpy.run_path(str(ROOT / "tools" / tool), run_name="__main__")
        return output

    return run
