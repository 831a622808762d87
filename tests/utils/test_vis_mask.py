import numpy as np
import pytest
from pycocotools import mask as coco_mask

from det2lite.utils.errors import BadValue
from det2lite.utils.vis_mask import CroppedMask, GenericMask, MaskLayer, label_point

SQUARE = np.zeros((10, 12), dtype=bool)
SQUARE[2:6, 3:9] = True


def every_form():
    compressed = coco_mask.encode(np.asfortranarray(SQUARE, dtype=np.uint8))
    runs = np.flatnonzero(np.diff(np.r_[0, SQUARE.T.reshape(-1), 0]))
    counts = np.diff(np.r_[0, runs, SQUARE.size]).tolist()
    text = {"size": compressed["size"], "counts": compressed["counts"].decode()}
    polygon = [[3, 2, 9, 2, 9, 6, 3, 6]]
    return [SQUARE, SQUARE.astype(np.uint8), compressed, text, {"size": [10, 12], "counts": counts}, polygon]


@pytest.mark.parametrize("form", every_form(), ids=["bool", "uint8", "rle", "rle text", "counts", "polygon"])
def test_every_form_is_the_same_mask(form):
    mask = GenericMask(form, 10, 12)
    assert np.array_equal(mask.mask, SQUARE)
    assert mask.area() == 24
    assert mask.bbox().tolist() == [3, 2, 9, 6]
    assert not mask.has_holes and len(mask.polygons) == 1
    assert np.array_equal(GenericMask(mask, 10, 12).mask, SQUARE)


def test_holes():
    ring = SQUARE.copy()
    ring[3:5, 5:7] = False
    assert GenericMask(ring, 10, 12).has_holes
    assert len(GenericMask(ring, 10, 12).outlines()) == 2


def test_bitmaps_and_polygons_turn_into_each_other():
    generic = GenericMask(SQUARE, 10, 12)
    polygons, has_holes = generic.mask_to_polygons(SQUARE.astype(np.uint8))
    assert not has_holes and len(polygons) == 1 and np.array_equal(polygons[0], generic.polygons[0])
    back = generic.polygons_to_mask([[3, 2, 9, 2, 9, 6, 3, 6]])
    assert back.dtype == np.uint8 and np.array_equal(back, SQUARE)
    assert not generic.polygons_to_mask([]).any() and generic.mask_to_polygons(np.zeros((10, 12))) == ([], False)


def test_empty_masks():
    for empty in ([], np.zeros((10, 12)), [[1, 2, 3, 4]], [[1, 2, float("nan"), 4, 5, 6]]):
        mask = GenericMask(empty, 10, 12)
        assert mask.area() == 0 and mask.polygons == [] and mask.bbox().tolist() == [0, 0, 0, 0]
        assert label_point(mask.mask) is None


def test_parts_that_overlap_are_united():
    polygons = [[0, 0, 4, 0, 4, 4, 0, 4], [2, 2, 6, 2, 6, 6, 2, 6]]
    assert GenericMask(polygons, 10, 12).area() == 16 + 16 - 4


def test_what_does_not_fit():
    with pytest.raises(BadValue, match="does not fit"):
        GenericMask(np.zeros((10, 11)), 10, 12)
    with pytest.raises(BadValue, match="does not fit"):  # before 10^18 pixels are decoded
        GenericMask({"size": [10**9, 10**9], "counts": b"0"}, 10, 12)
    with pytest.raises(BadValue, match="counts"):
        GenericMask({"size": [10, 12], "counts": [-3]}, 10, 12)
    with pytest.raises(BadValue, match="a mask is"):
        GenericMask(np.zeros(3), 10, 12)


def test_coordinates_far_away_are_bounded():
    assert GenericMask([[-1e12, -1e12, 1e12, -1e12, 1e12, 1e12, -1e12, 1e12]], 10, 12).area() == 120


def test_on_canvas_scales_exactly():
    larger = GenericMask(SQUARE, 10, 12).on_canvas(36, 30)
    assert np.array_equal(larger > 0, np.kron(SQUARE, np.ones((3, 3), bool)))
    from_polygon = GenericMask([[3, 2, 9, 2, 9, 6, 3, 6]], 10, 12).on_canvas(36, 30)
    assert np.array_equal(from_polygon, larger > 0)
    smaller = GenericMask(SQUARE, 10, 12).on_canvas(6, 5)
    assert smaller[1, 3] == 1 and smaller[1, 1] == 0.5  # of columns 2 and 3 the second is in the mask


def test_label_point_is_deep_inside():
    mask = np.zeros((20, 30), bool)
    mask[10, :] = True  # a thin line, and
    mask[5:14, 15:24] = True  # a block
    x, y = label_point(mask)
    assert abs(x - 19.5) <= 1 and abs(y - 9.5) <= 1


def test_layer_blends_like_two_washes():
    layer = MaskLayer((4, 1))
    layer.paint(np.array([[1, 1, 0, 0]], bool), (1, 0, 0), 0.5)
    layer.paint(np.array([[0, 1, 1, 0]], bool), (0, 0, 1), 0.5)
    pixels = layer.pixels()[0]
    assert pixels[0].tolist() == [255, 0, 0, 128]
    assert pixels[2].tolist() == [0, 0, 255, 128]
    assert pixels[3, 3] == 0
    assert pixels[1].tolist() == [85, 0, 170, 191]  # coverage 3/4; a third of it the lower red


def test_a_cropped_mask_is_the_whole_one():
    bitmap = np.zeros((9, 12), bool)
    bitmap[3:7, 4:9] = True
    bitmap[5, 6] = False
    whole, cropped = GenericMask(bitmap, 9, 12), CroppedMask(bitmap[2:8, 3:9], 3, 2, 9, 12)
    assert np.array_equal(cropped.mask, bitmap) and cropped.area() == whole.area() == 19
    assert cropped.bbox().tolist() == whole.bbox().tolist() == [4, 3, 9, 7]
    assert cropped.has_holes and whole.has_holes
    for ring, other in zip(cropped.outlines(), whole.outlines(), strict=True):
        assert np.array_equal(ring, other)
    for size in ((12, 9), (6, 5), (24, 18)):
        layers = MaskLayer(size), MaskLayer(size)
        for layer, mask in zip(layers, (whole, cropped), strict=True):
            layer.paint_patch(*mask.patch_on_canvas(*size), (1, 0, 0), 0.5)
        assert np.array_equal(layers[0].pixels(), layers[1].pixels()) and layers[0].pixels().any()


def test_an_empty_cropped_mask():
    mask = CroppedMask(np.zeros((0, 0), bool), 0, 0, 4, 5)
    assert mask.area() == 0 and not mask.bbox().any() and mask.outlines() == [] and mask.mask.shape == (4, 5)
    layer = MaskLayer((5, 4))
    layer.paint_patch(*mask.patch_on_canvas(5, 4), (1, 0, 0), 0.5)
    assert not layer.pixels().any()


def test_large_layers_are_like_small_ones():
    layer = MaskLayer((3, 600))
    layer.paint_patch(1, 250, np.ones((20, 2), bool), (0, 1, 0), 0.5)
    pixels = layer.pixels()
    assert pixels.shape == (600, 3, 4) and (pixels[250:270, 1:] == [0, 255, 0, 128]).all()
    assert not pixels[:250, :, 3].any() and not pixels[270:, :, 3].any() and not pixels[:, 0, 3].any()
