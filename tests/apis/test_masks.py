import numpy as np
import pytest
import torch

from det2lite.apis.masks import CroppedMasks
from det2lite.evaluation.coco_results import encode_masks
from det2lite.structures.mask_paste import paste_masks_in_image


def dense():
    masks = torch.zeros(4, 9, 11, dtype=torch.bool)
    masks[0, 2:5, 3:9] = True
    masks[0, 3, 4] = False
    masks[1] = True
    masks[2, 8, 10] = True
    return masks  # the last is empty


def test_crops_hold_the_whole_mask():
    masks = CroppedMasks.from_dense(dense())
    assert masks.windows.tolist() == [[3, 2, 9, 5], [0, 0, 11, 9], [10, 8, 11, 9], [0, 0, 0, 0]]
    assert np.array_equal(masks.dense(), dense().numpy())
    assert masks.areas().tolist() == [17, 99, 1, 0]
    assert list(masks.rles()) == encode_masks(dense())
    assert np.array_equal(CroppedMasks.from_dense(dense().to(torch.uint8) * 255).dense(), dense().numpy())


@pytest.mark.parametrize("index", [[2, 0], slice(1, 3), [True, False, True, False], np.zeros(0, int)])
def test_choosing(index):
    index = index if isinstance(index, slice) else np.array(index)
    assert np.array_equal(CroppedMasks.from_dense(dense())[index].dense(), dense().numpy()[index])


def test_parts_and_unions():
    masks = CroppedMasks.from_dense(dense())
    region = np.array([2, 1, 6, 4])
    assert np.array_equal(masks.part(0, region), dense().numpy()[0, 1:4, 2:6])
    assert not masks.part(2, region).any() and not masks.part(3, region).any()
    (left, top), crop = masks.union([0, 2, 3])
    joined = CroppedMasks.from_crops((9, 11), [(left, top)], [crop])
    assert (left, top) == (3, 2) and np.array_equal(joined.dense()[0], (dense()[0] | dense()[2]).numpy())
    assert masks.union([3])[1].shape == (0, 0)


def test_moving_and_joining():
    masks = CroppedMasks.from_dense(dense()).shifted(5, 7, (20, 30))
    expected = np.zeros((4, 20, 30), bool)
    expected[:, 7:16, 5:16] = dense().numpy()
    assert np.array_equal(masks.dense(), expected)
    assert np.array_equal(CroppedMasks.cat([masks, masks[[0]]]).dense(), np.concatenate([expected, expected[:1]]))


def test_scaling_keeps_places_and_areas():
    masks = torch.zeros(2, 40, 60, dtype=torch.bool)
    masks[0, 8:24, 12:40] = True
    masks[1, 39, 59] = True
    half = CroppedMasks.from_dense(masks).scaled(30, 20)
    expected = np.zeros((20, 30), bool)
    expected[4:12, 6:20] = True
    assert np.array_equal(half.dense()[0], expected)
    assert half.windows[1].tolist() == [29, 19, 30, 20]
    double = CroppedMasks.from_dense(masks).scaled(120, 80)
    assert double.windows[0].tolist() == [24, 16, 80, 48] and double.areas()[0] == 4 * 16 * 28


@pytest.mark.parametrize("shape", [(0, 4, 5), (1, 1, 1), (2, 0, 3)])
def test_nothing(shape):
    masks = CroppedMasks.from_dense(torch.zeros(shape, dtype=torch.bool))
    assert len(masks) == shape[0] and masks.dense().shape == shape and len(list(masks.rles())) == shape[0]
    assert masks.areas().tolist() == [0] * shape[0]
    if all(shape[1:]):
        assert masks.scaled(7, 7).dense().shape == (shape[0], 7, 7)


BOXES = torch.tensor(
    [[3.2, 4.7, 30.1, 22.9], [-5, -5, 12, 9], [40, 20, 70, 60], [10, 10, 10.4, 10.3], [0, 0, 50, 40], [60, 50, 80, 70]]
)


@pytest.mark.parametrize("at_once", [1, 64, 1 << 23])  # pixels: a row at a time, some rows, a mask
def test_masks_in_the_frame_of_their_box_become_what_pasting_gives(monkeypatch, at_once):
    monkeypatch.setattr("det2lite.structures.mask_paste.PASTED_AT_ONCE", at_once)
    soft = torch.rand(len(BOXES), 14, 14, generator=torch.Generator().manual_seed(0))
    pasted = paste_masks_in_image(soft, BOXES, (40, 50))
    assert pasted[0].any() and not pasted[5].any()  # the last box is outside
    masks = CroppedMasks.from_roi_masks(soft, BOXES, (40, 50))
    np.testing.assert_array_equal(masks.dense(), pasted.numpy())
    np.testing.assert_array_equal(masks.windows, CroppedMasks.from_dense(pasted).windows)
    assert list(masks.rles()) == encode_masks(pasted)


def test_no_masks_in_the_frame_of_their_box():
    masks = CroppedMasks.from_roi_masks(torch.zeros(0, 28, 28), torch.zeros(0, 4), (40, 50))
    assert masks.dense().shape == (0, 40, 50)
