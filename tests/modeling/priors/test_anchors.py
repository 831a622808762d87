import math

import pytest
import torch

from det2lite.config import get_cfg
from det2lite.layers import ShapeSpec
from det2lite.modeling.anchor_generator import (
    DefaultAnchorGenerator,
    RotatedAnchorGenerator,
    _broadcast_params,
    _create_grid_offsets,
    build_anchor_generator,
)
from det2lite.utils.errors import BadValue


def test_cell_anchors_by_hand():
    cells = DefaultAnchorGenerator.generate_cell_anchors([32], [0.25, 1, 4])
    assert cells.tolist() == [[-32, -8, 32, 8], [-16, -16, 16, 16], [-8, -32, 8, 32]]


def test_ratios_change_faster_than_sizes():
    cells = DefaultAnchorGenerator.generate_cell_anchors([2, 4], [1, 4])
    assert cells.tolist() == [[-1, -1, 1, 1], [-0.5, -2, 0.5, 2], [-2, -2, 2, 2], [-1, -4, 1, 4]]


@pytest.mark.parametrize(("offset", "first"), [(0.0, 0), (0.5, 2)])
def test_anchors_move_along_rows_by_the_stride(offset, first):
    generator = DefaultAnchorGenerator(sizes=[4, 8], aspect_ratios=[1], strides=[4], offset=offset)
    (anchors,) = generator([torch.zeros(2, 7, 2, 3)])
    assert len(anchors) == 2 * 3 * 2
    expected = [
        [first + 4 * x - half, first + 4 * y - half, first + 4 * x + half, first + 4 * y + half]
        for y in range(2)
        for x in range(3)
        for half in (2, 4)
    ]
    assert anchors.tensor.tolist() == expected


def test_one_list_serves_all_maps_or_each_has_its_own():
    shared = DefaultAnchorGenerator(sizes=[[8, 16]], aspect_ratios=[0.5, 1, 2], strides=[4, 8])
    assert shared.num_anchors == shared.num_cell_anchors == [6, 6]
    own = DefaultAnchorGenerator(sizes=[[8], [16, 32]], aspect_ratios=[[1, 2], [1]], strides=[4, 8])
    assert own.num_anchors == [2, 2]
    first, second = own([torch.zeros(1, 1, 1, 1), torch.zeros(1, 1, 1, 1)])
    assert first.tensor[0].tolist() == [2 - 4, 2 - 4, 2 + 4, 2 + 4]
    assert second.tensor[0].tolist() == [4 - 8, 4 - 8, 4 + 8, 4 + 8]


def test_wrong_uses():
    with pytest.raises(BadValue, match="sizes of the anchor generator has 2 lists for 3 feature maps"):
        DefaultAnchorGenerator(sizes=[[8], [16]], aspect_ratios=[1], strides=[4, 8, 16])
    with pytest.raises(BadValue, match="OFFSET 1.0"):
        DefaultAnchorGenerator(sizes=[8], aspect_ratios=[1], strides=[4], offset=1.0)
    with pytest.raises(BadValue, match="aspect_ratios .* not empty"):
        DefaultAnchorGenerator(sizes=[8], aspect_ratios=[], strides=[4])
    with pytest.raises(ValueError, match="2 feature maps for anchors of 1"):
        DefaultAnchorGenerator(sizes=[8], aspect_ratios=[1], strides=[4])([torch.zeros(1, 1, 2, 2)] * 2)


def test_no_position_gives_no_anchor():
    generator = DefaultAnchorGenerator(sizes=[8], aspect_ratios=[1], strides=[4])
    assert generator([torch.zeros(1, 1, 0, 5)])[0].tensor.shape == (0, 4)


def test_anchors_follow_the_module_but_are_no_state():
    generator = DefaultAnchorGenerator(sizes=[8], aspect_ratios=[1], strides=[4])
    assert generator.state_dict() == {}
    assert generator.to("meta")([torch.zeros(1, 1, 2, 2, device="meta")])[0].tensor.device.type == "meta"


def test_a_subclass_may_make_its_own_cells():
    class Tall(DefaultAnchorGenerator):
        def generate_cell_anchors(self, sizes, aspect_ratios):
            assert self.strides == [4]  # the module is ready by then
            return super().generate_cell_anchors(sizes, aspect_ratios) * torch.tensor([1, 2, 1, 2])

    generator = Tall(sizes=[8], aspect_ratios=[1], strides=[4], offset=0)
    assert generator([torch.zeros(1, 1, 1, 1)])[0].tensor.tolist() == [[-4, -8, 4, 8]]


def test_rotated_anchors_by_hand():
    generator = RotatedAnchorGenerator(sizes=[4], aspect_ratios=[0.25], angles=[0, 45], strides=[8])
    assert generator.num_anchors == [2]
    (anchors,) = generator([torch.zeros(1, 1, 1, 2)])
    expected = [[x, 4, 8, 2, angle] for x in (4, 12) for angle in (0, 45)]
    assert anchors.tensor.tolist() == expected


def test_from_config():
    cfg = get_cfg()
    cfg.MODEL.ANCHOR_GENERATOR.OFFSET = 0.5
    generator = build_anchor_generator(cfg, [ShapeSpec(stride=16)])
    assert (generator.num_anchors, generator.box_dim, generator.strides) == ([15], 4, [16])
    (anchors,) = generator([torch.zeros(1, 1, 1, 1)])
    width = 32 * math.sqrt(2)  # of size 32 and ratio 0.5
    torch.testing.assert_close(
        anchors.tensor[0], torch.tensor([8 - width / 2, 8 - width / 4, 8 + width / 2, 8 + width / 4])
    )
    cfg.MODEL.ANCHOR_GENERATOR.NAME = "RotatedAnchorGenerator"
    assert build_anchor_generator(cfg, [ShapeSpec(stride=16)]).num_anchors == [45]


@pytest.mark.parametrize("cls", [DefaultAnchorGenerator, RotatedAnchorGenerator])
def test_torchscript_gives_the_same(cls):
    angles = {"angles": [0, 30]} if cls is RotatedAnchorGenerator else {}
    generator = cls(sizes=[[8], [16]], aspect_ratios=[0.5, 1], strides=[4, 8], **angles)
    features = [torch.zeros(1, 1, 3, 4), torch.zeros(1, 1, 2, 2)]
    scripted = torch.jit.script(generator)(features)
    assert all(torch.equal(a.tensor, b.tensor) for a, b in zip(scripted, generator(features), strict=True))


def test_grid_offsets_by_hand():
    x, y = _create_grid_offsets([2, 3], 4, 0.5, torch.zeros(0))
    assert x.tolist() == [2, 6, 10, 2, 6, 10] and y.tolist() == [2, 2, 2, 6, 6, 6]
    assert _broadcast_params([1, 2], 3, "sizes") == [[1, 2]] * 3
