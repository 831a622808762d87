import json

import pytest
from PIL import Image

from det2lite.cli import main as cli


@pytest.fixture
def yolo(tmp_path):
    for name in ("images/train/a", "labels/train/a"):
        (tmp_path / "in" / name).parent.mkdir(parents=True)
    Image.new("RGB", (20, 10)).save(tmp_path / "in/images/train/a.jpg")
    (tmp_path / "in/labels/train/a.txt").write_text("0 0.5 0.5 0.2 0.4\n1 0.5 0.5 0 0\n")
    return tmp_path / "in"


def run(*words):
    try:
        return cli.main([str(word) for word in words])
    except SystemExit as end:
        return end.code


def test_convert(yolo, tmp_path, capsys):
    names = tmp_path / "names.txt"
    names.write_text("cat\ndog\n")
    assert run("convert", "--input", yolo, "--output", tmp_path / "out", "--classes", names) == 0
    shown = capsys.readouterr().out
    assert f"{yolo}: YOLO (label files such as labels/train/a.txt)" in shown
    assert "train           1              1" in shown and "shape without area" in shown
    assert f"train: {tmp_path}/out/annotations/instances_train.json, images in {yolo}/images/train" in shown
    assert run("convert", "--input", yolo, "--output", tmp_path / "out", "--classes", names) == 1
    assert "give --overwrite to replace it" in capsys.readouterr().err
    out = tmp_path / "voc"
    assert run("convert", "--input", tmp_path / "out", "--to", "voc", "--output", out, "--images", "copy") == 0
    assert f"written: {out}" in capsys.readouterr().out and (out / "Annotations/a.xml").is_file()


@pytest.mark.parametrize(
    "words, message",
    [
        (["--from", "voc"], "no .xml files"),
        ([], "give --classes names.txt"),
        (["--classes", "none.txt"], "none.txt: no such file"),
    ],
)
def test_mistakes(yolo, tmp_path, capsys, words, message):
    assert run("convert", "--input", yolo, "--output", tmp_path / "out", *words) == 1
    assert message in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_split(yolo, tmp_path, capsys):
    for letter in "bcd":
        Image.new("RGB", (20, 10)).save(yolo / f"images/train/{letter}.jpg")
    names = tmp_path / "names.txt"
    names.write_text("cat\ndog\n")
    run("convert", "--input", yolo, "--output", tmp_path / "all.json", "--classes", names)
    capsys.readouterr()
    command = ["split", "--input", tmp_path / "all.json", "--output", tmp_path / "parts"]
    assert run(*command, "--ratio", 0.75, 0.25, "--stratify") == 0
    assert "written: 2 files" in capsys.readouterr().out
    assert len(json.loads((tmp_path / "parts/instances_train.json").read_text())["images"]) == 3
    assert run(*command, "--folds", 9) == 1
    assert "cannot be split into 9 parts" in capsys.readouterr().err
    assert run(*command) == 2
