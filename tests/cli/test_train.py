import json
import os
import shutil

import pytest
import torch
from PIL import Image

from det2lite.checkpoint import read_run_info
from det2lite.config import get_cfg
from det2lite.engine import DefaultTrainer
from det2lite.utils.file_io import PathManager

NAMES = ["circle", "rectangle", "triangle", "star", "cross"]


def config_of(folder):
    cfg = get_cfg()
    cfg.merge_from_file(os.path.join(folder, "config.yaml"))
    return cfg


def weights(path):
    return torch.load(path, weights_only=True)["model"]


def test_a_folder_in_cocos_layout(trained, shapes):
    log = (trained / "log.txt").read_text()
    assert "coco: COCO, known by annotations/instances_train.json" in log
    assert "training: 6 images with" in log and f"5 classes: {', '.join(NAMES)}" in log
    assert "batch: 2 images over 1 process (as asked for" in log
    assert "length: 1 epochs of 3 iterations, 3 in all" in log
    assert "learning rate: 0.0002 (the config's 0.0016 is for 16 images a step), rising over 1 iterations" in log
    cfg = config_of(trained)
    assert cfg.SOLVER.MAX_ITER == 3 and cfg.SOLVER.STEPS == (2, 3) and cfg.SOLVER.BASE_LR == pytest.approx(0.0002)
    assert cfg.MODEL.ROI_HEADS.NUM_CLASSES == cfg.MODEL.RETINANET.NUM_CLASSES == 5
    assert cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES == 54  # maps are of something else
    assert cfg.DATASETS.REGISTER[1] == [
        "coco_val", str(shapes / "coco/annotations/instances_val.json"), str(shapes / "coco/val")
    ]  # fmt: skip
    assert not (trained / "converted").exists()
    run = read_run_info(str(trained / "model_final.pth"))
    assert run["class_names"] == NAMES and run["category_ids"] == [1, 2, 4, 5, 7]
    assert (trained / "inference" / "coco_instances_results.json").exists()


@pytest.mark.parametrize(("layout", "title"), [("yolo", "YOLO"), ("voc", "Pascal VOC")])
def test_other_layouts_are_recognised(det2lite, shapes, layout, title):
    words = ["--data", shapes / layout, "--model", shapes / "tiny.yaml", "--output", "out", "--dry-run"]
    shown = det2lite("train", *words, "MODEL.MASK_ON", "False", "SOLVER.IMS_PER_BATCH", "1")
    assert f"{layout}: {title}, known by" in shown and "validation: 2 images" in shown
    cfg = config_of("out")
    assert cfg.SOLVER.IMS_PER_BATCH == 1 and not cfg.MODEL.MASK_ON  # the command line wins over what was chosen
    assert cfg.DATASETS.TRAIN == (f"{layout}_train",)
    json_file, root = cfg.DATASETS.REGISTER[0][1:]
    assert os.path.dirname(json_file) == os.path.abspath("out/converted") and root.startswith(str(shapes / layout))
    assert sorted(os.listdir("out")) == ["config.yaml", "converted", "log.txt"]
    det2lite("train", *words, "MODEL.MASK_ON", "False")  # nothing was trained there: it may be prepared again
    shown = det2lite("train", "--config-file", "out/config.yaml", "SOLVER.MAX_ITER", "1", "SOLVER.IMS_PER_BATCH", "1")
    assert "Task: bbox" in shown and "done: out/model_final.pth" in shown


def test_a_part_is_split_off_where_there_is_no_validation(det2lite, shapes, tmp_path):
    shutil.copytree(shapes / "coco" / "train", tmp_path / "cells" / "train")
    shutil.copy(shapes / "coco/annotations/instances_train.json", tmp_path / "cells" / "train.json")
    words = ["--data", "cells", "--model", shapes / "tiny.yaml", "--dry-run"]
    shown = det2lite("train", *words, "--output", "a")
    assert "20% of the images of 'train' are (seed 1)" in shown and "validation: 1 images" in shown
    det2lite("train", *words, "--output", "b")
    for name in ("train.json", "val.json"):
        assert (tmp_path / "a/converted" / name).read_text() == (tmp_path / "b/converted" / name).read_text()
    det2lite("train", *words, "--output", "c", "--val", shapes / "coco")
    assert "instances_val" not in str(config_of("c").DATASETS.REGISTER) and len(os.listdir("c/converted")) == 2


def test_resuming_in_a_new_process(det2lite, trained, tmp_path):
    shutil.copytree(trained, tmp_path / "run")
    final = weights("run/model_final.pth")
    os.remove("run/model_final.pth")
    (tmp_path / "run" / "last_checkpoint").write_text("model_0000002.pth")
    shown = det2lite("train", "--resume", "--output", "run", "SOLVER.MAX_ITER", "4")
    assert "Starting training from iteration 3" in shown
    resumed = weights("run/model_final.pth")
    assert final.keys() == resumed.keys() and not torch.equal(
        *(w["backbone.fpn_output2.weight"] for w in (final, resumed))
    )


def test_a_run_is_never_overwritten_unasked(det2lite, trained, shapes, tmp_path):
    shutil.copytree(trained, tmp_path / "run")
    kept = (tmp_path / "run" / "model_final.pth").read_bytes()
    words = ["--data", shapes / "coco", "--model", shapes / "tiny.yaml", "--output", "run"]
    error = det2lite("train", *words, status=1)
    assert "run holds a run already" in error and "--resume" in error and "--overwrite" in error
    assert (tmp_path / "run" / "model_final.pth").read_bytes() == kept
    error = det2lite("train", *words, "--overwrite", "--weights", "run/model_final.pth", status=1)
    assert "part of the run that --overwrite removes" in error
    (tmp_path / "run" / "model_zoo.pth").write_text("mine")
    det2lite("train", *words, "--overwrite", "--dry-run")
    assert set(os.listdir("run")) == {"config.yaml", "inference", "log.txt", "model_zoo.pth"}


def test_the_same_command_with_resume(det2lite, trained, shapes, tmp_path):
    shutil.copytree(trained, tmp_path / "run")
    words = ["--data", shapes / "coco", "--model", shapes / "tiny.yaml", "--batch", "2", "--epochs", "1"]
    shown = det2lite("train", *words, "--output", "run", "--resume")
    assert "Starting training from iteration 3" in shown and "known by" not in shown


def test_from_the_weights_of_a_run(det2lite, trained, shapes):
    words = ["--data", shapes / "yolo", "--weights", trained / "model_final.pth", "--dry-run", "MODEL.MASK_ON", "False"]
    det2lite("train", *words)
    cfg = config_of("output")  # another run, though the config is the checkpoint's
    assert cfg.MODEL.WEIGHTS == str(trained / "model_final.pth") and cfg.MODEL.RESNETS.DEPTH == 18
    assert cfg.DATASETS.TRAIN == ("yolo_train",) and cfg.MODEL.DEVICE == "auto"


def test_from_scratch(det2lite, shapes):
    words = ["--data", shapes / "coco", "--model", "mask_rcnn_R_50_FPN_1x", "--weights", "", "--dry-run"]
    assert "from scratch: no frozen stage, group norm" in det2lite("train", *words)
    cfg = config_of("output")
    assert cfg.MODEL.WEIGHTS == "" and cfg.MODEL.BACKBONE.FREEZE_AT == 0 and cfg.MODEL.RESNETS.NORM == "GN"


def test_weights_that_cannot_be_fetched(det2lite, shapes, monkeypatch):
    def no_connection(path, *args, **kwargs):
        from det2lite.utils.errors import MissingFile

        raise MissingFile(f"cannot download {path}; check the connection")

    monkeypatch.setattr(PathManager, "get_local_path", no_connection)
    words = ["--data", shapes / "coco", "--model", "faster_rcnn_R_50_FPN_1x"]
    error = det2lite("train", *words, status=1)
    assert 'or train without pre-trained weights: --weights ""' in error


def test_a_validation_image_that_is_missing_stops_at_once(det2lite, tmp_path):
    for split, stored in (("train", "a.png"), ("val", "other.png")):
        (tmp_path / "data" / split).mkdir(parents=True)
        Image.new("RGB", (32, 32)).save(tmp_path / "data" / split / stored)
        Image.new("RGB", (32, 32)).save(tmp_path / "data" / split / "b.png")
        images = [{"id": i, "file_name": name, "width": 32, "height": 32} for i, name in enumerate(("a.png", "b.png"))]
        box = {"id": 1, "image_id": 0, "category_id": 1, "bbox": [1, 1, 9, 9], "area": 81, "iscrowd": 0}
        content = {"images": images, "annotations": [box], "categories": [{"id": 1, "name": "cell"}]}
        (tmp_path / "data" / split / "_annotations.coco.json").write_text(json.dumps(content))
    words = ["--data", tmp_path / "data", "--model", "faster_rcnn_R_50_FPN_1x", "--weights", "", "--dry-run"]
    error = det2lite("train", *words, status=1)
    assert "'data_val': missing-image: image 0" in error


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--data", "{shapes}/coco"], "which model?"),
        (["--model", "{shapes}/tiny.yaml", "--epochs", "3"], "--epochs goes with --data"),
        (["--weights", "a.pth"], "which data?"),
        (["--resume"], "output holds no run to go on with"),
        (["--resume", "--overwrite", "--output", "x"], "give one of them"),
        (["--data", "nowhere", "--model", "{shapes}/tiny.yaml"], "nowhere"),
        (["--data", "{shapes}/coco", "--model", "mask_rcnn_R_50_FPN_1y"], "did you mean"),
        (["--data", "{shapes}/voc", "--model", "{shapes}/tiny.yaml"], "take one of boxes"),
        (["--data", "{shapes}/photos", "--model", "{shapes}/tiny.yaml"], "annotat"),
        (["--data", "{shapes}/coco", "--model", "keypoint_rcnn_R_50_FPN_1x"], "keypoints"),
        (["--data", "{shapes}/coco", "--model", "panoptic_fpn_R_50_1x"], "PanopticFPN"),
        (["--data", "{shapes}/coco", "--model", "{shapes}/tiny.yaml", "--batch", "0"], "--batch 0"),
        (["--data", "{shapes}/coco", "--model", "{shapes}/tiny.yaml", "--epochs", "0"], "--epochs 0"),
        (["--data", "{shapes}/coco", "--model", "{shapes}/tiny.yaml", "SOLVER.BASE_LRR", "1"], "SOLVER.BASE_LR"),
    ],
)
def test_mistakes_are_one_line(det2lite, shapes, words, message):
    error = det2lite("train", *(word.format(shapes=shapes) for word in words), status=1)
    assert error.startswith("error: ") and message in error and len(error.splitlines()) == 1
    assert not os.path.exists("output/config.yaml")


@pytest.mark.parametrize("key", ["MODEL.NUM_CLASSES", "MODEL.ROI_HEADS.NUM_CLASSES"])
def test_another_class_count_than_the_data_has_stops(det2lite, shapes, key):
    words = ["--data", shapes / "coco", "--model", shapes / "tiny.yaml", key, "77"]
    assert f"{key} is 77, but data set" in det2lite("train", *words, status=1)


def test_an_interruption(det2lite, shapes, monkeypatch):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("det2lite.engine.trainer.DefaultTrainer.run_step", interrupted)
    words = ["--data", shapes / "coco", "--model", shapes / "tiny.yaml", "--batch", "2"]
    assert det2lite("train", *words, status=130) == "interrupted\n"


def test_an_interruption_behind_a_checkpoint_says_how_to_go_on(det2lite, shapes, monkeypatch):
    run_step = DefaultTrainer.run_step

    def interrupted(trainer):
        if trainer.iter == 2:
            raise KeyboardInterrupt
        run_step(trainer)

    monkeypatch.setattr(DefaultTrainer, "run_step", interrupted)
    words = ["--data", shapes / "coco", "--model", shapes / "tiny.yaml", "--batch", "2"]
    said = det2lite("train", *words, "--output", "a run", "SOLVER.CHECKPOINT_PERIOD", "1", status=130)
    assert "`det2lite train --resume --output 'a run'` goes on" in said and said.endswith("interrupted\n")
