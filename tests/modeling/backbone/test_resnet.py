import pytest
import torch
from torch import nn

from det2lite.config import get_cfg
from det2lite.layers import FrozenBatchNorm2d, ShapeSpec
from det2lite.modeling.backbone import BasicStem, BottleneckBlock, ResNet, build_backbone, build_resnet_backbone
from det2lite.modeling.backbone.resnet import BasicBlock
from det2lite.utils.errors import BadValue


def config(*overrides):
    cfg = get_cfg()
    cfg.merge_from_list(["MODEL.RESNETS.OUT_FEATURES", ["stem", "res2", "res3", "res4", "res5"], *overrides])
    return cfg


def build(*overrides):
    return build_resnet_backbone(config(*overrides), ShapeSpec(channels=3))


@pytest.mark.parametrize(
    ("depth", "blocks", "width"),
    [(18, [2, 2, 2, 2], 8), (34, [3, 4, 6, 3], 8), (50, [3, 4, 6, 3], 16), (101, [3, 4, 23, 3], 16)],
)
def test_depths_give_blocks_and_shapes(depth, blocks, width):
    overrides = ["MODEL.RESNETS.DEPTH", depth, "MODEL.RESNETS.RES2_OUT_CHANNELS", width]
    model = build(*overrides, "MODEL.RESNETS.STEM_OUT_CHANNELS", 8, "MODEL.RESNETS.WIDTH_PER_GROUP", 4)
    assert [len(stage) for stage in model.stages] == blocks
    assert isinstance(model.res2[0], BasicBlock if depth < 50 else BottleneckBlock)
    outputs = model(torch.zeros(2, 3, 64, 96))
    assert list(outputs) == list(model.output_shape()) == ["stem", "res2", "res3", "res4", "res5"]
    channels = [8, width, 2 * width, 4 * width, 8 * width]
    for (name, shape), count, stride in zip(model.output_shape().items(), channels, [4, 4, 8, 16, 32], strict=True):
        assert (shape.channels, shape.stride) == (count, stride)
        assert outputs[name].shape == (2, count, 64 // stride, 96 // stride)


def test_depth_152():
    with torch.device("meta"):
        stages = ResNet.make_default_stages(152, norm="")
    assert [len(stage) for stage in stages] == [3, 8, 36, 3]


def test_default_stages_have_the_channels_of_the_paper():
    stages = ResNet.make_default_stages(50, norm="")
    assert [stage[-1].out_channels for stage in stages] == [256, 512, 1024, 2048]
    assert [stage[0].stride for stage in stages] == [1, 2, 2, 2]
    assert stages[3][0].conv2.in_channels == 512


def test_unknown_depth_names_the_known_ones():
    with pytest.raises(BadValue, match="DEPTH 51 is not one of 18, 34, 50, 101, 152"):
        build("MODEL.RESNETS.DEPTH", 51)


def test_names_in_the_state_dict():
    names = set(build("MODEL.RESNETS.NORM", "BN").state_dict())
    assert {"stem.conv1.weight", "stem.conv1.norm.running_var", "res2.0.shortcut.norm.bias"} <= names
    assert {"res2.2.conv3.weight", "res5.0.conv2.norm.weight"} <= names
    assert "res2.1.shortcut.weight" not in names


@pytest.mark.parametrize("norm", ["", "BN", "FrozenBN", "GN", "LN", "nnSyncBN", "naiveSyncBN"])
def test_every_norm(norm):
    small = ["MODEL.RESNETS.STEM_OUT_CHANNELS", 32, "MODEL.RESNETS.RES2_OUT_CHANNELS", 32]
    model = build("MODEL.RESNETS.DEPTH", 18, *small, "MODEL.RESNETS.NORM", norm, "MODEL.BACKBONE.FREEZE_AT", 0)
    if norm == "nnSyncBN":
        model.eval()  # it trains on accelerators only
    assert model(torch.rand(2, 3, 64, 32))["res5"].isfinite().all()
    assert (model.res2[0].conv1.norm is None) == (norm == "")


def test_groups_make_a_resnext():
    overrides = ["MODEL.RESNETS.NUM_GROUPS", 4, "MODEL.RESNETS.WIDTH_PER_GROUP", 2]
    model = build(*overrides, "MODEL.RESNETS.RES2_OUT_CHANNELS", 16, "MODEL.RESNETS.STRIDE_IN_1X1", False)
    conv = model.res4[0].conv2
    assert (conv.groups, conv.in_channels, conv.weight.shape[1], conv.stride) == (4, 32, 8, (2, 2))


def test_stride_sits_in_the_first_convolution_by_default():
    block = build().res3[0]
    assert (block.conv1.stride, block.conv2.stride, block.shortcut.stride) == ((2, 2), (1, 1), (2, 2))


def test_dilation_keeps_the_resolution_of_res5():
    model = build("MODEL.RESNETS.RES5_DILATION", 2)
    assert model.output_shape()["res5"].stride == 16
    assert model.res5[0].conv2.dilation == (2, 2)
    assert model(torch.zeros(1, 3, 64, 64))["res5"].shape[-2:] == (4, 4)


@pytest.mark.parametrize("freeze_at", [0, 1, 2, 3, 5])
def test_freeze_at(freeze_at):
    model = build("MODEL.BACKBONE.FREEZE_AT", freeze_at, "MODEL.RESNETS.NORM", "BN")
    for index, name in enumerate(["stem", "res2", "res3", "res4", "res5"], start=1):
        part = getattr(model, name)
        assert all(p.requires_grad != (index <= freeze_at) for p in part.parameters())
        kind = FrozenBatchNorm2d if index <= freeze_at else nn.BatchNorm2d
        assert isinstance((part if name == "stem" else part[0]).conv1.norm, kind)


def test_stages_that_no_feature_needs_are_left_out():
    model = build_backbone(get_cfg())  # OUT_FEATURES is res4
    assert not hasattr(model, "res5")
    assert list(model(torch.zeros(1, 3, 32, 32))) == ["res4"]


def test_classifier():
    stages = ResNet.make_default_stages(18)
    model = ResNet(BasicStem(), stages, num_classes=7)
    outputs = model(torch.zeros(2, 3, 33, 47))
    assert list(outputs) == ["linear"]
    assert outputs["linear"].shape == (2, 7)
    assert model.output_shape()["linear"] == ShapeSpec()


def test_make_stage_takes_values_per_block():
    blocks = ResNet.make_stage(BasicBlock, 2, in_channels=4, out_channels=8, stride_per_block=[2, 1], norm="")
    assert [(block.in_channels, block.stride) for block in blocks] == [(4, 2), (8, 1)]
    with pytest.raises(ValueError, match="must hold 3 values"):
        ResNet.make_stage(BasicBlock, 3, in_channels=4, out_channels=8, stride_per_block=[2, 1])
    with pytest.raises(ValueError, match="stride cannot be given beside it"):
        ResNet.make_stage(BasicBlock, 2, in_channels=4, out_channels=8, stride_per_block=[2, 1], stride=1)


def test_wrong_uses():
    with pytest.raises(BadValue, match="res7"):
        ResNet(BasicStem(), ResNet.make_default_stages(18), out_features=["res3", "res7"])
    with pytest.raises(BadValue, match="RES2_OUT_CHANNELS below 256"):
        build("MODEL.RESNETS.DEPTH", 18)
    with pytest.raises(ValueError, match="takes"):
        ResNet(BasicStem(norm=""), ResNet.make_default_stages(18, norm=""))(torch.zeros(3, 32, 32))


def test_a_stage_may_be_replaced():
    model = build("MODEL.RESNETS.DEPTH", 18, "MODEL.RESNETS.RES2_OUT_CHANNELS", 64)
    model.res5 = nn.Sequential(nn.AdaptiveAvgPool2d(1))
    assert model(torch.zeros(1, 3, 64, 64))["res5"].shape == (1, 256, 1, 1)
    assert model.stages[3] is model.res5


def test_torchscript_gives_the_same():
    small = ["MODEL.RESNETS.STEM_OUT_CHANNELS", 8, "MODEL.RESNETS.RES2_OUT_CHANNELS", 8, "MODEL.RESNETS.NORM", "BN"]
    model = build("MODEL.RESNETS.DEPTH", 18, *small).eval()
    images = torch.rand(1, 3, 40, 50)
    expected, scripted = model(images), torch.jit.script(model)(images)
    for name in expected:
        torch.testing.assert_close(scripted[name], expected[name])


def test_weights_are_drawn_once_a_block_is_complete():
    torch.manual_seed(3)
    block = BottleneckBlock(4, 8, bottleneck_channels=2, norm="")
    torch.manual_seed(3)
    shapes = {"shortcut": (4, 8, 1), "conv1": (4, 2, 1), "conv2": (2, 2, 3), "conv3": (2, 8, 1)}
    convs = {name: nn.Conv2d(i, o, k, bias=False) for name, (i, o, k) in shapes.items()}
    for name in ("conv1", "conv2", "conv3", "shortcut"):
        nn.init.kaiming_normal_(convs[name].weight, mode="fan_out", nonlinearity="relu")
        torch.testing.assert_close(getattr(block, name).weight, convs[name].weight)
