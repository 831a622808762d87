import pytest
import torch

from det2lite import layers
from det2lite.layers import mask_ops
from det2lite.structures import mask_paste


def test_is_the_function_of_the_structures():
    assert layers.paste_masks_in_image is mask_paste.paste_masks_in_image
    masks = layers.paste_masks_in_image(torch.ones(1, 4, 4), torch.tensor([[0, 0, 2, 1.0]]), (2, 3))
    assert masks.tolist() == [[[True, True, False], [False, False, False]]]


def test_old_paste():
    old = mask_ops.paste_mask_in_image_old
    mask = old(torch.ones(28, 28), torch.tensor([1.7, 2.2, 3.9, 4.0]), 6, 8, 0.5)
    assert mask.sum() == 9 and mask[2:5, 1:4].all()
    soft = old(torch.full((28, 28), 0.5), torch.tensor([-3.0, -3, 20, 20]), 6, 8, -1)
    assert soft.unique().tolist() == [127]
    assert old(torch.ones(28, 28), torch.tensor([20.0, 20, 30, 30]), 6, 8, 0.5).sum() == 0


def test_region_around_all_boxes_holds_what_the_whole_image_holds():
    torch.manual_seed(0)
    masks, boxes = torch.rand(2, 1, 28, 28), torch.tensor([[3.0, 4, 9, 8], [5, 2, 12, 6.5]])
    whole, nothing = mask_ops._do_paste_mask(masks, boxes, 20, 30, skip_empty=False)
    assert whole.shape == (2, 20, 30) and nothing == ()
    part, region = mask_ops._do_paste_mask(masks, boxes, 20, 30)
    assert region == (slice(1, 9), slice(2, 13))
    assert part.shape == (2, 8, 11)
    torch.testing.assert_close(whole[:, region[0], region[1]], part)
    assert whole.sum() == pytest.approx(part.sum().item())
    assert mask_ops._do_paste_mask(masks, boxes, 4, 5)[1] == (slice(1, 4), slice(2, 5))


def test_padding_and_scaling_leave_the_mask_in_its_place():
    torch.manual_seed(0)
    masks, boxes = torch.rand(3, 28, 28), torch.tensor([[0, 0, 9, 9], [2, 2, 5, 7.5], [-3, 1, 20, 4]])
    padded, scale = mask_ops.pad_masks(masks, 1)
    assert padded.shape == (3, 30, 30) and scale == 30 / 28
    grown = mask_ops.scale_boxes(boxes, scale)
    low, high = 4.5 - 4.5 * scale, 4.5 + 4.5 * scale
    torch.testing.assert_close(grown[0], torch.tensor([low, low, high, high]))
    soft = [mask_paste.sample_masks(*pair, 0, 12, 0, 12) for pair in ((masks, boxes), (padded, grown))]
    torch.testing.assert_close(*soft, rtol=1e-3, atol=1e-4)
