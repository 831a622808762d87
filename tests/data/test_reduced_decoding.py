"""Large photographs decoded at a fraction of their size give nearly the same samples."""

import numpy as np
import pytest
import torch
from PIL import Image

from det2lite.config import get_cfg
from det2lite.data import DatasetMapper
from det2lite.data import transforms as T
from det2lite.data.image_io import read_image, read_resized
from det2lite.structures import BoxMode
from det2lite.utils.errors import UserError

H, W = 1201, 1603  # no multiple of 8


@pytest.fixture
def photograph(tmp_path):
    """`photograph(suffix, orientation)` writes a picture of waves and returns its file."""
    y, x = np.mgrid[:H, :W]
    waves = [np.sin(x / 40 + y / 90), np.sin(y / 30), np.cos((x + y) / 50)]
    pixels = (np.stack(waves, axis=2) * 100 + 128).astype(np.uint8)

    def write(suffix=".jpg", orientation=1):
        exif = Image.Exif()
        exif[274] = orientation
        path = str(tmp_path / f"picture{suffix}")
        Image.fromarray(pixels).save(path, exif=exif)
        return path

    return write


def sample(file_name, height=H, width=W):
    polygon = [100.0, 100.0, 900.0, 120.0, 880.0, 801.5, 90.0, 777.0]
    annotation = {"bbox": [90.0, 100.0, 900.0, 801.5], "bbox_mode": BoxMode.XYXY_ABS, "category_id": 1}
    annotation |= {"segmentation": [polygon], "keypoints": [500.5, 400.25, 2]}
    return {"file_name": file_name, "height": height, "width": width, "annotations": [annotation]}


def mapped(sample, reduced, *augmentations, is_train=True):
    options = {"use_instance_mask": True, "use_keypoint": True, "keypoint_hflip_indices": [0]} if is_train else {}
    mapper = DatasetMapper(
        is_train, augmentations=list(augmentations), image_format="BGR", reduced_decoding=reduced, **options
    )
    return mapper(sample)


@pytest.mark.parametrize("orientation", [1, 2, 3, 4, 5, 6, 7, 8])
@pytest.mark.parametrize("scale", [2.0, 3.1, 4.5, 9])
def test_pictures_are_nearly_the_same(photograph, orientation, scale):
    path = photograph(orientation=orientation)
    whole, asked = read_image(path, "BGR"), []
    image, size = read_resized(path, "BGR", lambda h, w: asked.append((h, w)) or (int(h / scale), int(w / scale)))
    assert asked == [size] == [whole.shape[:2]] and image.shape[:2] == (int(size[0] / scale), int(size[1] / scale))
    expected = T.ResizeTransform(*size, *image.shape[:2]).apply_image(whole)
    difference = np.abs(image.astype(int) - expected)
    assert 0 < difference.mean() < 1 and difference.max() < 12


@pytest.mark.parametrize("height, width", [(601, 700), (400, 802), (H, W)])
def test_what_stays_large_is_read_whole(photograph, height, width):
    path = photograph()
    image, size = read_resized(path, "BGR", lambda h, w: (height, width))
    assert size == (H, W) and np.array_equal(image, read_image(path, "BGR"))


@pytest.mark.parametrize("suffix, format", [(".png", "RGB"), (".jpg", "YUV-BT.601"), (".jpg", "L")])
def test_other_files_and_formats_are_read_whole(photograph, suffix, format):
    path = photograph(suffix)
    image, size = read_resized(path, format, lambda h, w: (10, 10))
    assert size == (H, W) and np.array_equal(image, read_image(path, format))


def test_a_missing_file_is_named():
    with pytest.raises(UserError, match="no.jpg does not exist"):
        read_resized("no.jpg", "RGB", lambda h, w: (10, 10))


@pytest.mark.parametrize("flip", [T.HFlipTransform, None])
def test_samples_are_nearly_the_same(photograph, flip):
    resize = T.ResizeShortestEdge([240, 300], 1333, "choice")
    flips = [] if flip is None else [flip(401)]  # of the width that a short edge of 300 has
    given = sample(photograph())
    np.random.seed(3)
    whole = mapped(given, False, resize, *flips)
    np.random.seed(3)
    reduced = mapped(given, True, resize, *flips)
    assert whole["image"].shape == reduced["image"].shape
    difference = (whole["image"].int() - reduced["image"].int()).abs().float()
    assert 0 < difference.mean() < 1 and difference.max() <= 8
    ours, theirs = whole["instances"], reduced["instances"]
    assert torch.equal(ours.gt_boxes.tensor, theirs.gt_boxes.tensor)
    assert np.array_equal(ours.gt_masks.polygons[0][0], theirs.gt_masks.polygons[0][0])
    assert torch.equal(ours.gt_keypoints.tensor, theirs.gt_keypoints.tensor)
    assert (reduced["height"], reduced["width"]) == (H, W)


def test_maps_and_boxes_for_augmentations(photograph, tmp_path):
    seen = []

    class Look(T.Augmentation):
        def get_transform(self, image, boxes, sem_seg):
            seen.append((image.shape[:2], boxes, sem_seg))
            return T.NoOpTransform()

    labels = np.arange(H * W).reshape(H, W) // (H * W // 4)
    Image.fromarray(labels.astype(np.uint8)).save(tmp_path / "labels.png")
    given = sample(photograph()) | {"sem_seg_file_name": str(tmp_path / "labels.png")}
    whole, reduced = (mapped(given, flag, T.ResizeShortestEdge(300, 1333), Look()) for flag in (False, True))
    (shape, boxes, _), (reduced_shape, reduced_boxes, reduced_labels) = seen
    assert shape == reduced_shape == reduced_labels.shape and np.array_equal(boxes, reduced_boxes)
    assert torch.equal(whole["sem_seg"], reduced["sem_seg"])


def test_only_where_the_size_is_known_beforehand(photograph):
    given = sample(photograph())
    nearest = T.ResizeShortestEdge(300, interp=Image.NEAREST)
    for first in ([T.RandomCrop("absolute", (300, 300))], [T.ResizeShortestEdge(0, 1333)], [], [nearest]):
        np.random.seed(0)
        whole = mapped(given, False, *first)["image"]
        np.random.seed(0)
        assert torch.equal(mapped(given, True, *first)["image"], whole)


def test_a_wrong_size_is_named(photograph):
    with pytest.raises(UserError, match=f"{W} x {H} pixels but annotated as {W} x 700"):
        mapped(sample(photograph(), height=700), True, T.ResizeShortestEdge(300, 1333))


def test_from_config(photograph):
    cfg = get_cfg()
    assert DatasetMapper(cfg, True).reduced_decoding is False
    cfg.INPUT.REDUCED_DECODING = True
    cfg.INPUT.MIN_SIZE_TEST = 200
    mapper = DatasetMapper(cfg, False)
    assert mapper.reduced_decoding and mapper(sample(photograph()))["image"].shape == (3, 200, 267)
