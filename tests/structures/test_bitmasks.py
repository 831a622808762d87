import numpy as np
import pytest
import torch

from det2lite.structures.masks import BitMasks, ROIMasks


def make():
    masks = torch.zeros(3, 6, 8, dtype=torch.bool)
    masks[0, 1:3, 2:6] = True
    masks[1, 5, 7] = True
    return BitMasks(masks)


def test_bounding_boxes_include_the_last_pixel():
    boxes = make().get_bounding_boxes()
    assert boxes.tensor.tolist() == [[2, 1, 6, 3], [7, 5, 8, 6], [0, 0, 0, 0]]
    assert BitMasks(torch.zeros(0, 3, 3)).get_bounding_boxes().tensor.shape == (0, 4)
    assert BitMasks(torch.zeros(1, 0, 0)).get_bounding_boxes().tensor.tolist() == [[0, 0, 0, 0]]
    assert BitMasks(torch.ones(1, 1, 1)).get_bounding_boxes().tensor.tolist() == [[0, 0, 1, 1]]


def test_input_types():
    assert make().image_size == (6, 8)
    masks = BitMasks(np.array([[[0, 2]]], dtype=np.uint8))
    assert masks.tensor.dtype == torch.bool and masks.tensor.tolist() == [[[False, True]]]
    with pytest.raises(AssertionError):
        BitMasks(torch.zeros(3, 3))


def test_indexing_and_nonempty():
    masks = make()
    assert masks.nonempty().tolist() == [True, True, False]
    assert len(masks[0]) == 1 and len(masks[masks.nonempty()]) == 2 and len(masks[1:]) == 2
    assert [mask.shape for mask in masks] == [(6, 8)] * 3
    assert len(BitMasks.cat([masks, masks[:0]])) == 3
    assert masks.to("cpu").device == torch.device("cpu") and repr(masks) == "BitMasks(num_instances=3)"
    assert BitMasks(torch.zeros(0, 3, 3)).nonempty().shape == (0,)


def test_crop_and_resize():
    masks = make()
    out = masks.crop_and_resize(masks.get_bounding_boxes().tensor, 4)
    assert out.dtype == torch.bool and out[0].all() and not out[2].any()
    # the corner sample is 3/8 pixels from the centre along both axes: (5/8)^2 < 0.5; beyond the image it is 1
    assert out[1].logical_not().nonzero().tolist() == [[0, 0]]
    # the right half of this box is outside the mask
    out = masks[0].crop_and_resize(torch.tensor([[2, 1, 10, 3.0]]), 4)
    assert out[0].tolist() == [[True, True, False, False]] * 4
    assert masks[:0].crop_and_resize(torch.zeros(0, 4), 28).shape == (0, 28, 28)
    with pytest.raises(AssertionError):
        masks.crop_and_resize(torch.zeros(2, 4), 28)


class TestROIMasks:
    def test_to_bitmasks(self):
        masks = ROIMasks(torch.ones(2, 28, 28)).to_bitmasks(torch.tensor([[1, 1, 4, 3], [0, 0, 1, 1.0]]), 5, 6)
        assert isinstance(masks, BitMasks) and masks.tensor.shape == (2, 5, 6)
        assert masks.get_bounding_boxes().tensor.tolist() == [[1, 1, 4, 3], [0, 0, 1, 1]]
        same = BitMasks.from_roi_masks(ROIMasks(torch.ones(1, 28, 28)), 5, 6, torch.tensor([[1, 1, 4, 3.0]]))
        assert torch.equal(same.tensor[0], masks.tensor[0])
        with pytest.raises(ValueError, match="boxes="):
            BitMasks.from_roi_masks(ROIMasks(torch.ones(1, 28, 28)), 5, 6)

    def test_basics(self):
        masks = ROIMasks(torch.rand(3, 7, 7))
        assert len(masks) == 3 and len(masks[1:]) == 2 and masks.to(torch.device("cpu")).device == torch.device("cpu")
        assert repr(masks) == "ROIMasks(num_instances=3)"
        for bad in (lambda: masks[0], lambda: ROIMasks(torch.rand(7, 7))):
            with pytest.raises(ValueError, match="dimension|shape"):
                bad()

    def test_none(self):
        assert len(ROIMasks(torch.rand(0, 28, 28)).to_bitmasks(torch.zeros(0, 4), 5, 6)) == 0


def test_scripted():
    def bits(x: torch.Tensor):
        masks = BitMasks(x)
        return masks.tensor, masks.nonempty(), len(masks), masks.get_bounding_boxes().tensor

    def soft(x: torch.Tensor, index: torch.Tensor):
        masks = ROIMasks(x).to(torch.device("cpu"))
        return masks[index].tensor, len(masks)

    x = torch.zeros(2, 4, 5)
    x[1, 1:3, 2:4] = 1
    tensor, nonempty, count, boxes = torch.jit.script(bits)(x)
    assert tensor.dtype == torch.bool and nonempty.tolist() == [False, True] and count == 2
    assert boxes.tolist() == [[0, 0, 0, 0], [2, 1, 4, 3]]
    chosen, count = torch.jit.script(soft)(x, torch.tensor([1]))
    assert torch.equal(chosen, x[1:]) and count == 2
