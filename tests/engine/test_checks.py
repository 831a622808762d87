import json
import logging
import sys

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from det2lite.config import get_cfg
from det2lite.data import DatasetCatalog, MetadataCatalog
from det2lite.data.datasets import register_coco_instances
from det2lite.engine import DefaultPredictor, DefaultTrainer, default_setup, load_weights
from det2lite.engine.checks import (
    ClassMismatch,
    check_class_count,
    check_classes_of_data,
    check_classes_of_weights,
    check_training_config,
    resolve_class_counts,
    warn_of_foreign_classes,
    warn_of_frozen_random_layers,
)
from det2lite.layers import FrozenBatchNorm2d
from det2lite.utils.errors import UserError


@pytest.fixture
def dataset():
    name = "checks_of_three_classes"
    MetadataCatalog.get(name).thing_classes = ["circle", "square", "star"]
    yield name
    MetadataCatalog.pop(name)


@pytest.mark.parametrize(("architecture", "node"), [("GeneralizedRCNN", "ROI_HEADS"), ("RetinaNet", "RETINANET")])
def test_class_count(dataset, architecture, node):
    cfg = get_cfg()
    cfg.MODEL.META_ARCHITECTURE = architecture
    with pytest.raises(UserError, match=rf"MODEL.{node}.NUM_CLASSES is 80.* 3 classes.*NUM_CLASSES 3") as caught:
        check_class_count(cfg, [dataset])
    assert isinstance(caught.value, ValueError) and "circle, square, star" in str(caught.value)
    cfg.MODEL[node].NUM_CLASSES = 3
    check_class_count(cfg, [dataset])


def test_what_cannot_be_known_is_left_alone(dataset):
    cfg = get_cfg()
    check_class_count(cfg, [])
    check_class_count(cfg, ["checks_of_no_known_classes"])
    cfg.MODEL.META_ARCHITECTURE = "SomebodysOwn"
    check_class_count(cfg, [dataset])
    MetadataCatalog.pop("checks_of_no_known_classes")


def test_frozen_layers_without_weights(caplog):
    cfg = get_cfg()
    frozen = nn.Sequential(nn.Conv2d(3, 4, 1), FrozenBatchNorm2d(4), nn.Conv2d(4, 4, 1))
    frozen[0].requires_grad_(False)  # weight and bias
    with caplog.at_level(logging.WARNING, "det2lite"):
        warn_of_frozen_random_layers(cfg, nn.Conv2d(3, 4, 1))
        cfg.MODEL.WEIGHTS = "weights.pth"
        warn_of_frozen_random_layers(cfg, frozen)
        assert not caplog.records
        cfg.MODEL.WEIGHTS = ""
        warn_of_frozen_random_layers(cfg, frozen)
    assert "2 parameters and 1 batch norms are frozen" in caplog.text and "FREEZE_AT 0" in caplog.text


@pytest.fixture
def weights(tmp_path):
    path = str(tmp_path / "of_three.pth")
    torch.save({"model": {}, "run": {"class_names": ["circle", "star", "square"]}}, path)
    return path


def test_lists_stand_side_by_side(dataset, weights):
    cfg = get_cfg()
    for purpose, remedy in (("evaluate", "data of its own classes"), ("resume", "train anew from its weights")):
        with pytest.raises(ClassMismatch, match=f"cannot {purpose} .*{remedy}") as caught:
            check_classes_of_weights(cfg, weights, [dataset], purpose)
        assert str(caught.value).split("\n")[1:] == [
            f"     of_three.pth  data set '{dataset}'",
            "  0  circle        circle",
            "* 1  star          square",
            "* 2  square        star",
        ]
    cfg.MODEL.WEIGHTS = weights
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = 2
    with pytest.raises(UserError) as caught:  # weights of as many classes as the config could be shown; these are not
        check_class_count(cfg, [dataset])
    assert "\n" not in str(caught.value)


def test_weights_without_names_are_left_alone(dataset, tmp_path):
    torch.save({"model": {}}, tmp_path / "plain.pth")
    (tmp_path / "broken.pth").write_bytes(b"nothing")
    for path in ("", "detectron2://a.pkl", str(tmp_path / "none.pth"), tmp_path / "plain.pth", tmp_path / "broken.pth"):
        check_classes_of_weights(get_cfg(), str(path), [dataset], "evaluate")


def test_test_data_of_other_classes(dataset):
    other = MetadataCatalog.get("checks_of_others")
    cfg = get_cfg()
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = (dataset,), ("checks_of_others", "unknown")
    check_classes_of_data(cfg)  # nothing is known of them
    other.thing_classes = ["Circle", "square", "stars"]
    with pytest.raises(ClassMismatch, match=r"other classes, or another order(.|\n)*\* 2  star +stars"):
        check_classes_of_data(cfg)
    MetadataCatalog.pop("checks_of_others")


def test_fine_tuning_from_other_classes_is_told(dataset, caplog):
    cfg = get_cfg()
    cfg.DATASETS.TRAIN = (dataset,)
    with caplog.at_level(logging.WARNING, "det2lite"):
        for names in (["circle", "square", "star"], ["cat", "dog"], []):  # the same; of another size; none
            warn_of_foreign_classes(cfg, {"run": {"class_names": names}})
        warn_of_foreign_classes(cfg, {})
        assert not caplog.records
        warn_of_foreign_classes(cfg, {"run": {"class_names": ["circle", "star", "square"]}})
    assert "have to unlearn" in caplog.text and "* 1  star" in caplog.text


@pytest.fixture
def run(tmp_path):
    """The config of a small run on a registered COCO file of two classes; `rename` gives the file others."""
    cv2.imwrite(str(tmp_path / "1.png"), np.full((48, 64, 3), 90, np.uint8))
    box = {"bbox": [5, 5, 30, 30], "area": 900, "iscrowd": 0, "image_id": 1}
    content = {"images": [{"id": 1, "file_name": "1.png", "width": 64, "height": 48}]}
    content["annotations"] = [{**box, "id": i, "category_id": i} for i in (1, 2)]
    path = tmp_path / "data.json"

    def rename(*names):
        content["categories"] = [{"id": i, "name": name} for i, name in enumerate(names, 1)]
        path.write_text(json.dumps(content))
        for catalog in (DatasetCatalog, MetadataCatalog):
            catalog.pop("checks_run", None)
        register_coco_instances("checks_run", {}, path, tmp_path)

    rename("cat", "dog")
    cfg = get_cfg()
    cfg.merge_from_text(
        """
        MODEL:
          DEVICE: cpu
          META_ARCHITECTURE: RetinaNet
          NUM_CLASSES: auto
          BACKBONE: {NAME: build_retinanet_resnet_fpn_backbone, FREEZE_AT: 0}
          RESNETS: {DEPTH: 18, RES2_OUT_CHANNELS: 64, OUT_FEATURES: [res3, res4, res5], NORM: BN}
          FPN: {IN_FEATURES: [res3, res4, res5], OUT_CHANNELS: 16}
          RETINANET: {NUM_CONVS: 1}
        INPUT: {MIN_SIZE_TRAIN: [48], MIN_SIZE_TEST: 48}
        DATALOADER: {NUM_WORKERS: 0}
        SOLVER: {MAX_ITER: 1, STEPS: [], IMS_PER_BATCH: 1, BASE_LR: 0.0001}
        """
    )
    cfg.MODEL.ANCHOR_GENERATOR.SIZES = [[16], [32], [64], [128], [256]]
    cfg.DATASETS.TRAIN = cfg.DATASETS.TEST = ("checks_run",)
    cfg.OUTPUT_DIR = str(tmp_path / "out")
    cfg.freeze()
    yield cfg, rename
    for catalog in (DatasetCatalog, MetadataCatalog):
        catalog.pop("checks_run", None)


def test_auto_count_and_changed_classes_through_a_run(run):
    cfg, rename = run
    default_setup(cfg, {})  # the one place where a config is written into
    assert cfg.is_frozen() and cfg.MODEL.NUM_CLASSES == cfg.MODEL.RETINANET.NUM_CLASSES == 2
    assert "NUM_CLASSES: auto" not in open(f"{cfg.OUTPUT_DIR}/config.yaml").read()
    trainer = DefaultTrainer(cfg)
    assert trainer.model.head.cls_score.out_channels == 3 * 2
    trainer.train()

    final = cfg.clone()
    final.defrost()
    final.MODEL.WEIGHTS = f"{cfg.OUTPUT_DIR}/model_final.pth"
    final.MODEL.NUM_CLASSES = "auto"
    DatasetCatalog.pop("checks_run")
    MetadataCatalog.pop("checks_run")
    assert resolve_class_counts(final).MODEL.NUM_CLASSES == 2  # the checkpoint says it
    assert DefaultPredictor(final).cfg.MODEL.RETINANET.NUM_CLASSES == 2

    rename("dog", "cat")
    with pytest.raises(ClassMismatch, match="cannot resume"):
        DefaultTrainer(cfg).resume_or_load(resume=True)
    with pytest.raises(ClassMismatch, match="cannot evaluate"):
        load_weights(final, DefaultTrainer.build_model(final))
    fine_tuning = DefaultTrainer(final)
    fine_tuning.resume_or_load(resume=False)  # allowed, with a warning

    rename("cat", "dog", "cow")
    with pytest.raises(UserError, match="NUM_CLASSES is 2, but data set 'checks_run' has 3 classes"):
        DefaultTrainer(cfg)
    fine_tuning = DefaultTrainer(final)  # auto: three heads now, those of the checkpoint are left out
    fine_tuning.resume_or_load(resume=False)
    assert fine_tuning.model.head.cls_score.out_channels == 3 * 3


def test_cityscapes_scripts_are_missed_before_training(monkeypatch):
    monkeypatch.setitem(sys.modules, "cityscapesscripts", None)
    cfg = get_cfg()
    cfg.DATASETS.TEST = ("cityscapes_fine_instance_seg_val",)
    with pytest.raises(UserError, match="pip install cityscapesscripts"):
        check_training_config(cfg)


def coco(folder, name, images):
    """A COCO file of 8 x 8 images, of which only a.png is there."""
    cv2.imwrite(str(folder / "a.png"), np.zeros((8, 8, 3), np.uint8))
    entries = [{"id": k, "file_name": file, "height": 8, "width": 8} for k, file in enumerate(images, 1)]
    content = {"images": entries, "annotations": [], "categories": [{"id": 1, "name": "dot"}]}
    (folder / f"{name}.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("gone", r"missing-image.*b\.png.*det2lite check"),
        ("none", "is empty"),
        ("cut", "not JSON"),
        ("no", "no such file"),
    ],
)
def test_faults_of_the_test_data_are_found_before_the_training(tmp_path, name, words):
    coco(tmp_path, "gone", ["a.png", "b.png"])
    coco(tmp_path, "none", [])
    coco(tmp_path, "whole", ["a.png"])
    (tmp_path / "cut.json").write_text('{"images": [')
    cfg = get_cfg()
    for part in ("whole", name):
        register_coco_instances(f"checks_{part}", {}, str(tmp_path / f"{part}.json"), str(tmp_path))
    try:
        cfg.DATASETS.TEST = ("checks_whole",)
        check_training_config(cfg)
        cfg.DATASETS.TEST = ("checks_whole", f"checks_{name}")
        with pytest.raises(UserError, match=words):
            check_training_config(cfg)
    finally:
        for part in ("whole", name):
            DatasetCatalog.pop(f"checks_{part}")
            MetadataCatalog.pop(f"checks_{part}")


@pytest.mark.parametrize("annotated", [False, True])
def test_test_data_without_annotations_are_told_of_before_the_training(tmp_path, caplog, annotated):
    coco(tmp_path, "bare", ["a.png"])
    if annotated:
        content = json.loads((tmp_path / "bare.json").read_text())
        content["annotations"] = [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 4, 4], "area": 16}]
        (tmp_path / "bare.json").write_text(json.dumps(content))
    cfg = get_cfg()
    register_coco_instances("checks_bare", {}, str(tmp_path / "bare.json"), str(tmp_path))
    try:
        cfg.DATASETS.TEST = ("checks_bare",)
        with caplog.at_level(logging.WARNING, "det2lite"):
            check_training_config(cfg)
    finally:
        DatasetCatalog.pop("checks_bare")
        MetadataCatalog.pop("checks_bare")
    told = [record.getMessage() for record in caplog.records if "no numbers" in record.getMessage()]
    assert len(told) == (not annotated)
    if told:
        assert "'checks_bare': none of its 1 images has an annotation" in told[0] and 'DATASETS.TEST "()"' in told[0]
