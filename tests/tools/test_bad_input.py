"""A user's mistake in the tools: one line that names the thing and the remedy, a status, no traceback, nothing lost."""

import errno
import importlib.util
import json
import os
import pickle
import sys
from pathlib import Path

import pytest
import torch

from det2lite.checkpoint import DetectionCheckpointer
from det2lite.config import get_cfg
from det2lite.engine import SimpleTrainer
from det2lite.modeling import build_model

ROOT = Path(__file__).resolve().parents[2]
TRAINERS = ("train_net.py", "plain_train_net.py")
TRAIN_JSON = "coco/annotations/instances_train2017.json"
VAL_JSON = "coco/annotations/instances_val2017.json"


@pytest.fixture
def mistake(run_tool, capsys):
    """`mistake(tool, *words)` runs a tool that must fail as it should, and returns the line and what was logged."""

    def run(tool, *words, status=1, **options):
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            run_tool(tool, *words, **options)
        return one_line(caught, capsys, status)

    return run


def one_line(caught, capsys, status=1):
    shown = capsys.readouterr()
    lines = shown.err.splitlines()
    assert caught.value.code == status and len(lines) == 1, (caught.value.code, shown.err)
    assert lines[0].startswith("error: ") or status == 130
    assert "Traceback" not in shown.out + shown.err
    return lines[0], shown.out


@pytest.fixture
def demo(workspace, capsys, monkeypatch):
    """`demo(*words)` runs the demo on one image; returns its status."""
    monkeypatch.setattr(sys, "path", [str(ROOT / "demo"), *sys.path])
    spec = importlib.util.spec_from_file_location("det2lite_demo_of_bad_input", ROOT / "demo" / "demo.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def run(*words, image="coco/val2017/1.jpg", output="pictures"):
        capsys.readouterr()
        flags = ["--input", str(workspace / image), "--output", str(workspace / output)]
        return module.main([*flags, *words])

    return run


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Bytes of a checkpoint of the tiny detector, made once."""
    stored = {}

    def get(workspace):
        if not stored:
            cfg = get_cfg()
            cfg.merge_from_file(str(workspace / "tiny.yaml"))
            folder = tmp_path_factory.mktemp("saved")
            checkpointer = DetectionCheckpointer(build_model(cfg), str(folder))
            checkpointer.attach_config(cfg)
            checkpointer.save("model")
            stored["path"] = str(folder / "model.pth")
        return stored["path"]

    return get


@pytest.fixture
def weights(saved, workspace):
    return saved(workspace)


def edit(workspace, change, name=TRAIN_JSON):
    content = json.loads((workspace / name).read_text())
    change(content)
    (workspace / name).write_text(json.dumps(content))


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def move_root(workspace):
    (workspace / "coco").rename(workspace / "elsewhere")


DATA_FAULTS = {
    "no root": (move_root, [VAL_JSON, "$DETECTRON2_DATASETS is", "datasets/README.md"]),
    "no JSON": (lambda w: (w / TRAIN_JSON).write_text("once upon a time"), [TRAIN_JSON, "not JSON", "line 1"]),
    "binary": (lambda w: (w / TRAIN_JSON).write_bytes(b"\xff\xd8\xff\xe0" * 9), [TRAIN_JSON, "not JSON", "binary"]),
    "truncated": (lambda w: cut(w / TRAIN_JSON), [TRAIN_JSON, "cut off", "download"]),
    "other JSON": (lambda w: (w / TRAIN_JSON).write_text("[1]"), [TRAIN_JSON, "COCO format", "'images'"]),
    "no box": (
        lambda w: edit(w, lambda c: c["annotations"][1].pop("bbox")),
        [TRAIN_JSON, "annotation 2 of image 2", "no 'bbox'"],
    ),
    "category": (
        lambda w: edit(w, lambda c: c["annotations"][2].update(category_id=4711)),
        [TRAIN_JSON, "annotation 3 of image 3", "category_id 4711", "'categories'"],
    ),
    "no images": (
        lambda w: edit(w, lambda c: c.update(images=[], annotations=[])),
        ["'coco_2017_train' is empty"],
    ),
    "no objects": (
        lambda w: edit(w, lambda c: c.update(annotations=[])),
        ["none of the 3 images", "FILTER_EMPTY_ANNOTATIONS"],
    ),
}


@pytest.mark.parametrize("fault", DATA_FAULTS)
def test_data_set(fault, workspace, mistake):
    spoil, words = DATA_FAULTS[fault]
    spoil(workspace)
    line, _ = mistake("train_net.py")
    assert all(word in line for word in words), line


@pytest.mark.parametrize("tool", TRAINERS)
@pytest.mark.parametrize("workers", ["0", "2"])
def test_image_in_training(tool, workers, workspace, mistake):
    images = workspace / "coco/train2017"
    cut(images / "1.jpg")
    (images / "2.jpg").write_bytes(b"no picture at all")
    (images / "3.jpg").unlink()
    line, _ = mistake(tool, "DATALOADER.NUM_WORKERS", workers)
    assert str(images) in line and any(remedy in line for remedy in ("replace it", "image folder"))


@pytest.mark.parametrize("workers", ["0", "2"])
def test_image_in_evaluation(workers, workspace, mistake, weights):
    cut(workspace / "coco/val2017/2.jpg")
    line, _ = mistake("train_net.py", "--eval-only", "MODEL.WEIGHTS", weights, "DATALOADER.NUM_WORKERS", workers)
    assert "val2017/2.jpg" in line and "replace it" in line


def test_image_in_the_demo(workspace, demo, weights, capsys):
    cut(workspace / "coco/val2017/2.jpg")
    both = str(workspace / "coco/val2017/*.jpg")
    assert demo("--opts", "MODEL.WEIGHTS", weights, image=both) == 1
    out = capsys.readouterr().out
    assert "val2017/2.jpg" in out and "1 could not be read" in out and "Traceback" not in out
    assert os.listdir(workspace / "pictures") == ["1.jpg"]


@pytest.mark.parametrize("tool", TRAINERS)
def test_a_fault_that_is_found_late_loses_nothing(tool, workspace, mistake):
    cut(workspace / "coco/val2017/2.jpg")
    line, _ = mistake(tool, "SOLVER.MAX_ITER", "1")
    assert "val2017/2.jpg" in line
    assert (workspace / "out/last_checkpoint").read_text() == "model_final.pth"
    assert torch.load(workspace / "out/model_final.pth", weights_only=True)["iteration"] == 0
    assert "total_loss" in (workspace / "out/metrics.json").read_text()


CONFIG_FAULTS = [
    (["MODEL.MASK_NO", "True"], ["MODEL.MASK_NO", "'MODEL.MASK_ON'"]),
    (["SOLVER.BASE_LR", "fast"], ["SOLVER.BASE_LR", "expected float"]),
    (["SOLVER.MAX_ITER"], ["KEY VALUE"]),
    (["DATASETS.TRAIN", "('coco_2017_trian',)"], ["'coco_2017_trian'", "'coco_2017_train'"]),
    (["DATASETS.TEST", "('coco_2017_vla',)"], ["'coco_2017_vla'", "'coco_2017_val'"]),
    (["DATASETS.TRAIN", "()"], ["DATASETS.TRAIN"]),
    (["MODEL.ROI_HEADS.NUM_CLASSES", "5"], ["NUM_CLASSES is 5", "80 classes", "NUM_CLASSES 80"]),
    (["MODEL.META_ARCHITECTURE", "GeneralisedRCNN"], ["'GeneralisedRCNN'", "'GeneralizedRCNN'"]),
    (["MODEL.BACKBONE.NAME", "build_resnet_fpn_bakbone"], ["BACKBONE", "'build_resnet_fpn_backbone'"]),
    (["MODEL.ROI_HEADS.NAME", "StandardROIHead"], ["ROI_HEADS", "'StandardROIHeads'"]),
    (["MODEL.ROI_HEADS.IN_FEATURES", "['p2', 'p9']"], ["'p9'", "p2, p3, p4, p5, p6", "IN_FEATURES"]),
    (["MODEL.RPN.IN_FEATURES", "['p2', 'p9']"], ["'p9'", "IN_FEATURES"]),
    (["MODEL.FPN.IN_FEATURES", "['res2', 'res9']"], ["'res9'", "res2, res3, res4, res5"]),
    (["DATALOADER.SAMPLER_TRAIN", "TraningSampler"], ["SAMPLER_TRAIN", "'TrainingSampler'"]),
    (["DATALOADER.NUM_WORKERS", "-1"], ["NUM_WORKERS is -1", "0 or more"]),
    (["SOLVER.LR_SCHEDULER_NAME", "WarmupMultistep"], ["LR_SCHEDULER_NAME", "'WarmupMultiStepLR'"]),
    (["SOLVER.IMS_PER_BATCH", "0"], ["IMS_PER_BATCH is 0", "1 or more"]),
    (["SOLVER.CHECKPOINT_PERIOD", "0"], ["CHECKPOINT_PERIOD is 0", "1 or more"]),
    (["INPUT.MIN_SIZE_TRAIN_SAMPLING", "rnge"], ["MIN_SIZE_TRAIN_SAMPLING", "'range'"]),
    (["SOLVER.BASE_LR", "1e9"], ["diverged", "BASE_LR", "iteration 2", "train2017/"]),
    (["MODEL.DEVICE", "gpu"], ["'gpu'", "auto, cpu, cuda"]),
]


@pytest.mark.parametrize(("words", "expected"), CONFIG_FAULTS, ids=lambda value: value[0])
def test_config_value(words, expected, run_tool, capsys):
    words = words if len(words) == 2 else [*words, "1", "ODD"]
    with pytest.raises(SystemExit) as caught:
        run_tool("train_net.py", *words)
    line, _ = one_line(caught, capsys)
    assert all(word in line for word in expected), line


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("MODEL: [1, 2\n  x: : :", ["cannot be read as YAML"]),
        ("only words", ["mapping of keys to values"]),
        ("_BASE_: nowhere.yaml", ["nowhere.yaml", "_BASE_ of", "does not exist"]),
        ("_BASE_: spoilt.yaml", ["leads back to itself"]),
        ("MODEL: {MASK_NO: True}", ["MODEL.MASK_NO", "'MODEL.MASK_ON'"]),
        ("MODEL: !!python/object/apply:os.mkdir [OWNED]", ["cannot be read as YAML", "os.mkdir"]),
        (b"\x00\xff\xfe", ["cannot be read"]),
    ],
)
def test_config_file(content, words, workspace, mistake, monkeypatch):
    monkeypatch.chdir(workspace)
    (workspace / "spoilt.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
    line, _ = mistake("train_net.py", config="spoilt.yaml")
    assert "spoilt.yaml" in line and all(word in line for word in words), line
    assert not (workspace / "OWNED").exists()


def test_config_that_is_not_there(mistake):
    assert "gone.yaml does not exist; check the path" in mistake("train_net.py", config="gone.yaml")[0]
    assert "--config-file" in mistake("plain_train_net.py", config="")[0]


def test_devices(mistake, weights, demo, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert "'cuda' is not there" in mistake("train_net.py", "MODEL.DEVICE", "cuda")[0]
    for tool in TRAINERS:  # before 8 processes start
        line, out = mistake(tool, "--num-gpus", "8", "MODEL.DEVICE", "auto")
        assert "8 processes" in line and "0 GPUs" in line and "--num-gpus 1" in line and not out
    with pytest.raises(SystemExit) as caught:
        demo("--opts", "MODEL.WEIGHTS", weights, "MODEL.DEVICE", "cuda")
    assert "'cuda' is not there" in one_line(caught, capsys)[0]


@pytest.mark.parametrize("tool", TRAINERS)
def test_nothing_to_evaluate(tool, mistake, weights):
    line, _ = mistake(tool, "--eval-only", "MODEL.WEIGHTS", weights, "DATASETS.TEST", "()")
    assert "DATASETS.TEST is empty" in line


@pytest.mark.parametrize("change", [["MODEL.FPN.OUT_CHANNELS", "24"], ["MODEL.ROI_HEADS.NUM_CLASSES", "5"]])
def test_checkpoint_of_another_model(change, workspace, mistake, demo, weights, capsys):
    table, words = "The checkpoint .* does not fit", ["of another shape", "MODEL.WEIGHTS"]
    for tool in TRAINERS:
        line, out = mistake(tool, "--eval-only", "MODEL.WEIGHTS", weights, *change)
        assert weights in line and all(word in line for word in words)
        assert table.split(" .*")[0] in out and "in checkpoint" in out
    with pytest.raises(SystemExit) as caught:
        demo("--config-file", str(workspace / "tiny.yaml"), "--opts", "MODEL.WEIGHTS", weights, *change)
    line, out = one_line(caught, capsys)
    assert all(word in line for word in words) and "in checkpoint" in out
    assert not (workspace / "pictures").exists()


class Hostile:
    def __reduce__(self):
        return os.mkdir, ("OWNED",)


def write_text(path):
    path.write_text("these are no weights")


def write_half(path, weights):
    path.write_bytes(Path(weights).read_bytes()[:100000])


BROKEN = {
    "text.pth": lambda path, weights: write_text(path),
    "half.pth": write_half,
    "empty.pth": lambda path, weights: path.touch(),
    "folder.pth": lambda path, weights: path.mkdir(),
    "hostile.pth": lambda path, weights: torch.save({"model": Hostile()}, path),
    "hostile.pkl": lambda path, weights: path.write_bytes(pickle.dumps({"model": Hostile()})),
    "other.pth": lambda path, weights: torch.save([1, 2, 3], path),
    "gone.pth": lambda path, weights: None,
}


@pytest.mark.parametrize("name", BROKEN)
def test_file_that_is_no_checkpoint(name, workspace, mistake, demo, weights, capsys, monkeypatch):
    monkeypatch.chdir(workspace)
    path = workspace / name
    BROKEN[name](path, weights)
    line, _ = mistake("train_net.py", "--eval-only", "MODEL.WEIGHTS", str(path))
    assert str(path) in line
    with pytest.raises(SystemExit) as caught:
        demo("--opts", "MODEL.WEIGHTS", str(path))
    assert str(path) in one_line(caught, capsys)[0]
    assert not (workspace / "OWNED").exists()


def test_unwritable_output(workspace, mistake, demo, weights, capsys):
    (workspace / "file").touch()
    for output in ("file", "file/below", "/proc/below"):
        line, _ = mistake("train_net.py", output=output)
        assert "cannot write to OUTPUT_DIR" in line and output in line and "you may write to" in line
    with pytest.raises(SystemExit) as caught:
        demo("--opts", "MODEL.WEIGHTS", weights, output="file/below")
    assert "file/below" in one_line(caught, capsys)[0]


class Breaking:
    """A file in which only so many bytes have room."""

    def __init__(self, file, error):
        self.file, self.error, self.room = file, error, 100000

    def write(self, data):
        self.room -= len(bytes(data))
        if self.room < 0:
            raise self.error
        return self.file.write(data)

    def __getattr__(self, name):
        return getattr(self.file, name)


@pytest.mark.parametrize("tool", TRAINERS)
@pytest.mark.parametrize(
    ("error", "status", "words"),
    [(OSError(errno.ENOSPC, "No space left on device"), 1, "No space left"), (KeyboardInterrupt(), 130, "interrupted")],
    ids=["disk full", "Ctrl-C"],
)
def test_saving_that_fails_keeps_the_checkpoint_before(tool, error, status, words, workspace, mistake, monkeypatch):
    save, saves = torch.save, []

    def fail_at_the_second(data, file):
        saves.append(file)
        save(data, file if len(saves) == 1 else Breaking(file, error))

    monkeypatch.setattr(torch, "save", fail_at_the_second)
    line, _ = mistake(tool, "SOLVER.CHECKPOINT_PERIOD", "1", status=status)
    assert words in line and len(saves) == 2
    output = workspace / "out"
    assert [p.name for p in output.iterdir() if ".pth" in p.name] == ["model_0000000.pth"]  # and no temporary one
    assert (output / "last_checkpoint").read_text() == "model_0000000.pth"
    assert torch.load(output / "model_0000000.pth", weights_only=True)["iteration"] == 0


def test_interrupted_run_can_be_resumed(workspace, mistake, run_tool, monkeypatch, capsys):
    run_step = SimpleTrainer.run_step

    def interrupted(self):
        if self.iter == 2:
            raise KeyboardInterrupt
        run_step(self)

    monkeypatch.setattr(SimpleTrainer, "run_step", interrupted)
    line, _ = mistake("train_net.py", status=130)
    assert line == "interrupted"
    monkeypatch.setattr(SimpleTrainer, "run_step", run_step)
    run_tool("train_net.py", "--resume")
    assert "Starting training from iteration 2" in capsys.readouterr().out

    # another model's momentum would be read beyond its end
    line, _ = mistake("train_net.py", "--resume", "MODEL.FPN.OUT_CHANNELS", "24", "SOLVER.MAX_ITER", "5")
    assert "model_final.pth" in line and "without --resume" in line
    (workspace / "out/last_checkpoint").write_text("gone.pth")
    assert "gone.pth" in mistake("train_net.py", "--resume")[0]
