import copy
import os
import platform
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from det2lite.config import get_cfg
from det2lite.data import DatasetMapper, MetadataCatalog
from det2lite.data import transforms as T
from det2lite.structures import BitMasks, BoxMode, PolygonMasks
from det2lite.utils.errors import UserError

H, W = 12, 16


@pytest.fixture
def sample(tmp_path):
    pixels = np.arange(H * W * 3, dtype=np.uint8).reshape(H, W, 3)
    Image.fromarray(pixels).save(tmp_path / "image.png")
    Image.fromarray(np.repeat(np.arange(H, dtype=np.uint8), W).reshape(H, W)).save(tmp_path / "labels.png")
    square = [2, 2, 6, 2, 6, 6, 2, 6]
    return {
        "file_name": str(tmp_path / "image.png"),
        "sem_seg_file_name": str(tmp_path / "labels.png"),
        "image_id": 5,
        "extra": {"list": [1]},
        "annotations": [
            {"bbox": [2, 2, 4, 4], "bbox_mode": BoxMode.XYWH_ABS, "category_id": 1, "segmentation": [square],
             "keypoints": [3, 3, 2, 4, 4, 1], "iscrowd": 0},
            {"bbox": [0, 0, 16, 12], "bbox_mode": BoxMode.XYXY_ABS, "category_id": 0, "segmentation": [square],
             "keypoints": [0, 0, 0, 0, 0, 0], "iscrowd": 1},
            {"bbox": [5, 5, 0, 3], "bbox_mode": BoxMode.XYWH_ABS, "category_id": 2, "segmentation": [square],
             "keypoints": [0, 0, 0, 0, 0, 0]},
        ],
    }  # fmt: skip


def mapper(**changes):
    options = {"is_train": True, "augmentations": [T.HFlipTransform(W)], "image_format": "BGR"}
    return DatasetMapper(**{**options, **changes})


def test_training_sample(sample):
    before = copy.deepcopy(sample)
    result = mapper(use_instance_mask=True)(sample)
    assert sample == before
    assert result["image_id"] == 5 and (result["height"], result["width"]) == (H, W)
    assert "annotations" not in result and "sem_seg_file_name" not in result
    pixels = np.arange(H * W * 3, dtype=np.uint8).reshape(H, W, 3)[:, ::-1, ::-1]
    assert result["image"].dtype == torch.uint8 and result["image"].is_contiguous()
    assert np.array_equal(result["image"].numpy(), pixels.transpose(2, 0, 1))
    assert result["sem_seg"].dtype == torch.int64 and result["sem_seg"][:, 0].tolist() == list(range(H))
    instances = result["instances"]  # without the crowd and the box of no width
    assert instances.gt_boxes.tensor.tolist() == [[10, 2, 14, 6]] and instances.gt_classes.tolist() == [1]
    assert isinstance(instances.gt_masks, PolygonMasks) and not instances.has("gt_keypoints")
    assert instances.image_size == (H, W)
    result["extra"]["list"].append(2)
    assert sample == before


def test_inference_sample(sample):
    result = mapper(is_train=False)(sample)
    assert set(result) == {"file_name", "image_id", "extra", "height", "width", "image"}


def test_masks_and_keypoints_are_taken_only_if_asked(sample):
    assert not mapper()(sample)["instances"].has("gt_masks")
    result = mapper(use_keypoint=True, keypoint_hflip_indices=np.array([1, 0]))(sample)["instances"]
    assert result.gt_keypoints.tensor.tolist() == [[[12, 4, 1], [13, 3, 2]]]
    masks = mapper(use_instance_mask=True, instance_mask_format="bitmask")(sample)["instances"].gt_masks
    assert isinstance(masks, BitMasks) and masks.tensor[0, 2:6, 10:14].all() and masks.tensor.sum() == 16


def test_boxes_are_recomputed_after_a_crop(sample):
    diamond = [4, 2, 6, 4, 4, 6, 2, 4]
    sample["annotations"] = [{**sample["annotations"][0], "segmentation": [diamond]}]
    options = {"augmentations": [T.CropTransform(5, 0, 11, 12)], "use_instance_mask": True}
    loose = mapper(**options)(sample)["instances"].gt_boxes.tensor
    tight = mapper(**options, recompute_boxes=True)(sample)["instances"].gt_boxes.tensor
    assert loose.tolist() == [[0, 2, 1, 6]] and tight.tolist() == [[0, 3, 1, 5]]
    with pytest.raises(AssertionError, match="recompute_boxes"):
        mapper(recompute_boxes=True)


def test_nothing_left_or_nothing_annotated(sample):
    far = mapper(augmentations=[T.CropTransform(10, 8, 4, 4)], use_instance_mask=True, recompute_boxes=True)
    assert len(far(sample)["instances"]) == 0
    sample["annotations"] = []
    result = far(sample)
    assert len(result["instances"]) == 0 and result["image"].shape == (3, 4, 4)
    del sample["annotations"]
    assert "instances" not in far(sample)


def test_large_scale_jitter(sample, monkeypatch):
    """The image 12x16 at any scale into 24x32, then cropped or padded to just that; boxes follow their masks."""
    cfg = get_cfg()
    cfg.MODEL.MASK_ON = True
    cfg.INPUT.RANDOM_FLIP = "none"
    cfg.INPUT.LARGE_SCALE_JITTER.ENABLED = True
    cfg.INPUT.LARGE_SCALE_JITTER.SIZE = [24, 32]
    cfg.INPUT.LARGE_SCALE_JITTER.SCALE = [0.5, 0.5]
    result = DatasetMapper(cfg, is_train=True)(sample)
    assert result["image"].shape == (3, 24, 32)
    assert (result["image"][:, 12:] == 128).all() and (result["image"][:, :, 16:] == 128).all()
    assert result["instances"].gt_boxes.tensor.tolist() == [[2, 2, 6, 6]] * 2  # the box of no width has a mask
    cfg.INPUT.LARGE_SCALE_JITTER.SCALE = [2.0, 2.0]  # 48x64, four times the image
    monkeypatch.setattr(np.random, "uniform", lambda low, high: low)  # the crop begins at the corner
    result = DatasetMapper(cfg, is_train=True)(sample)
    assert result["image"].shape == (3, 24, 32)
    assert result["instances"].gt_boxes.tensor.tolist() == [[8, 8, 24, 24]] * 2
    assert [type(a) for a in DatasetMapper(cfg, is_train=False).augmentations.augs] == [T.ResizeShortestEdge]
    cfg.INPUT.LARGE_SCALE_JITTER.SCALE = [2.0, 0.1]
    with pytest.raises(UserError, match=r"INPUT.LARGE_SCALE_JITTER: SIZE \[24, 32\] .* SCALE \[2.0, 0.1\]"):
        DatasetMapper(cfg, is_train=True)


def test_augmentations_see_boxes(sample):
    class Seen(T.Augmentation):
        def get_transform(self, image, boxes):
            seen.append(boxes)
            return T.NoOpTransform()

    seen = []
    mapper(augmentations=[Seen()])(sample)
    mapper(augmentations=[Seen()], is_train=False)(sample)
    assert seen[0].tolist() == [[2, 2, 6, 6], [5, 5, 5, 8]] and seen[1] is None


def test_grey_images(sample):
    image = mapper(image_format="L", augmentations=[T.Resize(1)])(sample)["image"]
    assert image.shape == (1, 1, 1)
    image[0] = 3  # the tensor owns its memory


def test_proposals(sample):
    sample["proposal_boxes"] = np.array([[0.0, 0, 4, 4], [8, 8, 16, 12]], dtype=np.float32)
    sample["proposal_objectness_logits"] = np.array([2.0, 1.0])
    sample["proposal_bbox_mode"] = BoxMode.XYXY_ABS
    for is_train in (True, False):
        proposals = mapper(precomputed_proposal_topk=1, is_train=is_train)(sample)["proposals"]
        assert proposals.proposal_boxes.tensor.tolist() == [[12, 0, 16, 4]]
    assert sample["proposal_boxes"][0].tolist() == [0, 0, 4, 4]
    assert "proposals" not in mapper()(sample)


def test_wrong_size_and_missing_file(sample):
    with pytest.raises(UserError, match="annotated as 12 x 16"):
        mapper()({**sample, "height": W, "width": H})
    with pytest.raises(FileNotFoundError, match=r"none\.png"):
        mapper()({**sample, "file_name": "none.png"})


def test_from_config(sample):
    cfg = get_cfg()
    plain = DatasetMapper(cfg, is_train=True)
    assert plain.is_train and plain.image_format == "BGR" and plain.proposal_topk is None
    assert [type(aug) for aug in plain.augmentations.augs] == [T.ResizeShortestEdge, T.RandomFlip]
    assert not plain.use_instance_mask and not plain.recompute_boxes

    name = "test_dataset_mapper_keypoints"
    MetadataCatalog.get(name).set(keypoint_names=("l", "r"), keypoint_flip_map=(("l", "r"),))
    cfg.DATASETS.TRAIN = (name,)
    cfg.INPUT.CROP.ENABLED = cfg.MODEL.MASK_ON = cfg.MODEL.KEYPOINT_ON = cfg.MODEL.LOAD_PROPOSALS = True
    cfg.INPUT.MASK_FORMAT = "bitmask"
    try:
        train, test = DatasetMapper(cfg, True), DatasetMapper(cfg, False)
        replaced = DatasetMapper(cfg, is_train=False, augmentations=[T.Resize(4)], use_keypoint=False)
    finally:
        MetadataCatalog.remove(name)
    assert replaced(sample)["image"].shape == (3, 4, 4) and not replaced.use_keypoint
    crop = train.augmentations.augs[0]
    assert isinstance(crop, T.RandomCrop) and crop.crop_type == "relative_range"
    assert train.recompute_boxes and not test.recompute_boxes
    assert train.use_keypoint and list(train.keypoint_hflip_indices) == [1, 0]
    assert (train.proposal_topk, test.proposal_topk) == (2000, 1000)
    assert train.instance_mask_format == "bitmask"
    assert [type(aug) for aug in test.augmentations.augs] == [T.ResizeShortestEdge]


def test_same_seed_same_sample(sample):
    cfg = get_cfg()
    cfg.INPUT.MIN_SIZE_TRAIN = (20, 24, 28, 32)
    cfg.INPUT.CROP.ENABLED = True
    augment = DatasetMapper(cfg, is_train=True)
    images = []
    for seed in (1, 1, 2):
        np.random.seed(seed)
        images.append(augment(sample)["image"])
    assert torch.equal(images[0], images[1])
    assert images[0].shape != images[2].shape or not torch.equal(images[0], images[2])


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_images_are_made_in_the_memory_of_those_before(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(4):
        pixels = rng.integers(0, 256, (480, 600 + 8 * number, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.jpg")
    script = f"""
import resource
from det2lite.data import DatasetMapper, transforms as T
mapper = DatasetMapper(True, augmentations=[T.ResizeShortestEdge(800), T.RandomFlip()], image_format="BGR")
for count in range(40):
    if count == 20:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    mapper({{"file_name": f"{tmp_path}/{{count % 4}}.jpg"}})
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("MALLOC_")}
    run = subprocess.run([sys.executable, "-c", script], env=inherited, capture_output=True, text=True, check=True)
    assert int(run.stdout) < 20 * 100  # otherwise about 2000 pages for each image
