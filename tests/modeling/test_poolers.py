import pytest
import torch

from det2lite.modeling import poolers
from det2lite.modeling.poolers import ROIPooler, assign_boxes_to_levels, convert_boxes_to_pooler_format
from det2lite.structures import Boxes, RotatedBoxes
from det2lite.utils.errors import BadValue


def squares(*sides):
    return Boxes(torch.tensor([[0.0, 0, side, side] for side in sides]).reshape(-1, 4))


def pyramid(num_images=1, channels=1):
    """Maps of strides 4, 8 and 16 of a 256-pixel image, holding 10, 20 and 30 everywhere, plus the image's index."""
    index = torch.arange(num_images)[:, None, None, None]
    maps = zip((10, 20, 30), (64, 32, 16), strict=True)
    return [(value + index).float().expand(-1, channels, side, side) for value, side in maps]


def test_levels_at_exact_borders():
    boxes = squares(0, 1, 111.99, 112, 223.9, 224, 447.9, 448, 1e5)
    levels = assign_boxes_to_levels([boxes], 2, 5, canonical_box_size=224, canonical_level=4)
    assert levels.tolist() == [0, 0, 0, 1, 1, 2, 2, 3, 3]
    assert levels.dtype == torch.int64


def test_boxes_that_are_none_belong_to_no_level_and_are_pooled_to_zero():
    nan = float("nan")
    boxes = Boxes(torch.tensor([[300.0, 0, 0, 300], [0, nan, 300, 300], [nan] * 4, [0, 0, 20, 20]]))
    assert assign_boxes_to_levels([boxes], 2, 4, 224, 4).tolist() == [-1, -1, -1, 0]
    pooler = ROIPooler(1, [1 / 4, 1 / 8, 1 / 16], 2, "ROIAlignV2")
    maps = [x.requires_grad_() for x in pyramid()]
    pooled = pooler(maps, [boxes])
    assert pooled.flatten().tolist() == [0, 0, 0, 10]
    pooled.sum().backward()
    assert maps[0].grad.sum() == 1 and maps[1].grad.sum() == maps[2].grad.sum() == 0
    assert torch.jit.script(pooler)(maps, [boxes]).flatten().tolist() == [0, 0, 0, 10]


def test_levels_depend_on_the_area_alone():
    boxes = Boxes(torch.tensor([[0.0, 0, 56, 224], [5, 7, 229, 63]]))  # of area 112 x 112
    assert assign_boxes_to_levels([boxes[0], boxes[1]], 2, 5, 224, 4).tolist() == [1, 1]


def test_boxes_carry_the_index_of_their_image():
    rows = convert_boxes_to_pooler_format([squares(1), squares(), squares(2, 3)])
    assert rows.tolist() == [[0, 0, 0, 1, 1], [2, 0, 0, 2, 2], [2, 0, 0, 3, 3]]
    rotated = RotatedBoxes(torch.tensor([[1.0, 2, 3, 4, 90]]))
    assert convert_boxes_to_pooler_format([rotated]).tolist() == [[0, 1, 2, 3, 4, 90]]


@pytest.mark.parametrize("pooler_type", ["ROIAlign", "ROIAlignV2", "ROIPool"])
def test_each_box_is_pooled_from_its_level_and_image(pooler_type):
    pooler = ROIPooler(2, [1 / 4, 1 / 8, 1 / 16], 0, pooler_type)
    assert (pooler.min_level, pooler.max_level, len(pooler.level_poolers)) == (2, 4, 3)
    pooled = pooler(pyramid(2), [squares(230, 20), squares(120)])
    assert pooled.shape == (3, 1, 2, 2)
    assert pooled.flatten(1).unique(dim=1).tolist() == [[30], [10], [21]]


def test_rotated_boxes():
    pooler = ROIPooler((1, 2), [1 / 4, 1 / 8], 2, "ROIAlignRotated")
    boxes = RotatedBoxes(torch.tensor([[100.0, 100, 20, 40, 30], [100, 100, 200, 100, -60]]))
    assert pooler(pyramid()[:2], [boxes]).flatten(1).tolist() == [[10, 10], [20, 20]]


def test_one_map_serves_boxes_of_all_sizes():
    pooler = ROIPooler(1, [1 / 8], 0, "ROIAlignV2")
    assert pooler([pyramid()[1]], [squares(4, 200)]).flatten().tolist() == [20, 20]


def test_no_boxes_and_no_images():
    pooler = ROIPooler(7, [1 / 4, 1 / 8, 1 / 16], 0, "ROIAlignV2")
    features = [feature.clone().requires_grad_() for feature in pyramid(2, channels=3)]
    pooled = pooler(features, [squares(), squares()])
    assert pooled.shape == (0, 3, 7, 7)
    pooled.sum().backward()
    assert all(feature.grad.count_nonzero() == 0 for feature in features)
    assert pooler([feature[:0] for feature in features], []).shape == (0, 3, 7, 7)


def test_gradients_reach_only_the_level_of_the_box():
    features = [feature.clone().requires_grad_() for feature in pyramid()]
    ROIPooler(2, [1 / 4, 1 / 8, 1 / 16], 0, "ROIAlignV2")(features, [squares(120)]).sum().backward()
    assert [float(feature.grad.sum().round(decimals=4)) for feature in features] == [0, 4, 0]


def test_type_of_the_maps_stays():
    features = [feature.bfloat16() for feature in pyramid()]
    assert ROIPooler(2, [1 / 4, 1 / 8, 1 / 16], 0, "ROIAlignV2")(features, [squares(50)]).dtype == torch.bfloat16


def test_wrong_uses():
    with pytest.raises(ValueError, match="powers of two"):
        ROIPooler(7, [1 / 3], 0, "ROIAlign")
    with pytest.raises(ValueError, match="halve"):
        ROIPooler(7, [1 / 4, 1 / 16], 0, "ROIAlign")
    with pytest.raises(ValueError, match="a number or a pair"):
        ROIPooler((7, 7, 7), [1 / 4], 0, "ROIAlign")
    with pytest.raises(ValueError, match="length in pixels"):
        ROIPooler(7, [1 / 4], 0, "ROIAlign", canonical_box_size=0)
    with pytest.raises(BadValue, match="'RoiAlign' is not one of"):
        ROIPooler(7, [1 / 4], 0, "RoiAlign")
    pooler = ROIPooler(7, [1 / 4], 0, "ROIAlign")
    with pytest.raises(ValueError, match="3 feature maps for 1 scales"):
        pooler(pyramid(), [squares(3)])
    with pytest.raises(ValueError, match="boxes of 2 images for 1 images"):
        pooler(pyramid()[:1], [squares(3), squares(3)])


@pytest.mark.parametrize("pooler_type", ["ROIAlign", "ROIAlignV2", "ROIPool"])
def test_torchscript_gives_the_same(pooler_type):
    pooler = ROIPooler(3, [1 / 4, 1 / 8], 2, pooler_type)
    features = [torch.rand(2, 3, 64, 64), torch.rand(2, 3, 32, 32)]
    scripted = torch.jit.script(pooler)
    for boxes in ([squares(30, 200), squares(60)], [squares(), squares()]):
        torch.testing.assert_close(scripted(features, boxes), pooler(features, boxes))


def test_boxes_keep_their_order_and_their_gradients_across_levels():
    torch.manual_seed(0)
    pooler = ROIPooler(2, [1 / 4, 1 / 8, 1 / 16], 2, "ROIAlignV2")
    features = [torch.rand_like(feature).requires_grad_() for feature in pyramid(channels=2)]
    boxes = Boxes(torch.tensor([[0, 0, 250, 250], [10, 10, 30, 40], [0, 0, 130, 120], [5, 5, 25, 20.0]]))
    together = pooler(features, [boxes])
    apart = torch.cat([pooler(features, [boxes[i]]) for i in range(4)])
    weight = torch.rand_like(together)
    torch.testing.assert_close(together, apart, rtol=0, atol=0)
    torch.testing.assert_close(
        torch.autograd.grad((together * weight).sum(), features), torch.autograd.grad((apart * weight).sum(), features)
    )


def test_levels_with_settings_of_their_own(monkeypatch):
    torch.manual_seed(0)
    features = [torch.rand(1, 16, side, side) for side in (64, 32, 16)]
    boxes = [squares(30, 120, 230)]

    def check(change):
        pooler = ROIPooler(7, [1 / 4, 1 / 8, 1 / 16], 2, "ROIAlignV2")
        change(pooler.level_poolers)
        with monkeypatch.context() as patch:
            patch.setattr(poolers, "table_pays", lambda features: False)
            want = pooler(features, boxes)
        assert want.shape[2] == pooler.level_poolers[0].output_size[0]
        torch.testing.assert_close(pooler(features, boxes), want)

    check(lambda levels: None)
    check(lambda levels: setattr(levels[1], "sampling_ratio", 1))
    check(lambda levels: setattr(levels[2], "aligned", False))
    seen = []
    check(lambda levels: levels[1].register_forward_hook(lambda *_: seen.append(1)))
    assert len(seen) == 2

    pooler = ROIPooler(7, [1 / 4, 1 / 8, 1 / 16], 2, "ROIAlignV2")
    for level in pooler.level_poolers:
        level.output_size = (3, 3)
    assert pooler(features, boxes).shape == (3, 16, 3, 3)
