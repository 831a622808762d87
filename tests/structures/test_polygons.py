import numpy as np
import pytest
import torch

from det2lite.structures.masks import (
    BitMasks,
    PolygonMasks,
    polygon_area,
    polygons_to_bitmask,
    rasterize_polygons_within_box,
)

SQUARE = np.array([1, 1, 5, 1, 5, 5, 1, 5.0])
TRIANGLE = np.array([0, 0, 8, 0, 8, 8.0])


def make():
    return PolygonMasks([[SQUARE], [TRIANGLE, SQUARE + 10], []])


def test_area():
    assert polygon_area(SQUARE[0::2], SQUARE[1::2]) == 16
    assert make().area().tolist() == [16, 32 + 16, 0]
    assert PolygonMasks([]).area().shape == (0,)


def test_boxes_and_nonempty():
    assert make().get_bounding_boxes().tensor.tolist() == [[1, 1, 5, 5], [0, 0, 15, 15], [0, 0, 0, 0]]
    assert make().nonempty().tolist() == [True, True, False]
    assert PolygonMasks([]).get_bounding_boxes().tensor.shape == (0, 4)
    assert PolygonMasks([]).nonempty().shape == (0,)


def test_bitmask_of_a_square():
    mask = polygons_to_bitmask([SQUARE], 8, 10)
    assert mask.dtype == bool and mask.shape == (8, 10) and mask.sum() == 16 and mask[1:5, 1:5].all()
    assert not polygons_to_bitmask([], 8, 10).any()
    union = polygons_to_bitmask([SQUARE, SQUARE + 2], 8, 10)
    assert union.sum() == 16 + 16 - 4


def test_one_pixel():
    assert polygons_to_bitmask([np.array([0, 0, 1, 0, 1, 1, 0, 1.0])], 1, 1).tolist() == [[True]]


@pytest.mark.parametrize("bad", [np.array([1.0, 2, 3, 4]), np.array([1.0, 2, 3, np.nan, 5, 6]), np.full(6, 1e9)])
def test_what_cannot_be_drawn(bad):
    with pytest.raises(ValueError, match="polygon"):
        polygons_to_bitmask([bad], 8, 10)


def test_crop_fills_the_box_of_the_polygon():
    assert rasterize_polygons_within_box([SQUARE], np.array([1, 1, 5, 5.0]), 14).all()
    half = rasterize_polygons_within_box([SQUARE], np.array([1, 1, 9, 5.0]), 14)  # the square is the left half
    assert half[:, :7].all() and not half[:, 7:].any()


def test_crop_and_resize_equals_one_by_one():
    boxes = torch.tensor([[0, 0, 6, 6], [0.5, 0.25, 15, 17], [0, 0, 4, 4]])
    masks = make().crop_and_resize(boxes, 28)
    assert masks.shape == (3, 28, 28) and masks.dtype == torch.bool
    for mask, polygons, box in zip(masks, make().polygons, boxes, strict=True):
        assert torch.equal(mask, rasterize_polygons_within_box(polygons, box.numpy(), 28))
    assert not masks[2].any()
    assert PolygonMasks([]).crop_and_resize(torch.zeros(0, 4), 28).shape == (0, 28, 28)


def test_crop_of_a_box_without_area():
    boxes = torch.tensor([[2, 2, 2, 2], [3e4, 3e4, 3e4, 3e4]])
    masks = PolygonMasks([[SQUARE], [SQUARE * 1e4]]).crop_and_resize(boxes, 7)
    assert masks.all()  # both points are inside


def test_indexing():
    masks = make()
    assert len(masks[1]) == 1 and len(masks[1].polygons[0]) == 2
    for item in (slice(1, 3), [1, 2], torch.tensor([1, 2]), torch.tensor([False, True, True]), np.array([1, 2])):
        assert [len(polygons) for polygons in masks[item]] == [2, 0]
    assert len(masks[torch.zeros(3, dtype=torch.bool)]) == 0
    with pytest.raises(ValueError, match="dtype"):
        masks[torch.tensor([0.5])]


def test_cat_and_to():
    masks = make()
    assert len(PolygonMasks.cat([masks, PolygonMasks([]), masks])) == 6
    assert masks.to("cpu") is masks and masks.device == torch.device("cpu")
    assert repr(masks) == "PolygonMasks(num_instances=3)"


def test_constructor_refuses():
    with pytest.raises(ValueError, match="list of list of polygons"):
        PolygonMasks(np.zeros((1, 6)))
    with pytest.raises(ValueError, match="list of polygons per instance"):
        PolygonMasks([SQUARE])
    for bad in (np.zeros(4), np.zeros(7)):
        with pytest.raises(ValueError, match="coordinates"):
            PolygonMasks([[bad]])
    assert PolygonMasks([[torch.zeros(6)], [list(range(6))]]).polygons[1][0].dtype == np.float64


def test_bit_masks_of_polygons():
    masks = BitMasks.from_polygon_masks(make(), 20, 20)
    assert masks.tensor.flatten(1).sum(1)[[0, 2]].tolist() == [16, 0]
    assert BitMasks.from_polygon_masks([[SQUARE]], 6, 7).tensor.shape == (1, 6, 7)
    assert BitMasks.from_polygon_masks([], 6, 7).tensor.shape == (0, 6, 7)
