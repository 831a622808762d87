import pytest
import torch

from det2lite.config import get_cfg
from det2lite.layers import Conv2d, ShapeSpec
from det2lite.modeling.backbone import BottleneckBlock, DeformBottleneckBlock, build_resnet_backbone
from det2lite.utils.errors import BadValue

SETTINGS = {"bottleneck_channels": 4, "norm": "BN", "stride": 2}


def pair(**kwargs):
    """A deformable block and a plain one with the same weights."""
    torch.manual_seed(0)
    settings = {**SETTINGS, **{k: v for k, v in kwargs.items() if not k.startswith("deform")}}
    plain = BottleneckBlock(8, 16, **settings).eval()
    block = DeformBottleneckBlock(
        8, 16, **settings, **{k: v for k, v in kwargs.items() if k.startswith("deform")}
    ).eval()
    missing = block.load_state_dict(plain.state_dict(), strict=False).missing_keys
    assert missing == ["conv2_offset.weight", "conv2_offset.bias"]
    return block, plain


@pytest.mark.parametrize("settings", [{}, {"dilation": 2, "stride": 1}, {"num_groups": 2}, {"stride_in_1x1": True}])
def test_starts_as_the_plain_block(settings):
    block, plain = pair(**settings)
    x = torch.randn(2, 8, 9, 11)
    torch.testing.assert_close(block(x), plain(x))


def test_modulated_starts_at_half_weight():
    block, plain = pair(deform_modulated=True, deform_num_groups=2)
    assert block.conv2_offset.out_channels == 27 * 2
    plain.conv2.weight.data *= 0.5  # the sigmoid of 0
    x = torch.randn(2, 8, 9, 11)
    torch.testing.assert_close(block(x), plain(x))


@pytest.mark.parametrize("modulated", [False, True])
def test_offsets_move_samples(modulated):
    block, plain = pair(stride=1, deform_modulated=modulated)
    if modulated:
        block.conv2_offset.bias.data[18:] = 100.0  # full weight
    block.conv2_offset.bias.data[1:18:2] = 1.0  # one cell to the right
    x = torch.randn(1, 8, 6, 9)
    shortcut = block.shortcut(x)
    moved, still = (
        (m.conv3(torch.relu(m_x)) + shortcut).relu()
        for m, m_x in ((block, spatial(block, x)), (plain, spatial(plain, x)))
    )
    torch.testing.assert_close(block(x), moved)
    torch.testing.assert_close(spatial(block, x)[..., :-2], spatial(plain, x)[..., 1:-1])
    assert not torch.allclose(moved, still)


def spatial(block, x):
    """After the 3x3 convolution."""
    hidden = torch.relu(block.conv1(x))
    if not isinstance(block, DeformBottleneckBlock):
        return block.conv2(hidden)
    offset = block.conv2_offset(hidden)
    return block.conv2(hidden, offset[:, :18], *([offset[:, 18:].sigmoid()] if block.deform_modulated else []))


def test_offsets_learn():
    block, _ = pair()
    block(torch.randn(1, 8, 6, 6)).sum().backward()
    assert block.conv2_offset.weight.grad.abs().sum() > 0


def test_empty_batch():
    block, _ = pair()
    assert block(torch.zeros(0, 8, 6, 6)).shape == (0, 16, 3, 3)


def test_from_config():
    cfg = get_cfg()
    resnets = cfg.MODEL.RESNETS
    resnets.DEFORM_ON_PER_STAGE, resnets.DEFORM_MODULATED, resnets.DEFORM_NUM_GROUPS = (
        [False, True, False, True],
        True,
        2,
    )
    resnets.OUT_FEATURES, resnets.RES2_OUT_CHANNELS, resnets.WIDTH_PER_GROUP = ["res5"], 16, 4
    model = build_resnet_backbone(cfg, ShapeSpec(channels=3))
    deformable = [type(stage[0]) is DeformBottleneckBlock for stage in model.stages]
    assert deformable == [False, True, False, True]
    assert model.res5[1].conv2_offset.weight.shape == (54, 32, 3, 3)
    resnets.DEPTH, resnets.RES2_OUT_CHANNELS = 18, 64
    with pytest.raises(BadValue, match="DEFORM_ON_PER_STAGE"):
        build_resnet_backbone(cfg, ShapeSpec(channels=3))


@pytest.mark.parametrize("deformable", [True, False])
def test_deformable_networks_compute_as_written(deformable):
    """Channels first, and norms apart; only others gain by something else."""
    cfg = get_cfg()
    cfg.MODEL.RESNETS.DEFORM_ON_PER_STAGE = [False, False, False, deformable]
    cfg.MODEL.RESNETS.OUT_FEATURES = ["res2", "res5"]
    cfg.MODEL.RESNETS.RES2_OUT_CHANNELS, cfg.MODEL.RESNETS.WIDTH_PER_GROUP = 16, 4
    model = build_resnet_backbone(cfg, ShapeSpec(channels=3)).eval()
    assert {m.folds_norm for m in model.modules() if isinstance(m, Conv2d)} == {not deformable}
    with torch.no_grad():
        maps = model(torch.rand(1, 3, 64, 96).contiguous(memory_format=torch.channels_last))
    assert maps["res2"].is_contiguous() == deformable
