import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from det2lite.apis.detector import detector_config
from det2lite.checkpoint import DetectionCheckpointer
from det2lite.config import get_cfg
from det2lite.data import MetadataCatalog
from det2lite.modeling import build_model
from det2lite.structures import Boxes, Instances
from det2lite.utils.errors import UserError

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "demo"))
spec = importlib.util.spec_from_file_location("det2lite_demo_script", ROOT / "demo" / "demo.py")
demo = importlib.util.module_from_spec(spec)
spec.loader.exec_module(demo)

import predictor  # noqa: E402  (a script's folder is no package)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A tiny detector with the classes of the data set `demo_test_train`, as a training run saves it."""
    MetadataCatalog.get("demo_test_train").thing_classes = ["ant", "bee", "fly"]
    cfg = get_cfg()
    cfg.merge_from_file(str(ROOT / "configs/quick_start/mask_rcnn_shapes.yaml"))
    cfg.merge_from_list(["MODEL.DEVICE", "cpu", "MODEL.ROI_HEADS.NUM_CLASSES", 3, "INPUT.MIN_SIZE_TEST", 64])
    cfg.merge_from_list(["DATASETS.TRAIN", "('demo_test_train',)", "DATASETS.TEST", "()"])
    folder = tmp_path_factory.mktemp("run")
    torch.manual_seed(0)
    checkpointer = DetectionCheckpointer(build_model(cfg), str(folder))
    checkpointer.attach_config(cfg)
    checkpointer.save("model")
    MetadataCatalog.remove("demo_test_train")  # as in another process
    return str(folder / "model.pth")


def write_image(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8))
    return str(path)


def run(checkpoint, *arguments, threshold="0.1"):
    return demo.main([*arguments, "--confidence-threshold", threshold, "--opts", "MODEL.WEIGHTS", checkpoint])


def test_images_to_a_folder(checkpoint, tmp_path, capsys):
    inputs = [write_image(tmp_path / "a" / "x.png"), write_image(tmp_path / "b" / "x.png")]
    assert run(checkpoint, "--input", *inputs, "--output", str(tmp_path / "out")) == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["x.png", "x_2.png"]
    assert cv2.imread(str(tmp_path / "out" / "x_2.png")).shape == (40, 60, 3)


def test_unreadable_images_are_named_and_tell_the_exit_status(checkpoint, tmp_path, capsys):
    (tmp_path / "bad.jpg").write_text("no image")
    inputs = [str(tmp_path / "bad.jpg"), write_image(tmp_path / "good.png"), str(tmp_path / "gone.jpg")]
    assert run(checkpoint, "--input", *inputs, "--output", str(tmp_path / "out")) == 1
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["good.png"]
    printed = capsys.readouterr().out
    assert "bad.jpg" in printed and "gone.jpg" in printed and "2 could not be read" in printed


def test_video(checkpoint, tmp_path):
    writer = cv2.VideoWriter(str(tmp_path / "in.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48))
    for shift in range(3):
        frame = np.zeros((48, 64, 3), np.uint8)
        frame[10:30, 10 + shift : 30 + shift] = 255
        writer.write(frame)
    writer.release()
    assert run(checkpoint, "--video-input", str(tmp_path / "in.avi"), "--output", str(tmp_path / "out")) == 0
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["in.avi"]
    assert int(cv2.VideoCapture(str(tmp_path / "out" / "in.avi")).get(cv2.CAP_PROP_FRAME_COUNT)) == 3


def test_errors_are_one_line(checkpoint, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    image, out = write_image(tmp_path / "x.png"), str(tmp_path / "out")
    config = str(ROOT / "configs/quick_start/mask_rcnn_shapes.yaml")
    for arguments, words in [
        (["--input", image, "--opts", "MODEL.WEIGHTS", checkpoint], "no display"),
        (["--input", image, "--output", out], "which model"),
        (["--config-file", config, "--input", image, "--output", out], "MODEL.WEIGHTS is empty"),
        (["--input", image, "--output", out, "--confidence-threshold", "7"], "0..1"),
        (["--input", str(tmp_path / "*.gif"), "--output", out, "--opts", "MODEL.WEIGHTS", checkpoint], "*.gif"),
        (["--video-input", image + "x", "--output", out, "--opts", "MODEL.WEIGHTS", checkpoint], "no such video"),
        (["--video-input", image + "x", "--output", out], "no such video"),  # asked before what the model is
    ]:
        with pytest.raises(SystemExit) as stopped:
            demo.main(arguments)
        error = capsys.readouterr().err
        assert stopped.value.code == 1 and words in error and len(error.splitlines()) == 1


def test_config_and_names_come_from_the_checkpoint(checkpoint):
    options = ["MODEL.WEIGHTS", checkpoint, "INPUT.MIN_SIZE_TEST", "96"]
    cfg = detector_config(options=options, score_threshold=0.5)
    assert cfg.MODEL.ROI_HEADS.NUM_CLASSES == 3 and cfg.INPUT.MIN_SIZE_TEST == 96
    assert cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST == 0.5 and cfg.MODEL.DEVICE == "auto"
    assert predictor.metadata_of(cfg).thing_classes == ["ant", "bee", "fly"]
    cfg.DATASETS.TEST = ("demo_test_named",)
    MetadataCatalog.get("demo_test_named").thing_classes = ["a", "b", "c"]
    assert predictor.metadata_of(cfg).thing_classes == ["a", "b", "c"]


def test_weights_that_do_not_fit_are_refused(checkpoint):
    cfg = detector_config(checkpoint=checkpoint)
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = 4
    with pytest.raises(UserError):
        predictor.VisualizationDemo(cfg)


class Stub(predictor.VisualizationDemo):
    """Given predictions instead of a model's."""

    def __init__(self, predictions, threshold=0.5):
        self.predictor = lambda image: predictions
        self.metadata = SimpleNamespace(stuff_classes=["sky", "sea"], thing_classes=["cat"])
        self.instance_mode = predictor.ColorMode.IMAGE
        self.confidence_threshold = threshold


def found(count):
    instances = Instances((40, 60))
    instances.pred_boxes = Boxes(torch.tensor([[10.0, 10, 30, 30]]).repeat(count, 1))
    instances.scores = torch.linspace(0.9, 0.1, count)
    instances.pred_classes = torch.zeros(count, dtype=torch.int64)
    return instances


def test_every_kind_of_prediction_is_drawn():
    proposals = Instances((40, 60), proposal_boxes=Boxes(torch.tensor([[5.0, 5, 50, 35]])))
    sem_seg = torch.stack([torch.ones(40, 60), torch.zeros(40, 60)])
    info = [{"id": 1, "category_id": 1, "isthing": False}]
    image = np.full((40, 60, 3), 90, np.uint8)
    for predictions in (
        {"instances": found(1)},
        {"proposals": proposals},
        {"sem_seg": sem_seg},
        {"sem_seg": sem_seg, "instances": found(2)},
        {"panoptic_seg": (torch.ones(40, 60, dtype=torch.int32), info), "instances": found(1), "sem_seg": sem_seg},
    ):
        _, picture = Stub(predictions).run_on_image(image)
        frames = list(Stub(predictions).run_on_video([image, image]))
        for drawn in (picture.get_image(), *frames):
            assert drawn.shape == (40, 60, 3) and drawn.dtype == np.uint8 and (drawn != 90).any()


def test_nothing_found_is_the_image_itself():
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    _, picture = Stub({"instances": found(0)}).run_on_image(image)
    assert np.array_equal(picture.get_image(), image[:, :, ::-1])
    (frame,) = Stub({"instances": found(0)}).run_on_video([image])
    assert np.array_equal(frame, image)


def test_threshold():
    predictions, _ = Stub({"instances": found(3)}, threshold=0.45).run_on_image(np.zeros((40, 60, 3), np.uint8))
    assert np.allclose(predictions["instances"].scores, [0.9, 0.5])
