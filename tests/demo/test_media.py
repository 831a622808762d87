import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from det2lite.utils.errors import BadValue, MissingFile

sys.path.insert(0, str(Path(__file__).parents[2] / "demo"))

import media  # noqa: E402  (a script's folder is no package)


def make_images(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        cv2.imwrite(str(folder / name), np.zeros((4, 4, 3), np.uint8))


def test_find_images(tmp_path):
    make_images(tmp_path / "a", "2.jpg", "1.PNG")
    (tmp_path / "a" / "notes.txt").write_text("no image")
    found = media.find_images([str(tmp_path / "a"), str(tmp_path / "a" / "*.jpg"), "gone.jpg"])
    assert [path.name for path in found] == ["1.PNG", "2.jpg", "2.jpg", "gone.jpg"]
    for nothing in (str(tmp_path / "b" / "*.jpg"), str(tmp_path / "a" / "*.gif")):
        with pytest.raises(MissingFile, match="pattern"):
            media.find_images([nothing])
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingFile, match="no images"):
        media.find_images([str(tmp_path / "empty")])
    make_images(tmp_path, "odd[1].jpg")  # a file's name may look like a pattern
    assert media.find_images([str(tmp_path / "odd[1].jpg")]) == [tmp_path / "odd[1].jpg"]


def test_equal_names_get_numbers_and_inputs_are_safe(tmp_path):
    inputs = [tmp_path / "a" / "x.jpg", tmp_path / "b" / "x.jpg", tmp_path / "b" / "X.JPG", tmp_path / "c" / "y.gif"]
    names = [path.name for path in media.output_paths(inputs, str(tmp_path / "out"))]
    assert names == ["x.jpg", "x_2.jpg", "X_3.JPG", "y.jpg"]
    assert media.output_paths(inputs[:1], str(tmp_path / "a")) == [tmp_path / "a" / "x_2.jpg"]
    assert media.output_paths(inputs[:1] * 2, str(tmp_path / "a"))[1] == tmp_path / "a" / "x_3.jpg"


def test_output_is_a_file_for_one_input(tmp_path):
    one = [tmp_path / "x.jpg"]
    assert media.output_paths(one, str(tmp_path / "found.png")) == [tmp_path / "found.png"]
    assert media.output_paths(one, str(tmp_path / "v1.0")) == [tmp_path / "v1.0" / "x.jpg"]
    with pytest.raises(BadValue, match="one file"):
        media.output_paths(one * 2, str(tmp_path / "found.png"))
    with pytest.raises(BadValue, match="input itself"):
        media.output_paths(one, str(tmp_path / "x.jpg"))
    (tmp_path / "folder.jpg").mkdir()
    assert media.output_paths(one, str(tmp_path / "folder.jpg")) == [tmp_path / "folder.jpg" / "x.jpg"]


@pytest.mark.parametrize("name", ["v.mp4", "v.avi", "v.unknown"])
def test_video_round_trip(tmp_path, name):
    writer = media.VideoWriter(tmp_path / "new" / name, 12.0, (64, 48))
    for value in (40, 120, 200):
        writer.write(np.full((48, 64, 3), value, np.uint8))
    writer.write(np.full((24, 32, 3), 200, np.uint8))  # a size that changes
    writer.close()
    assert [path.name for path in (tmp_path / "new").iterdir()] == [writer.path.name]
    reader = media.VideoReader(media.open_video(str(writer.path)))
    frames = list(reader)
    assert np.allclose([frame.mean() for frame in frames], (40, 120, 200, 200), atol=8)
    assert reader.broken == 0 and reader.expected == 4 and abs(reader.fps - 12) < 0.01


def test_an_unfinished_video_leaves_nothing(tmp_path):
    writer = media.VideoWriter(tmp_path / "v.mp4", 10, (64, 48))
    writer.write(np.zeros((48, 64, 3), np.uint8))
    writer.close(keep=False)
    assert list(tmp_path.iterdir()) == []


class FakeCapture:
    """A video of which some frames cannot be decoded."""

    def __init__(self, good, announced, fps=float("nan")):
        self.good, self.announced, self.fps = list(good), announced, fps

    def get(self, prop):
        return self.announced if prop == cv2.CAP_PROP_FRAME_COUNT else self.fps

    def read(self):
        if self.good and self.good.pop(0):
            return True, np.zeros((2, 2, 3), np.uint8)
        return False, None


@pytest.mark.parametrize(
    "good, announced, frames, broken",
    [
        ([1, 1, 1], 3, 3, 0),
        ([1, 0, 0, 1, 1], 5, 3, 2),
        ([1, 1], 3, 2, 0),  # the count was one too high
        ([1, 1], 10, 2, 8),  # cut off
        ([1, 1, 1], 0, 3, 0),  # a camera, which announces nothing
        ([1, 1, 1], -1e18, 3, 0),
        ([], 0, 0, 0),
        ([1], 500, 1, 499),  # given up long before
    ],
)
def test_broken_frames_are_counted(good, announced, frames, broken):
    reader = media.VideoReader(FakeCapture(good, announced))
    assert len(list(reader)) == frames
    assert reader.broken == broken
    assert reader.fps == 25.0


def test_videos_that_are_none(tmp_path):
    with pytest.raises(MissingFile, match=r"gone\.mp4"):
        media.open_video(str(tmp_path / "gone.mp4"))
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(BadValue, match="cannot be opened"):
        media.open_video(str(tmp_path / "text.mp4"))


def test_no_display(monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(media.NoDisplay, match="--output"):
        media.require_display()
    monkeypatch.setenv("DISPLAY", ":4711")  # nobody answers there: Qt would abort the process
    with pytest.raises(media.NoDisplay, match="cannot open a window .*--output"):
        media.require_display()
