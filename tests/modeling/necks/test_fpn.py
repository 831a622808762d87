import pytest
import torch
from torch import nn

from det2lite import model_zoo
from det2lite.layers import ShapeSpec
from det2lite.modeling.backbone import FPN, Backbone, build_backbone
from det2lite.modeling.backbone.fpn import LastLevelMaxPool, LastLevelP6P7
from det2lite.utils.errors import BadValue


class TwoMaps(Backbone):
    """Constant maps a and b of 1 and 2 channels and strides 8 and 16."""

    def __init__(self, strides=(8, 16)):
        super().__init__()
        self._out_features = ["a", "b"]
        self._out_feature_channels = {"a": 1, "b": 2}
        self._out_feature_strides = dict(zip("ab", strides, strict=True))

    def forward(self, x):
        height, width = x.shape[-2:]
        return {"a": x.new_ones(1, 1, height // 8, width // 8), "b": x.new_ones(1, 2, height // 16, width // 16)}


def ones(model):
    """All weights 1, all biases 0: a 3x3 convolution then sums over 9 pixels and the channels."""
    for name, parameter in model.named_parameters():
        nn.init.constant_(parameter, 1.0 if name.endswith("weight") else 0.0)
    return model


@pytest.mark.parametrize(("fuse_type", "p3"), [("sum", 9 * (1 + 2)), ("avg", 9 * (1 + 2) / 2)])
def test_values_by_hand(fuse_type, p3):
    model = ones(FPN(TwoMaps(), ["a", "b"], 1, fuse_type=fuse_type))
    outputs = model(torch.zeros(1, 3, 48, 48))
    assert list(outputs) == ["p3", "p4"]
    assert outputs["p4"][0, 0, 1, 1] == 9 * 2
    assert outputs["p4"][0, 0, 0, 0] == 4 * 2  # a corner sees 4 pixels
    assert outputs["p3"][0, 0, 2, 2] == p3


def test_shapes_names_and_divisibility():
    model = FPN(TwoMaps(), ["a", "b"], 5, top_block=LastLevelP6P7(2, 5, "b"), square_pad=64)
    shape = model.output_shape()
    assert {name: s.stride for name, s in shape.items()} == {"p3": 8, "p4": 16, "p5": 32, "p6": 64}
    assert {s.channels for s in shape.values()} == {5}
    assert model.size_divisibility == 16
    assert model.padding_constraints == {"square_size": 64}
    outputs = model(torch.zeros(1, 3, 64, 96))
    assert [tuple(outputs[name].shape[-2:]) for name in shape] == [(8, 12), (4, 6), (2, 3), (1, 2)]


def test_top_block_may_look_at_a_pyramid_level():
    top = LastLevelMaxPool()
    top.in_feature = "p4"
    model = ones(FPN(TwoMaps(), ["a", "b"], 1, top_block=top))
    outputs = model(torch.zeros(1, 3, 48, 48))
    torch.testing.assert_close(outputs["p5"], outputs["p4"][..., ::2, ::2])


def test_convolutions_from_low_to_high_resolution():
    model = FPN(TwoMaps(), ["a", "b"], 3, norm="BN")
    assert model.lateral_convs == [model.fpn_lateral4, model.fpn_lateral3]
    assert model.output_convs == [model.fpn_output4, model.fpn_output3]
    assert model.fpn_lateral3.bias is None
    assert "fpn_output4.norm.running_mean" in model.state_dict()


def test_a_convolution_may_be_replaced():
    model = FPN(TwoMaps(), ["a", "b"], 3)
    model.fpn_output3 = nn.Sequential(nn.Conv2d(3, 7, 1))
    assert model(torch.zeros(1, 3, 32, 32))["p3"].shape == (1, 7, 4, 4)


def test_wrong_uses():
    with pytest.raises(BadValue, match="strides double"):
        FPN(TwoMaps((8, 32)), ["a", "b"], 3)
    with pytest.raises(BadValue, match="'max' is not"):
        FPN(TwoMaps(), ["a", "b"], 3, fuse_type="max")
    with pytest.raises(BadValue, match="empty"):
        FPN(TwoMaps(), [], 3)


@pytest.mark.parametrize("builder", ["build_resnet_fpn_backbone", "build_retinanet_resnet_fpn_backbone"])
def test_built_by_name(tiny_config, builder):
    cfg = tiny_config("MODEL.BACKBONE.NAME", builder)
    if "retinanet" in builder:
        cfg.MODEL.FPN.IN_FEATURES = ["res3", "res4", "res5"]
    model = build_backbone(cfg).eval()
    images = torch.rand(2, 3, 128, 64)
    outputs = model(images)
    first = 3 if "retinanet" in builder else 2
    assert list(outputs) == [f"p{level}" for level in range(first, first + 5)]
    for name, shape in model.output_shape().items():
        assert outputs[name].shape == (2, shape.channels, 128 // shape.stride, max(64 // shape.stride, 1))
    scripted = torch.jit.script(model)(images)
    for name in outputs:
        torch.testing.assert_close(scripted[name], outputs[name])


def test_a_backbone_of_the_wrong_type_is_refused(tiny_config):
    from det2lite.modeling import BACKBONE_REGISTRY

    @BACKBONE_REGISTRY.register()
    def build_no_backbone(cfg, input_shape):
        assert input_shape == ShapeSpec(channels=3)
        return nn.Identity()

    with pytest.raises(TypeError, match="Identity, which is no Backbone"):
        build_backbone(tiny_config("MODEL.BACKBONE.NAME", "build_no_backbone"))


def test_every_level_of_a_zoo_model_has_a_stride():
    cfg = model_zoo.get_config("COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml")
    shape = build_backbone(cfg).output_shape()
    assert {name: (s.channels, s.stride) for name, s in shape.items()} == {f"p{i}": (256, 2**i) for i in range(2, 7)}


@pytest.mark.parametrize("trains", [False, True])
def test_is_compiled_as_one_graph(trains, tiny_config):
    cfg = tiny_config("MODEL.RESNETS.NORM", "FrozenBN", "MODEL.BACKBONE.FREEZE_AT", 2)
    backbone = build_backbone(cfg)
    x = torch.randn(1, 3, 64, 64)
    compiled = torch.compile(backbone, backend="eager", fullgraph=True)  # raises where a graph would break
    with torch.set_grad_enabled(trains):
        for level, feature in compiled(x).items():
            torch.testing.assert_close(feature, backbone(x)[level], rtol=1e-4, atol=1e-5)
