import importlib.util

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
