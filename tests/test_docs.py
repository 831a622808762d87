"""The documentation is run: code, configs, commands, links and names of its pages have to hold.

Blocks of Python of one page run one after the other in one namespace, in a folder that holds a data set `cells/`, some
`photos/` and the repository's folders. A block that begins with `# name.py` or `# name.yaml` becomes that file too;
lines `python FILE ...` of shell blocks are run where FILE is such a file or the demo, and lines `det2lite ...` on the
pages of WITH_COMMANDS. Models are made small on the way.
Blocks marked `no-test` are left alone.
"""

import json
import logging
import re
import runpy
import shlex
import sys
from pathlib import Path
from typing import NamedTuple

import cv2
import make_config_reference
import numpy as np
import pytest

import det2lite.engine
import det2lite.engine.own_training
import det2lite.modeling
from det2lite.cli import main as cli
from det2lite.config import get_cfg
from det2lite.data import DatasetCatalog, MetadataCatalog
from det2lite.utils.registry import Registry

ROOT = Path(__file__).resolve().parents[1]
NAMES = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "datasets/README.md", "demo/README.md"]
NAMES += [page.relative_to(ROOT).as_posix() for page in sorted((ROOT / "docs").glob("*.md"))]
TEXTS = {name: (ROOT / name).read_text(encoding="utf-8") for name in NAMES}

FENCE = re.compile(r"^```(?P<language>\w*)(?P<mark>[^\n]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\((?P<target>[^)\s]+)\)")
KEY = re.compile(r"\b(?:MODEL|INPUT|DATASETS|DATALOADER|SOLVER|TEST)(?:\.[A-Z][A-Z0-9_]*)+\b")
KEYS_TO_ADD = {"DATALOADER.RANDOM_SUBSET_RATIO", "SOLVER.BASE_LRR"}  # and those of the examples, see below

# what is there when a page has been followed
PROMISED = {
    "README.md": ("output/log.txt", "output/metrics.json", "output/model_final.pth", "output/inference", "found/2.jpg"),
    "docs/getting_started.md": (
        "look_3.jpg",
        "output/cells/config.yaml",
        "output/cells/last_checkpoint",
        "output/cells/model_0000000.pth",
        "output/cells/inference/coco_instances_results.json",
        "output/cells/inference/instances_predictions.pth",
        "found/1.jpg",
    ),
    "docs/extending.md": ("output/extended/model_final.pth",),
    "docs/command_line.md": (
        "runs/cells/model_final.pth",
        "found.json",
        "found.pkl",
        "pictures/1.jpg",
        "tables/evaluation.json",
        "for_a_server_files/images.json",
    ),
    "docs/preflight.md": ("findings.json", "cleaned/train_changes.json", "sheet.png", "looks/1.jpg", "labels.png"),
}

# pages on which every command of det2lite is run
WITH_COMMANDS = ("README.md", "docs/command_line.md", "docs/converters.md", "docs/preflight.md")

SMALL = """
MODEL:
  DEVICE: cpu
  RESNETS: {DEPTH: 18, RES2_OUT_CHANNELS: 64}
  FPN: {OUT_CHANNELS: 16}
  RPN: {PRE_NMS_TOPK_TRAIN: 50, POST_NMS_TOPK_TRAIN: 20, PRE_NMS_TOPK_TEST: 50, POST_NMS_TOPK_TEST: 20}
  ROI_BOX_HEAD: {FC_DIM: 16}
  ROI_MASK_HEAD: {NUM_CONV: 1, CONV_DIM: 8}
  ROI_HEADS: {SCORE_THRESH_TEST: 0.0}
INPUT: {MIN_SIZE_TRAIN: [64], MIN_SIZE_TEST: 64, MAX_SIZE_TRAIN: 96, MAX_SIZE_TEST: 96}
DATALOADER: {NUM_WORKERS: 0}
SOLVER: {MAX_ITER: 2, STEPS: [1], WARMUP_ITERS: 1, IMS_PER_BATCH: 2, BASE_LR: 0.0001, CHECKPOINT_PERIOD: 1}
TEST: {EVAL_PERIOD: 0}
SEED: 1
"""


class Block(NamedTuple):
    language: str
    mark: str
    text: str
    line: int  # of the page, where the text begins

    @property
    def file_name(self) -> str:
        match = re.match(r"# (\S+\.(?:py|yaml))\n", self.text)
        return match[1] if match else ""


def blocks(name):
    """The fenced blocks of a page."""
    text = TEXTS[name]
    for match in FENCE.finditer(text):
        line = text.count("\n", 0, match.start("text")) + 1
        yield Block(match["language"], match["mark"].strip(), match["text"], line)


def commands(name):
    """The lines of the shell blocks of a page, as words."""
    for block in blocks(name):
        if block.language == "bash" and "no-test" not in block.mark:
            for line in block.text.replace("\\\n", " ").splitlines():
                yield shlex.split(line, comments=True)


def write_cells(folder):
    """A COCO file for training and one for validation: a rectangle of each of three categories in each of 3 images."""
    (folder / "images").mkdir(parents=True)
    content = {
        "categories": [{"id": i + 1, "name": name} for i, name in enumerate(("red", "white", "platelet"))],
        "images": [{"id": i, "file_name": f"{i}.png", "height": 48, "width": 64} for i in (1, 2, 3)],
        "annotations": [],
    }
    for image in content["images"]:
        pixels = np.full((48, 64, 3), 90, dtype=np.uint8)
        for category in (1, 2, 3):
            x, y = 20 * category - 16, 10 * category
            pixels[y : y + 12, x : x + 16, category - 1] = 255
            annotation = {"id": 3 * image["id"] + category, "image_id": image["id"], "category_id": category}
            outline = [x, y, x + 16, y, x + 16, y + 12, x, y + 12]
            content["annotations"].append(
                {**annotation, "bbox": [x, y, 16, 12], "area": 192, "iscrowd": 0, "segmentation": [outline]}
            )
        cv2.imwrite(str(folder / "images" / image["file_name"]), pixels)
    for split in ("train", "val"):
        (folder / f"{split}.json").write_text(json.dumps(content))


def make_small(cfg):
    """Changes a config in place so that its model is trained in a moment."""
    frozen = cfg.is_frozen()
    cfg.defrost()
    cfg.merge_from_text(SMALL)
    if "://" in cfg.MODEL.WEIGHTS:
        cfg.MODEL.WEIGHTS = ""  # tests download nothing
    if frozen:
        cfg.freeze()


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    """A folder to work in; what the pages register, and what they set up, is undone afterwards."""
    write_cells(tmp_path / "cells")
    (tmp_path / "photos").mkdir()
    for number in (1, 2):
        photo = cv2.imread(str(tmp_path / "cells" / "images" / f"{number}.png"))
        cv2.imwrite(str(tmp_path / "photos" / f"{number}.jpg"), photo)
    for folder in ("configs", "demo", "tools"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "datasets"))
    monkeypatch.setattr(sys, "path", [*sys.path])

    default_setup = det2lite.engine.default_setup

    def small_setup(cfg, args):
        make_small(cfg)
        default_setup(cfg, args)

    monkeypatch.setattr(det2lite.engine, "default_setup", small_setup)
    monkeypatch.setattr(det2lite.engine.own_training, "check_weights", lambda cfg: None)  # tests download nothing
    loggers = [logging.getLogger(name) for name in ("det2lite", "fvcore")]
    handlers = [(list(logger.handlers), logger.propagate, logger.level) for logger in loggers]
    registries = [value for value in vars(det2lite.modeling).values() if isinstance(value, Registry)]
    contents = [dict(registry._obj_map) for registry in registries]
    catalogs = [dict(catalog) for catalog in (DatasetCatalog, MetadataCatalog)]
    yield tmp_path
    for logger, (before, propagate, level) in zip(loggers, handlers, strict=True):
        logger.handlers[:], logger.propagate, logger.level = before, propagate, level
    for registry, before in zip(registries, contents, strict=True):
        registry._obj_map.clear()
        registry._obj_map.update(before)
    for catalog, before in zip((DatasetCatalog, MetadataCatalog), catalogs, strict=True):
        catalog.data.clear()
        catalog.data.update(before)
    for name in ("media", "predictor"):  # modules beside demo.py
        sys.modules.pop(name, None)


def forget_cells():
    for name in ("cells_train", "cells_val"):
        DatasetCatalog.pop(name, None)
        MetadataCatalog.pop(name, None)


def run_command(words, files, monkeypatch, *, commands=False):
    """Runs `python FILE ...` in this process, FILE being one of `files` or the demo; with `commands` det2lite too."""
    if words[:1] == ["det2lite"] and commands:
        assert cli.main(words[1:]) == 0, " ".join(words)
        forget_cells()
    if words[:1] != ["python"] or words[1] not in {*files, "demo/demo.py"} or "--num-gpus" in words:
        return
    forget_cells()
    monkeypatch.setattr(sys, "argv", words[1:])
    monkeypatch.syspath_prepend(str(Path(words[1]).parent))
    try:
        runpy.run_path(words[1], run_name="__main__")
    except SystemExit as end:
        assert not end.code, f"{' '.join(words)}: exit status {end.code}"


@pytest.mark.parametrize(
    "name", [n for n in NAMES if any(b.language == "python" for b in blocks(n)) or n in WITH_COMMANDS]
)
def test_code_runs(name, workspace, monkeypatch):
    files, namespace = set(), {"__name__": "__main__"}
    for block in blocks(name):
        if "no-test" in block.mark:
            continue
        if block.file_name:
            (workspace / block.file_name).write_text(block.text)
            files.add(block.file_name)
        if block.language == "yaml":
            (workspace / "page.yaml").write_text(block.text)
            get_cfg().merge_from_file("page.yaml")
        elif block.language == "python" and not (block.file_name and "parse_args" in block.text):
            code = compile("\n" * (block.line - 1) + block.text, ROOT / name, "exec")
            exec(code, namespace)
        elif block.language == "bash":
            for line in block.text.replace("\\\n", " ").splitlines():
                run_command(shlex.split(line, comments=True), files, monkeypatch, commands=name in WITH_COMMANDS)
    for path in PROMISED.get(name, ()):
        assert (workspace / path).exists(), path


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name):
    text = FENCE.sub("", TEXTS[name])
    for match in LINK.finditer(text):
        target, _, anchor = match["target"].partition("#")
        if "://" in target:
            continue
        path = ((ROOT / name).parent / target).resolve() if target else ROOT / name
        assert path.exists(), f"{name}: {match[0]}"
        if anchor:
            titles = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles], match[0]


@pytest.mark.parametrize("name", NAMES)
def test_commands_name_what_is_there(name):
    """Scripts, configs and flags of shell commands."""
    own = {block.file_name for block in blocks(name)}
    for words in commands(name):
        words = [word for word in words if not re.match(r"\w+=", word)]
        if words[:1] == ["det2lite"]:
            known = cli.build_parser(words[1])._option_string_actions
            unknown = [word for word in words[2:] if word.startswith("--") and word.split("=")[0] not in known]
            assert not unknown, f"{name}: det2lite {words[1]} has no {unknown}"
        script = next((word for word in words if word.endswith(".py")), None)
        if script is None or words[0] not in ("python", "torchrun", ".venv/bin/python") and not script == words[0]:
            continue
        assert script in own or (ROOT / script).is_file(), f"{name}: {' '.join(words)}"
        for word in words:
            if word.startswith("configs/"):
                assert (ROOT / word).is_file(), f"{name}: {word}"
        source = (ROOT / script).read_text() if (ROOT / script).is_file() else ""
        if script in own or "default_argument_parser" in source:
            source += (ROOT / "det2lite/engine/arguments.py").read_text()
        for flag in words[words.index(script) :]:
            if flag.startswith("--"):
                assert f'"{flag.split("=")[0]}"' in source, f"{name}: {script} has no {flag}"


@pytest.mark.parametrize("name", NAMES)
def test_config_keys_exist(name):
    known, added = get_cfg(), set(KEYS_TO_ADD)
    for group in re.findall(r"cfg\.([A-Z_.]+) = CfgNode\(", TEXTS[name]):
        added.update({group, *re.findall(rf"{re.escape(group)}\.[A-Z_]+", TEXTS[name])})
    for key in set(KEY.findall(TEXTS[name])) - added:
        node = known
        for part in key.split("."):
            assert part in node, f"{name}: {key}"
            node = node[part]


@pytest.mark.parametrize("name", NAMES)
def test_files_in_backticks_exist(name):
    for word in re.findall(r"`((?:tools|demo|configs|docs|det2lite|tests|datasets)/[\w./-]*)`", TEXTS[name]):
        assert (ROOT / word).exists() or word.startswith("datasets/coco"), f"{name}: {word}"


def test_config_reference_is_up_to_date():
    page = make_config_reference.PAGE.read_text(encoding="utf-8")
    assert page == make_config_reference.reference(), "run: python tools/make_config_reference.py"


def test_config_reference_finds_comments(tmp_path):
    (tmp_path / "a.py").write_text(
        '_C = CfgNode(\n    {\n        "A": 1,  # one\n        # above\n        "B": [\n            2,\n        ],'
        '  # behind\n        "C": {"X": 1, "Y": 2},  # of Y\n        "D": D,\n    }\n)\n'
    )
    (tmp_path / "b.py").write_text('D = {\n    # two\n    # lines\n    "E": {  # a group\n        "F": 3,\n    },\n}\n')
    found = make_config_reference.comments([make_config_reference.Source(tmp_path / name) for name in ("a.py", "b.py")])
    expected = {"A": "one", "B": "above; behind", "C.Y": "of Y", "D.E": "two lines; a group"}
    assert {key: text for key, text in found.items() if text} == expected
    assert {"C", "C.X", "D", "D.E.F"} <= found.keys()
