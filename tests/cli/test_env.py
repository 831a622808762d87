import importlib.util
import os
import subprocess
import sys

import torch

from det2lite.cli import main as cli


def test_all_that_a_report_needs(capsys, monkeypatch, tmp_path):
    coco = tmp_path / "coco"
    (coco / "val2017").mkdir(parents=True)
    (coco / "annotations").mkdir()
    (coco / "annotations" / "instances_val2017.json").write_text("{}")
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    assert cli.main(["env"]) == 0
    text = capsys.readouterr().out
    for words in (torch.__version__, "det2lite", "CPU", "hotcoco", "Optional parts"):
        assert words in text, words
    assert "of 52 are found: coco_2017_val\n" in text
    assert str(tmp_path) in text and "coco_2017_train" in text.split("not found:")[1]


def test_what_is_missing_for_what(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    find_spec = importlib.util.find_spec
    hidden = ("onnx", "cityscapesscripts")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name in hidden else find_spec(name, *a))
    cli.main(["env"])
    text = capsys.readouterr().out
    assert "ONNX files: not here: onnx (pip install 'det2lite[export]')" in text
    assert "cityscapesscripts (pip install 'det2lite[cityscapes]')" in text
    assert "0 of 52 are found: none" in text


def test_what_is_installed_but_broken(tmp_path):
    """In a process of its own, in which torchvision and a library that needs no PyTorch are broken."""
    for name, text in (
        ("torchvision", "raise RuntimeError('operator torchvision::nms does not exist')"),
        ("hotcoco", "import os; os._exit(4)"),
    ):
        (tmp_path / f"{name}.py").write_text(text)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    words = [sys.executable, "-m", "det2lite", "env"]
    text = subprocess.run(words, env=environment, check=True, capture_output=True, text=True).stdout
    fails = "but its import fails: "
    assert f"{fails}RuntimeError: operator torchvision::nms does not exist\n" in text
    assert f"{fails}it ends the process, exit status 4\n" in text and text.count(fails) == 2
    assert "Data sets were not looked for: det2lite.data cannot be imported: RuntimeError: operator" in text
