"""`det2lite browse`: pictures before and after augmentation, and the overview of labels."""

import importlib.util
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from det2lite.cli.main import main

spec = importlib.util.spec_from_file_location(
    "planted", Path(__file__).parents[1] / "data" / "preflight" / "planted.py"
)
planted = importlib.util.module_from_spec(spec)
spec.loader.exec_module(planted)


@pytest.fixture
def data(tmp_path):
    return planted.write(tmp_path / "data")


def run(*words):
    try:
        return main(["browse", *map(str, words)])
    except SystemExit as end:
        return end.code


def test_folder_sheet_and_labels(data, tmp_path, capsys):
    out, sheet, labels = tmp_path / "out", tmp_path / "sheet.png", tmp_path / "labels.png"
    arguments = ["--json", data, "--output-dir", out, "--sheet", sheet, "--labels", labels, "-n", 4]
    assert run(*arguments) == 0
    assert "4 pictures in" in capsys.readouterr().out
    assert sorted(p.name for p in out.iterdir()) == ["im 1.jpg", "im 2.jpg", "im 3.jpg", "im 4.jpg"]
    picture = cv2.imread(str(out / "im 1.jpg"))
    assert picture.shape == (48, 64 + 6 + 64, 3)  # the augmented one is as high as the original
    assert cv2.imread(str(sheet)).shape == (4 * (6 + 18 + 48), 6 + 134 + 6, 3)  # wide pictures, one column
    assert cv2.imread(str(labels)).shape == (1000, 1400, 3)
    assert run(*arguments) == 1 and "--overwrite" in capsys.readouterr().err
    assert run(*arguments, "--overwrite") == 0


def test_as_annotated_only_and_with_variants(data, tmp_path):
    assert run("--json", data, "--images", data.parent, "--output-dir", tmp_path / "a", "-n", 1, "--augment", 0) == 0
    assert cv2.imread(str(tmp_path / "a" / "im 1.jpg")).shape == (48, 64, 3)
    for _ in range(2):  # the same seed gives the same augmentation
        changes = ["INPUT.CROP.ENABLED", "True", "INPUT.CROP.SIZE", "[0.5, 0.5]"]
        arguments = ["--json", data, "--sheet", tmp_path / "s.png", "-n", 1, "--augment", 3, "--overwrite"]
        assert run(*arguments, *changes) == 0
        (tmp_path / "s.png").rename(tmp_path / f"s{_}.png")
    first, second = (cv2.imread(str(tmp_path / f"s{i}.png")) for i in (0, 1))
    assert np.array_equal(first, second) and first.shape[1] > 3 * 64


def test_of_a_config(data, tmp_path, monkeypatch):
    config = tmp_path / "my.yaml"
    config.write_text(json.dumps({"DATASETS": {"TRAIN": ["shapes_val"]}}))
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    assert run("--config-file", config, "--sheet", tmp_path / "s.png", "-n", 2, "MODEL.MASK_ON", "True") == 0
    assert cv2.imread(str(tmp_path / "s.png")).std() > 10
    assert run("--config-file", config, "--sheet", tmp_path / "t.png", "DATASETS.TRAIN", "()") == 1


def test_mistakes(data, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    for words, message in (
        (["--json", data], "say where the pictures go"),
        (["--json", data, "--show"], "no display"),
        (["--json", data, "--sheet", tmp_path / "s.png", "-n", 0], "1 or more"),
        (["--data", tmp_path / "nowhere", "--sheet", tmp_path / "s.png"], "neither a file, nor a folder"),
        (["--json", data, "--split", "x", "--sheet", tmp_path / "s.png"], "no split 'x'; it has data"),
        (["--json", data, "--sheet", data / "s.png"], "s.png"),
    ):
        assert run(*words) == 1
        assert message in capsys.readouterr().err
    data.write_text('{"images": []}')
    assert run("--json", data, "--images", tmp_path, "--labels", tmp_path / "l.png") == 1
    assert "has no images" in capsys.readouterr().err


def test_places_that_one_may_not_write_to_are_said_before_anything_is_drawn(data, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("os.access", lambda path, mode: False)  # as for a user who is not root
    for option, path in (("--output-dir", tmp_path / "out"), ("--sheet", tmp_path / "s.png"), ("--labels", "l.png")):
        monkeypatch.setattr("det2lite.data.preflight.browse.draw_overview", None)
        assert run("--json", data, option, path) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert "no folder that one may write to" in line


def test_folder_that_one_may_not_look_into(data, tmp_path, capsys, monkeypatch):
    out = tmp_path / "out"
    out.mkdir()

    def refuse(path):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("det2lite.data.converters.output.os.listdir", refuse)
    assert run("--json", data, "--output-dir", out) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"error: {out}: cannot be used (Permission denied); choose another folder"
