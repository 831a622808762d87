import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from det2lite.apis.video import VideoWriter
from det2lite.checkpoint import DetectionCheckpointer
from det2lite.cli.main import main
from det2lite.config import get_cfg
from det2lite.data import MetadataCatalog
from det2lite.modeling import META_ARCH_REGISTRY
from det2lite.structures import Boxes, Instances


class WhiteOfPredictTests(nn.Module):
    """Finds one box around everything that is white, if there is such."""

    def __init__(self, cfg):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, batch):
        return [{"instances": self.find(x["image"].amin(dim=0) > 200)} for x in batch]

    @staticmethod
    def find(white):
        ys, xs = torch.nonzero(white, as_tuple=True)
        box = [[xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]] if len(xs) else torch.zeros(0, 4)
        boxes = torch.as_tensor(box, dtype=torch.float32)
        classes = torch.ones(len(boxes), dtype=torch.int64)
        return Instances(white.shape, pred_boxes=Boxes(boxes), scores=0.8 * classes.float(), pred_classes=classes)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    if "WhiteOfPredictTests" not in META_ARCH_REGISTRY:
        META_ARCH_REGISTRY.register(WhiteOfPredictTests)
    MetadataCatalog.get("predict_test").set(
        thing_classes=["cloud", "snow"], thing_dataset_id_to_contiguous_id={10: 0, 30: 1}
    )
    cfg = get_cfg()
    cfg.merge_from_list(["MODEL.META_ARCHITECTURE", "WhiteOfPredictTests", "INPUT.MIN_SIZE_TEST", 0])
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = ("predict_test",), ()
    folder = tmp_path_factory.mktemp("run")
    checkpointer = DetectionCheckpointer(WhiteOfPredictTests(cfg), str(folder))
    checkpointer.attach_config(cfg)
    checkpointer.save("model_final")
    MetadataCatalog.remove("predict_test")
    return str(folder / "model_final.pth")


def image(*box):
    picture = np.zeros((40, 60, 3), np.uint8)
    if box:
        picture[box[1] : box[3], box[0] : box[2]] = 255
    return picture


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """A folder with two images in the current one."""
    (tmp_path / "photos").mkdir()
    cv2.imwrite(str(tmp_path / "photos" / "a.png"), image(10, 5, 30, 25))
    cv2.imencode(".png", image())[1].tofile(tmp_path / "photos" / "空 b.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    return tmp_path


def predict(weights, *arguments):
    return main(["predict", "--weights", weights, "--device", "cpu", *arguments])


def names(folder):
    return sorted(path.name for path in Path(folder).iterdir())


def test_a_folder_to_pictures_and_json(weights, photos, capsys):
    assert predict(weights, "--input", "photos", "--output", "found", "--json") == 0
    assert names("found") == ["a.png", "predictions.json", "空 b.png"]
    assert (cv2.imread("found/a.png") != image(10, 5, 30, 25)).any()
    content = json.loads(Path("found/predictions.json").read_text(encoding="utf-8"))
    assert content["categories"] == [{"id": 10, "name": "cloud"}, {"id": 30, "name": "snow"}]
    assert [entry["file_name"] for entry in content["images"]] == ["photos/a.png", "photos/空 b.png"]
    assert content["images"][0] == {"id": 1, "file_name": "photos/a.png", "height": 40, "width": 60}
    (found,) = content["annotations"]
    assert found["image_id"] == 1 and found["category_id"] == 30 and found["bbox"] == [10, 5, 20, 20]
    assert found["score"] == pytest.approx(0.8) and found["area"] == 400 and found["id"] == 1
    printed = capsys.readouterr().out
    assert "2 images" in printed and "1 detection: 1 snow" in printed and "written to found" in printed


def test_nothing_is_overwritten_without_being_asked(weights, photos, capsys):
    assert predict(weights, "--input", "photos/a.png", "--output", "found") == 0
    Path("found/a.png").write_text("mine")
    with pytest.raises(SystemExit) as stopped:
        predict(weights, "--input", "photos", "--output", "found")
    assert stopped.value.code == 1 and "--overwrite" in capsys.readouterr().err
    assert names("found") == ["a.png"] and Path("found/a.png").read_text() == "mine"
    assert predict(weights, "--input", "photos", "--output", "found", "--overwrite") == 0
    assert cv2.imread("found/a.png") is not None


def test_what_cannot_be_read_is_named_at_the_end(weights, photos, capsys):
    Path("photos/text.jpg").write_text("no image")
    Path("photos/none.mp4").write_bytes(b"no video")
    assert predict(weights, "--input", "photos", "gone.png", "--output", "found", "--json", "all.json") == 1
    printed = capsys.readouterr().out
    assert "3 could not be read: photos/text.jpg, gone.png, photos/none.mp4" in printed
    assert names("found") == ["a.png", "空 b.png"] and len(json.loads(Path("all.json").read_text())["images"]) == 2


def write_video(path, count=6):
    writer = VideoWriter(Path(path), 10, (60, 40))
    for number in range(count):
        writer.write(image(10 + number, 5, 30 + number, 25))
    writer.close()


def test_videos(weights, photos, capsys):
    write_video("walk.avi")
    arguments = ["--input", "walk.avi", "photos/a.png", "--output", "found", "--json", "--batch-size", "4"]
    assert predict(weights, *arguments) == 0
    assert names("found") == ["a.png", "predictions.json", "walk.avi"]
    capture = cv2.VideoCapture("found/walk.avi")
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 6
    content = json.loads(Path("found/predictions.json").read_text())
    frames = [entry for entry in content["images"] if "frame" in entry]
    assert [entry["frame"] for entry in frames] == [0, 1, 2, 3, 4, 5] and frames[2]["file_name"] == "walk.avi#000002"
    assert len(content["annotations"]) == 7 and "1 image and 6 frames" in capsys.readouterr().out


def test_a_video_that_ends_within_a_frame(weights, photos, capsys):
    write_video("walk.avi", 30)
    content = Path("walk.avi").read_bytes()
    Path("cut.avi").write_bytes(content[: len(content) // 2])
    assert predict(weights, "--input", "cut.avi", "--output", "found") == 1
    assert names("found") == ["cut.avi"] and "broken frames left out" in capsys.readouterr().out


def test_tiles(weights, photos):
    picture = np.zeros((100, 200, 3), np.uint8)
    picture[40:60, 50:150] = 255
    cv2.imwrite("large.png", picture)
    arguments = ["--input", "large.png", "--json", "out.json", "--no-pictures", "--tile", "80", "--overlap", "20"]
    for merge in ("ios", "nms"):
        assert predict(weights, *arguments, "--merge", merge, "--overwrite") == 0
        boxes = [found["bbox"] for found in json.loads(Path("out.json").read_text())["annotations"]]
        assert boxes == [[50, 40, 100, 20]] if merge == "ios" else len(boxes) == 1
    assert not Path("predictions").exists()


def test_mistakes_are_one_line_and_leave_nothing(weights, photos, capsys):
    Path("empty").mkdir()
    Path("file").write_text("")
    one = ["--input", "photos/a.png"]
    for arguments, words in (
        (["--input", "empty"], "no images"),
        (["--input", "*.gif"], "*.gif"),
        (["--input", "gone.mp4", "--output", "out"], "gone.mp4: no such file"),
        (["--input", "gone", "gone.jpg", "--output", "out"], "none of the 1 after it"),
        (["--webcam", "7", "--output", "out"], "camera 7"),
        (["--input", "photos", "--output", "one.png"], "name a folder"),
        (["--input", "photos/a.png", "--output", "photos/a.png"], "input itself"),
        ([*one, "--output", "file/below"], "choose another --output"),
        ([*one, "--output", "/proc/out"], "choose another --output"),
        ([*one, "--overlap", "3"], "add --tile"),
        ([*one, "--tile", "3", "--overlap", "3"], "overlap"),
        ([*one, "--no-pictures"], "add --json"),
        ([*one, "--show"], "no display"),
        ([*one, "--confidence-threshold", "2"], "0..1"),
        ([*one, "--batch-size", "0"], "at least 1"),
        ([*one, "--opts", "MODEL.WEIGHT", "x"], "MODEL.WEIGHT"),
    ):
        with pytest.raises(SystemExit) as stopped:
            predict(weights, *arguments)
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert stopped.value.code == 1 and error.startswith("error: ") and words in error, arguments
    assert not Path("out").exists() or names("out") == []


def test_an_interruption_leaves_no_half_of_a_file(weights, photos, monkeypatch):
    write_video("walk.avi")
    calls = []

    def interrupted(self, batch):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return [{"instances": self.find(x["image"].amin(dim=0) > 200)} for x in batch]

    monkeypatch.setattr(WhiteOfPredictTests, "forward", interrupted)
    with pytest.raises(SystemExit) as stopped:
        predict(weights, "--input", "walk.avi", "--output", "found", "--json")
    assert stopped.value.code == 130 and names("found") == []


class CameraOf:
    """The frames of a video as a camera gives them: no count, and an end only when it is disconnected."""

    def __init__(self, name):
        self._frames = cv2.VideoCapture(name)
        self.settings = {}

    def isOpened(self):
        return True

    def read(self):
        return self._frames.read()

    def get(self, what):
        return 0.0

    def set(self, what, value):
        self.settings[what] = value

    def release(self):
        self._frames.release()


@pytest.mark.parametrize("interrupted_at, frames", [(None, 6), (4, 3)], ids=["disconnected", "interrupted"])
def test_a_camera_is_recorded_until_it_ends(weights, photos, monkeypatch, capsys, caplog, interrupted_at, frames):
    write_video("walk.avi")
    camera, calls = CameraOf("walk.avi"), []

    def forward(self, batch):
        calls.append(len(batch))
        if len(calls) == interrupted_at:
            raise KeyboardInterrupt
        return [{"instances": self.find(x["image"].amin(dim=0) > 200)} for x in batch]

    with monkeypatch.context() as patch:
        patch.setattr(WhiteOfPredictTests, "forward", forward)
        patch.setattr(cv2, "VideoCapture", lambda source: camera)
        assert predict(weights, "--webcam", "--output", "found", "--json", "--batch-size", "4") == 0
    assert set(calls) == {1}  # frames are not waited for
    assert camera.settings == {cv2.CAP_PROP_BUFFERSIZE: 1}
    assert f"{frames} frames" in capsys.readouterr().out
    assert ("webcam0 gives no more frames" in caplog.text) == (interrupted_at is None)
    assert names("found") == ["predictions.json", "webcam0.mp4"]
    assert cv2.VideoCapture("found/webcam0.mp4").get(cv2.CAP_PROP_FRAME_COUNT) == frames
    assert len(json.loads(Path("found/predictions.json").read_text())["images"]) == frames
