from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from det2lite.apis import DetectionResult, Tiling, inference_detector, init_detector
from det2lite.apis.classes import classes_of
from det2lite.apis.detector import detector_config
from det2lite.config import get_cfg
from det2lite.data import MetadataCatalog
from det2lite.utils.errors import BadValue, MissingFile, UserError

ROOT = Path(__file__).parents[2]
NAMES, IDS = ["sky", "grass", "fire"], (3, 7, 12)  # of the models in conftest.py
SIZES = [(40, 60), (60, 40), (50, 50), (41, 60), (64, 100), (40, 59)]


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def assert_same(result, other):
    assert len(result) == len(other) and result.image_size == other.image_size
    assert np.allclose(result.boxes, other.boxes, atol=1e-3) and np.allclose(result.scores, other.scores, atol=1e-5)
    assert np.array_equal(result.class_ids, other.class_ids)
    assert (result.masks != other.masks).mean() < 1e-4  # at half a pixel's share


def test_batches_give_what_single_images_give(mask_rcnn):
    images = [noise(*size, seed) for seed, size in enumerate(SIZES * 3)]
    alone = [inference_detector(mask_rcnn, image) for image in images]
    assert sum(map(len, alone)) > 100  # of nothing, but of something
    for batch_size in (2, 8):
        for result, expected in zip(inference_detector(mask_rcnn, images, batch_size=batch_size), alone, strict=True):
            assert_same(result, expected)


def test_what_the_model_pads_alike_shares_a_batch(mask_rcnn, blobs, scene):
    groups = [mask_rcnn.prepare(0, noise(*size)).group for size in ((40, 60), (40, 59), (60, 40), (40, 58))]
    assert groups[0] == groups[1] == groups[3] and groups[0] != groups[2]
    assert mask_rcnn.prepare(0, noise(40, 60).astype(np.float32) / 2).group != groups[0]
    images = [scene(8, 8 + (k % 2)) for k in range(7)]
    inference_detector(blobs, images, batch_size=3)
    assert blobs.model.batches == [3, 3, 1]


def test_everything_comes_from_the_checkpoint(blob_checkpoint, scene):
    model = init_detector(checkpoint=blob_checkpoint)
    assert model.class_names == NAMES and model.classes.category_ids == IDS and not model.model.training
    result = inference_detector(model, scene(20, 30, (2, 3, 12, 9, 2), (20, 10, 25, 15, 0)))
    assert isinstance(result, DetectionResult) and result.class_names == ["sky", "fire"]
    assert result.boxes.tolist() == [[20, 10, 25, 15], [2, 3, 12, 9]] and result.scores.tolist() == [1, 1]
    assert [entry["category_id"] for entry in result.to_coco(5)] == [3, 12]
    assert init_detector(checkpoint=blob_checkpoint, class_names=["a", "b", "c"]).class_names == ["a", "b", "c"]
    assert init_detector(options=["MODEL.WEIGHTS", blob_checkpoint]).class_names == NAMES


def test_the_checkpoint_knows_better_than_the_catalog():
    cfg = get_cfg()
    cfg.DATASETS.TEST = ("api_test_registered",)
    known = MetadataCatalog.get("api_test_registered")
    known.set(thing_classes=["x", "y"], thing_colors=[(1, 1, 1)] * 2, thing_dataset_id_to_contiguous_id={9: 1, 4: 0})
    try:
        run = {"class_names": ["a", "b"], "category_ids": [1, 2], "metadata": {"keypoint_names": ["tip"]}}
        carried = classes_of(cfg, run)
        assert carried.names == ("a", "b") and carried.category_ids == (1, 2)
        assert carried.metadata.keypoint_names == ["tip"] and carried.metadata.thing_classes == ["a", "b"]
        registered = classes_of(cfg, {})
        assert registered.names == ("x", "y") and registered.category_ids == (4, 9)
        same = classes_of(cfg, {"class_names": ["x", "y"], "category_ids": [5, 6]})
        assert same.metadata is known and same.category_ids == (5, 6)
    finally:
        MetadataCatalog.remove("api_test_registered")
    nothing = classes_of(get_cfg(), {})
    assert nothing.names == () and nothing.name(3) == "3" and nothing.category_id(3) == 3 and nothing.categories() == []


def test_configs_of_every_kind(blob_checkpoint):
    name = "quick_start/mask_rcnn_shapes"
    by_name = detector_config(name, "weights.pth")
    by_path = detector_config(ROOT / "configs" / f"{name}.yaml", "weights.pth")
    assert by_name == by_path == detector_config(by_name, "weights.pth")
    assert by_name.MODEL.WEIGHTS == "weights.pth" and by_name.MODEL.MASK_ON
    assert detector_config("mask_rcnn_shapes", "weights.pth") == by_name
    zoo = detector_config("faster_rcnn_R_50_FPN_1x")
    assert zoo == detector_config("COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml")
    assert zoo.MODEL.WEIGHTS.startswith("https://") and zoo.MODEL.WEIGHTS.endswith(".pkl")
    changed = detector_config(None, blob_checkpoint, options=["INPUT.MIN_SIZE_TEST", 99], score_threshold=0.25)
    assert changed.INPUT.MIN_SIZE_TEST == 99 and changed.MODEL.DEVICE == "auto"
    assert changed.MODEL.ROI_HEADS.SCORE_THRESH_TEST == changed.MODEL.RETINANET.SCORE_THRESH_TEST == 0.25
    given = get_cfg()
    given.freeze()
    assert detector_config(given, "x.pth").MODEL.WEIGHTS == "x.pth" and given.MODEL.WEIGHTS == ""


def test_scores_below_the_threshold_are_left_out(blob_checkpoint, scene):
    image = scene(20, 30, (2, 3, 12, 9, 2), (15, 3, 25, 9, 1))
    image[3:6, 20:25] = 60  # an L that fills three quarters of its box
    for threshold, count in ((None, 2), (0.75, 2), (0.76, 1)):
        assert len(init_detector(checkpoint=blob_checkpoint, score_threshold=threshold)(image)) == count


def test_mistakes(blobs, blob_checkpoint, tmp_path, scene):
    torch.save({"model": {"weight": torch.ones(1)}}, tmp_path / "foreign.pth")
    for call, words in (
        (lambda: init_detector(), "which model"),
        (lambda: init_detector(checkpoint=tmp_path / "foreign.pth"), "no config of its own"),
        (lambda: init_detector(checkpoint=tmp_path / "gone.pth"), "no checkpoint file"),
        (lambda: init_detector("quick_start/mask_rcnn_shapes_x", "x.pth"), "did you mean"),
        (lambda: init_detector(ROOT / "configs/quick_start/mask_rcnn_shapes.yaml"), "MODEL.WEIGHTS is empty"),
        (lambda: init_detector(checkpoint=blob_checkpoint, score_threshold=7), "0..1"),
        (lambda: init_detector(checkpoint=blob_checkpoint, device="tpu9"), "not a device"),
        (lambda: inference_detector(blobs, scene(4, 4), batch_size=0), "at least 1"),
        (lambda: inference_detector(blobs, [scene(4, 4), tmp_path / "gone.jpg"]), "does not exist"),
    ):
        with pytest.raises(UserError, match=words) as raised:
            call()
        assert "\n" not in str(raised.value)


def test_one_image_several_and_none(blobs, tmp_path, scene):
    path = tmp_path / "名 前.png"
    cv2.imencode(".png", scene(9, 9, (1, 1, 4, 4, 0)))[1].tofile(path)
    one = inference_detector(blobs, path)
    assert len(one) == 1 and one.source == str(path)
    assert inference_detector(blobs, []) == []
    assert [len(result) for result in inference_detector(blobs, [path])] == [1]
    assert [len(result) for result in blobs(np.stack([scene(5, 5), scene(5, 5, (0, 0, 5, 5, 1))]))] == [0, 1]
    assert len(blobs(scene(1, 1, (0, 0, 1, 1, 0)))) == 1


def test_a_stream_goes_on_behind_broken_images(blobs, tmp_path, scene):
    (tmp_path / "text.jpg").write_text("no image")
    sources = [scene(5, 5), tmp_path / "text.jpg", scene(7, 7, (0, 0, 3, 3, 0)), tmp_path / "gone.jpg", scene(5, 5)]
    found = list(blobs.stream(sources, batch_size=2))
    assert [one.index for one in found] == [0, 1, 2, 3, 4]
    assert [None if one.result is None else len(one.result) for one in found] == [0, None, 1, None, 0]
    assert "not an image" in str(found[1].error) and isinstance(found[3].error, MissingFile)
    tiled = list(blobs.stream(sources, tiling=Tiling(4, 2)))
    assert [one.error is None for one in tiled] == [True, False, True, False, True]
    assert tiled[2].result.boxes.tolist() == [[0, 0, 3, 3]] and tiled[2].image.shape == (7, 7, 3)


def test_several_threads_share_a_detector(mask_rcnn):
    images = [noise(40, 60, seed) for seed in range(6)]
    expected = [mask_rcnn(image) for image in images]
    with ThreadPoolExecutor(3) as pool:
        for result, alone in zip(pool.map(mask_rcnn, images), expected, strict=True):
            assert_same(result, alone)


def test_batch_sizes(blobs):
    assert blobs.default_batch_size == 1
    with pytest.raises(BadValue):
        list(blobs.stream([], batch_size=1.5))
