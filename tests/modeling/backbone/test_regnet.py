import pytest
import torch
import torchvision

from det2lite.config import get_cfg
from det2lite.layers import FrozenBatchNorm2d, ShapeSpec
from det2lite.modeling.backbone import FPN, RegNet, build_backbone
from det2lite.modeling.backbone.regnet import (
    AnyNet,
    ResBasicBlock,
    ResBottleneckBlock,
    SimpleStem,
    VanillaBlock,
    fit_groups,
)
from det2lite.utils.errors import BadValue

# depth, w_a, w_0, w_m, group_width, se_ratio, millions of parameters with the classifier of 1000 classes
PUBLISHED = {
    "X-200MF": (13, 36.44, 24, 2.49, 8, 0.0, 2.685),
    "X-4.0GF": (23, 38.65, 96, 2.43, 40, 0.0, 22.118),
    "X-32GF": (23, 69.86, 320, 2.0, 168, 0.0, 107.812),
    "Y-400MF": (16, 27.89, 48, 2.09, 8, 0.25, 4.344),
    "Y-4.0GF": (22, 31.41, 96, 2.24, 64, 0.25, 20.647),
}


def published(name, **kwargs):
    depth, w_a, w_0, w_m, group_width, se_ratio, _ = PUBLISHED[name]
    return RegNet(
        stem_class=SimpleStem, stem_width=32, block_class=ResBottleneckBlock, depth=depth, w_a=w_a, w_0=w_0, w_m=w_m,
        group_width=group_width, se_ratio=se_ratio, **kwargs,
    )  # fmt: skip


def tiny(block_class=ResBottleneckBlock, **kwargs):
    torch.manual_seed(0)
    return AnyNet(
        stem_class=SimpleStem, stem_width=4, block_class=block_class, depths=(1, 2), widths=(8, 12), strides=(2, 2),
        group_widths=(4, 4), bottleneck_ratios=(1.0, 1.0), se_ratio=0.25, **kwargs,
    )  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_sizes(name):
    with torch.device("meta"):
        model = published(name)
    width = model.output_shape()["s4"].channels
    assert sum(p.numel() for p in model.parameters()) / 1e6 + (width + 1) / 1e3 == pytest.approx(
        PUBLISHED[name][-1], abs=1e-3
    )


def test_widths_and_depths():
    widths, depths, stages, total, per_block, line = RegNet.generate_regnet_parameters(38.65, 96, 2.43, 23)
    assert (widths, depths) == ([96, 232, 568, 1376], [2, 5, 14, 2])  # before groups of 40 channels are fitted
    assert stages == total == 4 and len(per_block) == len(line) == 23 and per_block[0] == line[0] == 96
    assert fit_groups(widths, [1.0] * 4, [40] * 4) == ([80, 240, 560, 1360], [40] * 4)
    assert fit_groups([8], [0.5], [16]) == ([8], [4])  # a group is at most the bottleneck
    assert fit_groups([10], [4.0], [3]) == ([9], [3])  # a multiple of 3 and 4
    with pytest.raises(BadValue, match="w_m > 1"):
        RegNet.generate_regnet_parameters(36, 24, 1.0, 13)


def from_torchvision(model):
    """Its weights under our names."""
    renamed = {}
    for name, value in model.state_dict().items():
        if name.startswith("fc."):
            continue
        if name.startswith("stem."):
            name = name.replace("stem.0", "stem.conv").replace("stem.1", "stem.bn")
        else:
            _, stage, block, *rest = name.split(".")
            rest = ".".join(rest)
            rest = rest.replace("proj.0", "proj").replace("proj.1", "bn")
            for part in "abc":
                rest = rest.replace(f"f.{part}.0", f"f.{part}").replace(f"f.{part}.1", f"f.{part}_bn")
            rest = rest.replace("se.fc1", "se.f_ex.0").replace("se.fc2", "se.f_ex.2")
            name = f"s{stage.removeprefix('block')}.b{int(block.split('-')[1]) + 1}.{rest}"
        renamed[name] = value
    return renamed


def test_numbers_are_torchvisions():
    """Which also shows that names, groups, strides and squeezed channels are those of the published networks."""
    torch.manual_seed(0)
    reference = torchvision.models.regnet_y_400mf(weights=None).eval()
    for module in reference.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
            torch.nn.init.normal_(module.bias)
    model = published("Y-400MF").eval()
    model.load_state_dict(from_torchvision(reference))
    x = torch.randn(1, 3, 50, 70)
    with torch.no_grad():
        torch.testing.assert_close(model(x)["s4"], reference.trunk_output(reference.stem(x)), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("block_class", [ResBottleneckBlock, ResBasicBlock, VanillaBlock])
@pytest.mark.parametrize("size", [(32, 48), (33, 17), (1, 1)])
def test_output(block_class, size):
    model = tiny(block_class, out_features=["stem", "s1", "s2"])
    out = model(torch.randn(2, 3, *size))
    shapes = model.output_shape()
    assert list(out) == ["stem", "s1", "s2"]
    for name, stride, channels in zip(out, (2, 4, 8), (4, 8, 12), strict=True):
        assert (shapes[name].stride, shapes[name].channels) == (stride, channels)
        assert out[name].shape == (2, channels, -(-size[0] // stride), -(-size[1] // stride))
    out["s2"].sum().backward()
    assert all(p.grad is not None for p in model.parameters())
    assert model.eval()(torch.zeros(0, 3, 32, 32))["s2"].shape == (0, 12, 4, 4)


def test_state_dict_names():
    names = set(tiny().state_dict())
    wanted = {"stem.conv.weight", "stem.bn.running_mean", "s1.b1.proj.weight", "s1.b1.bn.weight", "s1.b1.f.a.weight"}
    wanted |= {"s1.b1.f.a_bn.bias", "s1.b1.f.se.f_ex.0.weight", "s1.b1.f.se.f_ex.2.bias", "s2.b2.f.c_bn.weight"}
    assert wanted <= names and "s2.b2.proj.weight" not in names


def test_freezing():
    model = tiny(freeze_at=2)
    assert {n.split(".")[0] for n, p in model.named_parameters() if p.requires_grad} == {"s2"}
    assert isinstance(model.stem.bn, FrozenBatchNorm2d) and isinstance(model.s1.b1.f.a_bn, FrozenBatchNorm2d)
    assert all(p.requires_grad for p in tiny().parameters())
    x = torch.randn(1, 3, 16, 16)
    assert torch.equal(tiny(freeze_at=2).eval()(x)["s2"], tiny().eval()(x)["s2"])


def test_activation_and_norm():
    model = tiny(activation_class=torch.nn.SiLU, norm="FrozenBN")
    assert isinstance(model.s1.b1.af, torch.nn.SiLU) and isinstance(model.s1.b1.f.a_bn, FrozenBatchNorm2d)


def test_under_a_pyramid():
    model = FPN(tiny(out_features=["s1", "s2"]), ["s1", "s2"], 4)
    assert model(torch.randn(1, 3, 64, 64))["p3"].shape == (1, 4, 8, 8)


def test_scripts():
    x = torch.randn(1, 3, 32, 32)
    for block in (ResBasicBlock, ResBottleneckBlock):
        model = tiny(block_class=block, out_features=["stem", "s2"]).eval()
        found, expected = torch.jit.script(model)(x), model(x)
        assert list(found) == list(expected)
        assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_wrong_settings():
    with pytest.raises(BadValue, match=r"no feature \['s9'\]; known: stem, s1, s2"):
        tiny(out_features=["s9"])
    with pytest.raises(ValueError, match="takes"):
        tiny()(torch.zeros(3, 8, 8))


def test_by_config():
    cfg = get_cfg()
    cfg.MODEL.BACKBONE.NAME, cfg.MODEL.BACKBONE.FREEZE_AT = "build_regnet_fpn_backbone", 2
    cfg.MODEL.FPN.IN_FEATURES = ["s1", "s2", "s3", "s4"]
    cfg.MODEL.REGNET.DEPTH, cfg.MODEL.REGNET.W_A, cfg.MODEL.REGNET.W_0, cfg.MODEL.REGNET.W_M = 13, 36.44, 24, 2.49
    cfg.MODEL.REGNET.GROUP_WIDTH, cfg.MODEL.REGNET.NORM = 8, "BN"
    fpn = build_backbone(cfg, ShapeSpec(channels=3))
    assert {name: shape.stride for name, shape in fpn.output_shape().items()} == {f"p{i}": 2**i for i in range(2, 7)}
    assert {name: x.shape[-1] for name, x in fpn(torch.zeros(1, 3, 64, 64)).items()} == {
        "p2": 16, "p3": 8, "p4": 4, "p5": 2, "p6": 1,
    }  # fmt: skip
    assert not any(p.requires_grad for p in fpn.bottom_up.s1.parameters())
    assert all(p.requires_grad for p in fpn.bottom_up.s2.parameters())
    cfg.MODEL.BACKBONE.NAME = "build_regnet_backbone"
    cfg.MODEL.REGNET.OUT_FEATURES = ["s4"]
    assert build_backbone(cfg, ShapeSpec(channels=3)).output_shape()["s4"].channels == 368
