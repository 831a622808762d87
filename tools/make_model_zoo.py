#!/usr/bin/env python
"""Writes MODEL_ZOO.md: every config with its checkpoint and results, from `configs/` and `det2lite/model_zoo/*.json`.

python tools/make_model_zoo.py           # after a config or a result has changed
python tools/make_model_zoo.py --check   # only tells whether the page is up to date
"""

import importlib.util
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

if importlib.util.find_spec("det2lite") is None:  # a checkout that is not installed
    sys.path.insert(0, str(ROOT))

from written_page import write_or_check  # noqa: E402 - beside this file

from det2lite.model_zoo import get_checkpoint_url  # noqa: E402
from det2lite.model_zoo.model_zoo import config_names  # noqa: E402

PAGE = ROOT / "MODEL_ZOO.md"
DATA = ROOT / "det2lite" / "model_zoo"
HEAD = """# Model zoo

Every config of `configs/`, and what
[Detectron2](https://github.com/facebookresearch/detectron2/blob/main/MODEL_ZOO.md) published for it. **Checkpoints,
AP, times and memory are Detectron2's published ones**, AP in percent, measured by its authors on NVIDIA V100 GPUs.
What was measured with det2lite stands in [the last section](#measured-with-det2lite). A config without numbers has
none published.

```python
from det2lite import model_zoo

name = "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x.yaml"
cfg = model_zoo.get_config(name, trained=True)  # MODEL.WEIGHTS is the checkpoint's address
print(model_zoo.get_config_file(name), model_zoo.get_checkpoint_url(name))
model = model_zoo.get(name, trained=True)  # built, with the checkpoint downloaded, cached, verified and loaded
```

A checkpoint's name holds the beginning of its MD5, which is verified. Without a connection, put files below the folder
that `$DET2LITE_MODEL_ZOO` names, by their path behind `https://dl.fbaipublicfiles.com/detectron2/`. This page is
written by `python tools/make_model_zoo.py`.
"""
TITLES = {
    "COCO-Detection": "COCO: boxes",
    "COCO-InstanceSegmentation": "COCO: instance segmentation",
    "COCO-Keypoints": "COCO: person keypoints",
    "COCO-PanopticSegmentation": "COCO: panoptic segmentation",
    "new_baselines": "COCO: instance segmentation with large-scale jitter",
    "LVISv0.5-InstanceSegmentation": "LVIS v0.5",
    "LVISv1-InstanceSegmentation": "LVIS v1",
    "Cityscapes": "Cityscapes",
    "PascalVOC-Detection": "Pascal VOC 2007",
    "Misc": "Ablations and larger models",
    "Detectron1-Comparisons": "Settings of Detectron 1",
    "quick_schedules": "Short schedules for tests",
    "quick_start": "Quick start",
}
COLUMNS = (
    *("schedule", "epochs", "train s/iter", "train s/im", "inference s/im", "train GB"),
    *("box AP", "box AP50", "mask AP", "keypoint AP", "PQ", "proposal AR"),
)
MEASURED_COLUMNS = ("data", "iterations", "box AP50", "mask AP50", "training")


def read(name: str) -> dict[str, dict[str, str]]:
    return json.loads((DATA / name).read_text(encoding="utf-8"))


def config_cell(name: str, shipped: set[str]) -> str:
    title = name.split("/", 1)[1]
    return f"[{title}](configs/{name}.yaml)" if name in shipped else title


def checkpoint_cell(name: str, published: set[str]) -> str:
    if name not in published:
        return ""
    url = get_checkpoint_url(name)
    model_id, file = url.split("/")[-2:]
    return f"{model_id}/[{file}]({url})"


def table(header: list[str], rows: list[list[str]]) -> list[str]:
    return ["| " + " | ".join(row) + " |" for row in (header, ["---"] * len(header), *rows)]


def section(folder: str, shipped: set[str], published: set[str], results: dict) -> list[str]:
    """A table of one folder: its configs and checkpoints, and the columns that any of them has a number for."""
    names = sorted(name for name in shipped | published if name.startswith(f"{folder}/"))
    columns = [column for column in COLUMNS if any(column in results.get(name, {}) for name in names)]
    has_checkpoints = any(name in published for name in names)
    rows = []
    for name in names:
        row = [config_cell(name, shipped), *(results.get(name, {}).get(column, "") for column in columns)]
        rows.append(row + [checkpoint_cell(name, published)] * has_checkpoints)
    header = ["config", *columns] + ["checkpoint"] * has_checkpoints
    return [f"\n## {TITLES.get(folder, folder)}\n", *table(header, rows)]


def page() -> str:
    """The text of the page."""
    shipped = {name.removesuffix(".yaml") for name in config_names()}
    published = set(read("checkpoints.json")["config_to_suffix"])
    results, measured = read("published_results.json"), read("measured_results.json")
    folders = {name.split("/")[0] for name in shipped | published}
    lines = [HEAD.rstrip("\n")]
    for folder in [*(f for f in TITLES if f in folders), *sorted(folders - TITLES.keys())]:
        lines += section(folder, shipped, published, results)
    rows = [[config_cell(name, shipped), *(row[c] for c in MEASURED_COLUMNS)] for name, row in measured.items()]
    lines += ["\n## Measured with det2lite\n", *table(["config", *MEASURED_COLUMNS], rows)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(write_or_check(PAGE, page(), __doc__))
