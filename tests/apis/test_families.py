"""Every kind of model goes through the same calls."""

import json

import numpy as np
import pytest
import torch

from det2lite import model_zoo
from det2lite.apis import Tiling, inference_detector, init_detector
from det2lite.checkpoint import DetectionCheckpointer
from det2lite.modeling import build_model, postprocessing
from det2lite.utils.errors import BadValue

SMALL = """
MODEL:
  DEVICE: cpu
  RESNETS: {DEPTH: 18, RES2_OUT_CHANNELS: 8, STEM_OUT_CHANNELS: 8}
  FPN: {OUT_CHANNELS: 64}
  RPN: {PRE_NMS_TOPK_TEST: 30, POST_NMS_TOPK_TEST: 10}
  ROI_BOX_HEAD: {FC_DIM: 16}
  ROI_MASK_HEAD: {NUM_CONV: 1, CONV_DIM: 8}
  ROI_KEYPOINT_HEAD: {CONV_DIMS: [8]}
  RETINANET: {TOPK_CANDIDATES_TEST: 20}
  SEM_SEG_HEAD: {CONVS_DIM: 32}
INPUT: {MIN_SIZE_TEST: 64, MAX_SIZE_TEST: 96}
TEST: {DETECTIONS_PER_IMAGE: 5}
"""
CONFIGS = {
    "COCO-Detection/retinanet_R_50_FPN_1x.yaml": set(),
    "COCO-Detection/fcos_R_50_FPN_1x.yaml": set(),
    "COCO-Detection/rpn_R_50_FPN_1x.yaml": set(),
    "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml": {"mask"},
    "COCO-Keypoints/keypoint_rcnn_R_50_FPN_1x.yaml": {"keypoints"},
    "COCO-PanopticSegmentation/panoptic_fpn_R_50_1x.yaml": {"mask"},
}


@pytest.mark.parametrize("name", CONFIGS)
def test_model(name, tmp_path):
    cfg = model_zoo.get_config(name)
    cfg.merge_from_text(SMALL)
    cfg.MODEL.WEIGHTS = ""
    torch.manual_seed(0)
    checkpointer = DetectionCheckpointer(build_model(cfg), str(tmp_path))
    checkpointer.attach_config(cfg)
    checkpointer.save("model")
    model = init_detector(checkpoint=tmp_path / "model.pth", device="cpu", score_threshold=0.0)
    images = [np.random.default_rng(k).integers(0, 256, (48, 64, 3), dtype=np.uint8) for k in range(2)]
    results = inference_detector(model, images, batch_size=2)
    for result, image in zip(results, images, strict=True):
        alone = inference_detector(model, image)
        assert len(result) == len(alone) > 0 and np.allclose(result.boxes, alone.boxes, atol=1e-2)
        entries = json.loads(json.dumps(result.to_coco(1)))
        assert len(entries) == len(result) and (result.boxes[:, 2:] >= result.boxes[:, :2]).all()
        more = CONFIGS[name]
        assert set(json.loads(json.dumps(result.to_dict()))["detections"][0]) >= {"box", "class_name", "score", *more}
        assert result.plot(score_threshold=0).size == (64, 48)
        if "panoptic" in name:
            assert result.panoptic_seg[0].shape == result.sem_seg.shape == (48, 64)
    tiled = inference_detector(model, images[0], tiling=Tiling(32, 8))
    assert len(tiled) and tiled.image_size == (48, 64)
    assert (results[0].class_names[0] == "object") == ("rpn" in name)


def test_a_model_of_pixels(tmp_path):
    cfg = model_zoo.get_config("Misc/semantic_R_50_FPN_1x.yaml")
    cfg.merge_from_text(SMALL)
    cfg.MODEL.WEIGHTS = ""
    checkpointer = DetectionCheckpointer(build_model(cfg), str(tmp_path))
    checkpointer.attach_config(cfg)
    checkpointer.save("model")
    model = init_detector(checkpoint=tmp_path / "model.pth", device="cpu")
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    result = inference_detector(model, image)
    assert len(result) == 0 and result.sem_seg.shape == (48, 64) and result.plot().size == (64, 48)
    with pytest.raises(BadValue, match="find objects"):
        inference_detector(model, image, tiling=Tiling(32, 8))


@pytest.mark.parametrize("architecture", ["PanopticFPN", "SemanticSegmentor"])
def test_maps_of_large_images_take_no_logits_of_all_classes(architecture, tmp_path, monkeypatch):
    """What the model itself gives at the size of the image, and nothing larger than a few maps on the way."""
    cfg = model_zoo.get_config("COCO-PanopticSegmentation/panoptic_fpn_R_50_1x.yaml")
    cfg.merge_from_text(SMALL)
    cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.WEIGHTS = architecture, ""
    torch.manual_seed(0)
    checkpointer = DetectionCheckpointer(build_model(cfg), str(tmp_path))
    checkpointer.attach_config(cfg)
    checkpointer.save("model")
    model = init_detector(checkpoint=tmp_path / "model.pth", device="cpu", score_threshold=0.0)
    image = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    with torch.no_grad():
        expected = model.model([model.predictor.to_input(image)])[0]
    sizes, scale = [], postprocessing.sem_seg_postprocess
    monkeypatch.setattr(
        postprocessing, "sem_seg_postprocess", lambda *words: sizes.append(len(words[0])) or scale(*words)
    )
    monkeypatch.setattr(postprocessing, "LOGITS_AT_ONCE", 0)
    result = inference_detector(model, image)
    assert {*sizes} == {1} and len(sizes) == cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES
    assert np.array_equal(result.sem_seg, expected["sem_seg"].argmax(dim=0))
    if architecture == "PanopticFPN":
        assert np.array_equal(result.panoptic_seg[0], expected["panoptic_seg"][0])
        assert len(result) and np.array_equal(result.cropped_masks.dense(), expected["instances"].pred_masks)
