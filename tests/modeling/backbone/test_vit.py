from functools import partial

import pytest
import torch
from torch import nn

from det2lite.modeling.backbone import FPN, SimpleFeaturePyramid, ViT, get_vit_lr_decay_rate
from det2lite.modeling.backbone.fpn import LastLevelMaxPool
from det2lite.modeling.backbone.vit import Block
from det2lite.utils.errors import BadValue


def tiny(**kwargs):
    torch.manual_seed(0)
    settings = {"img_size": 32, "patch_size": 4, "embed_dim": 8, "depth": 2, "num_heads": 2, "pretrain_img_size": 16}
    return ViT(**settings | {"use_rel_pos": True, "rel_pos_zero_init": False} | kwargs)


def test_published_sizes():
    with torch.device("meta"):
        base = ViT(window_size=14, window_block_indexes=[0, 1, 3, 4, 6, 7, 9, 10])
        large = ViT(embed_dim=1024, depth=24, num_heads=16)
        huge = ViT(embed_dim=1280, depth=32, num_heads=16, patch_size=14)
    # ViT-B/16, L/16 and H/14 without the classifier of 1000 classes, the last norm and the class token
    for model, whole, width in ((base, 86_567_656, 768), (large, 304_326_632, 1024), (huge, 632_045_800, 1280)):
        assert sum(p.numel() for p in model.parameters()) == whole - (width + 1) * 1000 - 2 * width - width


def test_state_dict_names():
    names = {name: tuple(p.shape) for name, p in tiny(residual_block_indexes=[1]).state_dict().items()}
    assert names["pos_embed"] == (1, 17, 8) and names["patch_embed.proj.weight"] == (8, 3, 4, 4)
    block = {name.removeprefix("blocks.0.") for name in names if name.startswith("blocks.0.")}
    assert block == {
        "norm1.weight", "norm1.bias", "attn.qkv.weight", "attn.qkv.bias", "attn.proj.weight", "attn.proj.bias",
        "attn.rel_pos_h", "attn.rel_pos_w", "norm2.weight", "norm2.bias", "mlp.fc1.weight", "mlp.fc1.bias",
        "mlp.fc2.weight", "mlp.fc2.bias",
    }  # fmt: skip
    residual = {name for name in names if name.startswith("blocks.1.residual.")}
    assert residual == {f"blocks.1.residual.conv{i}.weight" for i in (1, 2, 3)} | {
        f"blocks.1.residual.norm{i}.{kind}" for i in (1, 2, 3) for kind in ("weight", "bias")
    }
    assert names["blocks.0.attn.rel_pos_h"] == (2 * 8 - 1, 4)
    assert tiny(window_size=3, window_block_indexes=[0]).blocks[0].attn.rel_pos_h.shape == (5, 4)


@pytest.mark.parametrize("size", [(32, 32), (24, 40), (4, 4)])
def test_output(size):
    model = tiny(window_size=3, window_block_indexes=[0], residual_block_indexes=[1])
    x = torch.randn(2, 3, *size)
    (out,) = model(x).values()
    shape = model.output_shape()["last_feat"]
    assert out.shape == (2, shape.channels, size[0] // shape.stride, size[1] // shape.stride)
    out.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    assert model(torch.zeros(0, 3, *size))["last_feat"].shape[0] == 0


def test_a_window_of_the_whole_image_is_global_attention():
    whole, windows = tiny(), tiny(window_size=8, window_block_indexes=[0, 1])
    windows.load_state_dict(whole.state_dict())
    x = torch.randn(1, 3, 32, 32)
    torch.testing.assert_close(whole(x)["last_feat"], windows(x)["last_feat"])
    halves = tiny(window_size=4, window_block_indexes=[0, 1], use_rel_pos=False, use_abs_pos=False)
    y = x.clone()
    y[..., 16:] = 0  # windows do not see each other
    assert torch.equal(halves(x)["last_feat"][..., :4], halves(y)["last_feat"][..., :4])


def test_checkpointing_changes_nothing():
    plain, saving = tiny(residual_block_indexes=[0]), tiny(residual_block_indexes=[0], use_act_checkpoint=True)
    x = torch.randn(2, 3, 16, 16)
    grads = []
    for model in (plain, saving):
        out = model(x)["last_feat"]
        out.square().sum().backward()
        grads.append([out.detach()] + [p.grad for p in model.parameters()])
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b)


def test_drop_path_only_in_training():
    model, without = tiny(drop_path_rate=0.9).eval(), tiny().eval()
    x = torch.randn(4, 3, 16, 16)
    assert torch.equal(model(x)["last_feat"], without(x)["last_feat"])
    assert [block.drop_path.p for block in model.blocks] == [0, 0.9]
    assert not torch.equal(model.train()(x)["last_feat"], without(x)["last_feat"])


def test_residual_block_starts_as_the_identity():
    torch.manual_seed(0)
    block = Block(8, 2, use_residual_block=True)
    x = torch.randn(1, 3, 3, 8)
    before = block(x)
    block.use_residual_block = False
    assert torch.equal(before, block(x))


def test_norm_layer_and_low_precision():
    model = tiny(norm_layer=partial(nn.LayerNorm, eps=1e-6)).bfloat16()
    assert model.blocks[0].norm1.eps == 1e-6
    assert model(torch.randn(1, 3, 16, 16).bfloat16())["last_feat"].dtype == torch.bfloat16
    with torch.autocast("cpu", torch.bfloat16):
        assert tiny()(torch.randn(1, 3, 16, 16))["last_feat"].isfinite().all()


def test_pyramid():
    pyramid = SimpleFeaturePyramid(tiny(patch_size=16, img_size=64, pretrain_img_size=64), "last_feat", 6,
                                   (4.0, 2.0, 1.0, 0.5), top_block=LastLevelMaxPool(), square_pad=64)  # fmt: skip
    assert pyramid.size_divisibility == 32
    assert pyramid.padding_constraints == {"size_divisibility": 32, "square_size": 64}
    out = pyramid(torch.randn(2, 3, 64, 128))
    shapes = pyramid.output_shape()
    assert list(out) == list(shapes) == ["p2", "p3", "p4", "p5", "p6"]
    for name, stride in zip(out, (4, 8, 16, 32, 64), strict=True):
        assert shapes[name].stride == stride and shapes[name].channels == 6
        assert out[name].shape == (2, 6, 64 // stride, 128 // stride)
    names = {name: tuple(p.shape) for name, p in pyramid.state_dict().items() if not name.startswith("net.")}
    assert names["simfp_2.0.weight"] == (8, 4, 2, 2) and names["simfp_2.1.weight"] == (4,)  # transposed, norm
    assert names["simfp_2.3.weight"] == (4, 2, 2, 2) and names["simfp_2.4.weight"] == (6, 2, 1, 1)
    assert names["simfp_2.5.norm.bias"] == (6,) and "simfp_2.5.bias" not in names
    assert names["simfp_3.0.weight"] == (8, 4, 2, 2) and names["simfp_3.1.norm.weight"] == (6,)
    assert names["simfp_4.0.weight"] == (6, 8, 1, 1) and names["simfp_4.1.weight"] == (6, 6, 3, 3)
    assert names["simfp_5.1.weight"] == (6, 8, 1, 1) and names["simfp_5.2.weight"] == (6, 6, 3, 3)


def test_pyramid_without_norm_and_wrong_scales():
    net = tiny(patch_size=16)
    pyramid = SimpleFeaturePyramid(net, "last_feat", 6, (4.0,), norm="")
    assert pyramid(torch.randn(1, 3, 32, 32))["p2"].shape == (1, 6, 8, 8)
    assert "simfp_2.4.bias" in pyramid.state_dict() or "simfp_2.3.bias" in pyramid.state_dict()
    with pytest.raises(BadValue, match="strides"):
        SimpleFeaturePyramid(net, "last_feat", 6, (4.0, 1.0))
    with pytest.raises(BadValue, match="not 8"):
        SimpleFeaturePyramid(net, "last_feat", 6, (8.0,))


def test_learning_rate_decay():
    rate = partial(get_vit_lr_decay_rate, lr_decay_rate=0.5, num_layers=12)
    assert rate("backbone.net.pos_embed") == rate("backbone.net.patch_embed.proj.weight") == 0.5**13
    assert rate("backbone.net.blocks.0.norm1.weight") == 0.5**12
    assert rate("backbone.net.blocks.11.mlp.fc1.weight") == 0.5
    assert rate("backbone.net.blocks.11.residual.conv1.weight") == 1
    assert rate("backbone.simfp_2.0.weight") == rate("roi_heads.box_head.fc1.weight") == 1
    assert get_vit_lr_decay_rate("backbone.net.blocks.3.norm1.weight") == 1


def test_no_pyramid_over_one_feature():
    with pytest.raises(KeyError):
        FPN(tiny(), ["res2"], 8)
