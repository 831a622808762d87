import torch

from det2lite.structures import Boxes
from det2lite.structures.mask_paste import paste_masks_in_image, sample_masks


def sample_all(masks, boxes, shape):
    return sample_masks(masks, boxes, 0, shape[0], 0, shape[1])


def test_a_full_mask_fills_its_box():
    masks = paste_masks_in_image(torch.ones(2, 14, 14), Boxes([[1, 2, 4, 6], [0, 0, 8, 8]]), (8, 8))
    assert masks.dtype == torch.bool and masks.flatten(1).sum(1).tolist() == [12, 64]
    assert masks[0, 2:6, 1:4].all()


def test_numbers_between_cell_centers():
    # two columns 0 and 1 over the x range 0..4: cell centres at 1 and 3, pixels sampled at 0.5, 1.5, 2.5, 3.5
    mask = torch.tensor([[[0.0, 1.0], [0.0, 1.0]]])
    soft = sample_all(mask, torch.tensor([[0, -4, 4, 8.0]]), (4, 4))
    torch.testing.assert_close(soft[0, 1], torch.tensor([0, 0.25, 0.75, 0.75]))  # the last meets the zeros outside
    pasted = paste_masks_in_image(mask, torch.tensor([[0, -4, 4, 8.0]]), (4, 4))
    assert pasted[0, 1].tolist() == [False, False, True, True]


def test_soft_masks():
    soft = paste_masks_in_image(torch.full((1, 2, 2), 0.5), torch.tensor([[-4, -4, 8, 8.0]]), (4, 4), threshold=-1)
    assert soft.dtype == torch.uint8 and soft.unique().tolist() == [127]


def test_boxes_only_equals_whole_image():
    torch.manual_seed(0)
    masks = torch.rand(6, 28, 28)
    boxes = torch.tensor(
        [[-3, -5, 7, 8], [2, 3, 9, 9], [0, 0, 30, 40], [3.3, 4.4, 4.1, 4.9], [40, 40, 50, 50], [-9, 2, -1, 5.0]]
    )
    for threshold in (0.3, 0.5, -1):
        whole = sample_all(masks, boxes, (20, 30))
        whole = whole >= threshold if threshold > 0 else (whole * 255).to(torch.uint8)
        assert torch.equal(paste_masks_in_image(masks, boxes, (20, 30), threshold), whole)


def test_none_and_one_pixel():
    assert paste_masks_in_image(torch.zeros(0, 28, 28), torch.zeros(0, 4), (5, 6)).shape == (0, 5, 6)
    assert paste_masks_in_image(torch.ones(1, 28, 28), torch.tensor([[0, 0, 1, 1.0]]), (1, 1)).tolist() == [[[True]]]
    flat = paste_masks_in_image(torch.ones(1, 28, 28), torch.tensor([[2, 2, 2, 2.0]]), (5, 6))
    assert flat.shape == (1, 5, 6)


def test_scripts():
    masks, boxes = torch.rand(3, 28, 28), torch.tensor([[0, 0, 9, 9], [2, 2, 5, 7.5], [-3, 1, 20, 4]])
    scripted = torch.jit.script(paste_masks_in_image)
    assert torch.equal(scripted(masks, boxes, (10, 12)), paste_masks_in_image(masks, boxes, (10, 12)))
