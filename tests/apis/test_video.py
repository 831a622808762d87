import cv2
import numpy as np
import pytest

from det2lite.apis import video
from det2lite.utils.errors import BadValue, MissingFile


@pytest.mark.parametrize("name", ["v.mp4", "v.avi", "v.unknown"])
def test_video_round_trip(tmp_path, name):
    writer = video.VideoWriter(tmp_path / "new" / name, 12.0, (64, 48))
    for value in (40, 120, 200):
        writer.write(np.full((48, 64, 3), value, np.uint8))
    writer.write(np.full((24, 32, 3), 200, np.uint8))  # a size that changes
    writer.close()
    assert [path.name for path in (tmp_path / "new").iterdir()] == [writer.path.name]
    reader = video.VideoReader(video.open_video(str(writer.path)))
    frames = list(reader)
    assert np.allclose([frame.mean() for frame in frames], (40, 120, 200, 200), atol=8)
    assert reader.broken == 0 and reader.expected == 4 and abs(reader.fps - 12) < 0.01


def test_an_unfinished_video_leaves_nothing(tmp_path):
    writer = video.VideoWriter(tmp_path / "v.mp4", 10, (64, 48))
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
    reader = video.VideoReader(FakeCapture(good, announced))
    assert len(list(reader)) == frames
    assert reader.broken == broken
    assert reader.fps == 25.0


def test_videos_that_are_none(tmp_path):
    with pytest.raises(MissingFile, match=r"gone\.mp4"):
        video.open_video(str(tmp_path / "gone.mp4"))
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(BadValue, match="cannot be opened"):
        video.open_video(str(tmp_path / "text.mp4"))


def test_a_camera_that_is_not_there_is_one_error(capfd):
    with pytest.raises(BadValue, match="camera 7: cannot be opened"):
        video.open_video(7)
    assert "".join(capfd.readouterr()) == ""  # OpenCV prints by itself, into the process's stderr


def test_a_video_is_read_by_its_name_and_closed(tmp_path):
    writer = video.VideoWriter(tmp_path / "v.avi", 10, (64, 48))
    writer.write(np.zeros((48, 64, 3), np.uint8))
    writer.close()
    with video.VideoReader(tmp_path / "v.avi") as reader:
        assert [frame.shape for frame in reader] == [(48, 64, 3)] and reader.decoded == 1
    assert not reader.capture.isOpened()


def test_a_video_that_ends_within_a_frame(tmp_path):
    writer = video.VideoWriter(tmp_path / "v.avi", 10, (64, 48))
    for seed in range(10):
        writer.write(np.random.default_rng(seed).integers(0, 256, (48, 64, 3), dtype=np.uint8))
    writer.close()
    content = (tmp_path / "v.avi").read_bytes()
    (tmp_path / "cut.avi").write_bytes(content[: len(content) // 2])
    with video.VideoReader(tmp_path / "cut.avi") as reader:
        count = len(list(reader))
    assert 0 < count < 10 and reader.broken >= 9 - count
