import numpy as np
import pytest
import torch

from det2lite.data import transforms as T
from det2lite.structures import Boxes, pairwise_iou


def image_of(h, w):
    return np.arange(h * w, dtype=np.float32).reshape(h, w)


def test_crop_sizes():
    np.random.seed(0)
    assert T.RandomCrop("relative", (0.5, 0.25)).get_crop_size((11, 20)) == (6, 5)
    assert T.RandomCrop("absolute", (30, 7)).get_crop_size((10, 20)) == (10, 7)
    ranged = np.array([T.RandomCrop("absolute_range", (4, 15)).get_crop_size((10, 20)) for _ in range(300)])
    assert ranged.min(0).tolist() == [4, 4] and ranged.max(0).tolist() == [10, 15]
    relative = np.array([T.RandomCrop("relative_range", (0.5, 0.9)).get_crop_size((100, 100)) for _ in range(300)])
    assert relative[:, 0].min() in (50, 51) and relative[:, 1].min() >= 90 and relative.max() <= 100
    with pytest.raises(AssertionError, match="'round'"):
        T.RandomCrop("round", (1, 1))
    with pytest.raises(AssertionError, match="is \\(min, max\\)"):
        T.RandomCrop("absolute_range", (3, 2)).get_crop_size((9, 9))


@pytest.mark.parametrize(
    "kind, size", [("relative_range", (0.4, 0.6)), ("absolute_range", (2, 6)), ("absolute", (3, 4))]
)
def test_crop_draws_size_then_place(kind, size):
    aug = T.RandomCrop(kind, size)
    np.random.seed(5)
    crop = aug.get_transform(image_of(9, 12))
    np.random.seed(5)
    h, w = aug.get_crop_size((9, 12))
    assert (crop.h, crop.w) == (h, w)
    assert (crop.y0, crop.x0) == (np.random.randint(9 - h + 1), np.random.randint(12 - w + 1))


def test_crop_reaches_every_place():
    np.random.seed(0)
    seen = {T.RandomCrop("absolute", (2, 2))(T.AugInput(image_of(3, 3))).x0 for _ in range(30)}
    assert seen == {0, 1}
    one = T.apply_augmentations([T.RandomCrop("relative", (0.9, 0.9))], image_of(1, 1))[0]
    assert one.shape == (1, 1)


def test_fixed_size_crop_crops_and_pads():
    np.random.seed(0)
    image = np.full((10, 3, 3), 9, np.uint8)
    aug_input = T.AugInput(image, sem_seg=np.ones((10, 3), np.uint8))
    transforms = T.FixedSizeCrop((4, 5))(aug_input)
    assert [type(t) for t in transforms.transforms] == [T.CropTransform, T.PadTransform]
    assert aug_input.image.shape == (4, 5, 3)
    assert (aug_input.image[:, :3] == 9).all() and (aug_input.image[:, 3:] == 128).all()
    assert (aug_input.sem_seg[:, 3:] == 255).all()
    assert T.apply_augmentations([T.FixedSizeCrop((4, 5), pad=False)], image)[0].shape == (4, 3, 3)


def test_fixed_size_crop_moves_on_the_diagonal():
    np.random.seed(2)
    crop = T.FixedSizeCrop((4, 5), pad=False).get_transform(image_of(104, 55))[0]
    np.random.seed(2)
    where = np.random.uniform()
    assert (crop.y0, crop.x0) == (round(100 * where), round(50 * where))
    assert crop.inverse().apply_image(np.ones((4, 5))).shape == (104, 55)


def test_category_area_constraint():
    labels = np.zeros((10, 10), np.uint8)
    labels[:, 5:] = 1
    np.random.seed(0)
    aug = T.RandomCrop_CategoryAreaConstraint("absolute", (4, 4), single_category_max_area=0.8)
    shares = []
    for _ in range(40):
        crop = aug(T.AugInput(np.zeros((10, 10)), sem_seg=labels))
        shares.append(crop.apply_segmentation(labels).mean())
    # a crop holds 0 to 4 columns of class 1; tries find 1 to 3 of them in nearly every case
    assert np.mean([0.2 < share < 0.8 for share in shares]) > 0.9
    free = T.RandomCrop_CategoryAreaConstraint("absolute", (4, 4))
    shares = [free.get_transform(labels, labels).apply_segmentation(labels).mean() for _ in range(40)]
    assert {0.0, 1.0} & set(shares)


def test_category_area_constraint_leaves_ignored_pixels_out():
    aug = T.RandomCrop_CategoryAreaConstraint("absolute", (2, 2), 0.6, ignored_category=255)
    assert aug._is_varied(np.array([[255, 255], [1, 2]]))
    assert not aug._is_varied(np.array([[255, 255], [1, 1]]))
    assert not aug._is_varied(np.array([[255, 255], [255, 255]]))
    assert not aug._is_varied(np.array([[255, 2, 1], [1, 1, 1]]))


def test_extent_without_shift_is_a_central_zoom():
    transform = T.RandomExtent((0.5, 0.5), (0, 0)).get_transform(np.zeros((20, 40, 3), np.uint8))
    assert transform.src_rect == (10, 5, 30, 15) and transform.output_size == (10, 20)


def test_extent_shift_is_bounded():
    np.random.seed(0)
    aug = T.RandomExtent((1, 2), (0.5, 0.1))
    for _ in range(50):
        x0, y0, x1, y1 = aug.get_transform(np.zeros((100, 200), np.uint8)).src_rect
        assert abs((x0 + x1) / 2 - 100) <= 50 and abs((y0 + y1) / 2 - 50) <= 5
        assert 200 <= x1 - x0 <= 400 and 100 <= y1 - y0 <= 200


def test_min_iou_crop_keeps_its_promise():
    np.random.seed(0)
    image, boxes = np.zeros((100, 100, 3), np.uint8), np.array([[20.0, 20, 80, 80]])
    aug = T.MinIoURandomCrop(min_ious=(0.5,))
    aug.sample_mode = (0.5,)
    for _ in range(20):
        crop = aug(T.AugInput(image, boxes=boxes))
        assert isinstance(crop, T.CropTransform)
        patch = torch.tensor([[crop.x0, crop.y0, crop.x0 + crop.w, crop.y0 + crop.h]], dtype=torch.float32)
        assert pairwise_iou(Boxes(patch), Boxes(torch.tensor(boxes)))[0, 0] > 0.47  # sides are cut to pixels afterwards
        assert 0.48 < crop.h / crop.w < 2.1
        assert 0 <= crop.x0 and crop.x0 + crop.w <= 100 and 0 <= crop.y0 and crop.y0 + crop.h <= 100


def test_min_iou_crop_can_leave_the_image():
    image = np.zeros((100, 100, 3), np.uint8)
    assert isinstance(T.MinIoURandomCrop().get_transform(image, None), T.NoOpTransform)
    aug = T.MinIoURandomCrop(mode_trials=1, crop_trials=1)
    aug.sample_mode = (0.99,)
    impossible = np.array([[0.0, 0, 1, 1], [99, 99, 100, 100]])
    assert isinstance(aug.get_transform(image, impossible), T.NoOpTransform)
    aug.sample_mode = (1,)
    assert isinstance(aug.get_transform(image, impossible), T.NoOpTransform)
    aug = T.MinIoURandomCrop()
    aug.sample_mode = (0,)
    assert isinstance(aug.get_transform(image, np.zeros((0, 4))), T.CropTransform)
