import pytest
import torch
import torchvision

from det2lite.modeling.backbone import FPN, SwinTransformer
from det2lite.modeling.backbone.swin import make_shift_mask
from det2lite.utils.errors import BadValue


def tiny(**kwargs):
    torch.manual_seed(0)
    settings = {"embed_dim": 4, "depths": (2, 2), "num_heads": (1, 2), "window_size": 3, "out_indices": (0, 1)}
    return SwinTransformer(**settings | {"drop_path_rate": 0.0} | kwargs)


@pytest.mark.parametrize(
    "embed_dim, depths, num_heads, millions",
    [
        # the published sizes without the classifier and, but for the last, with the norms of the other stages
        (96, (2, 2, 6, 2), (3, 6, 12, 24), 28.288 - 0.769 + 0.0013),
        (96, (2, 2, 18, 2), (3, 6, 12, 24), 49.606 - 0.769 + 0.0013),
        (128, (2, 2, 18, 2), (4, 8, 16, 32), 87.768 - 1.025 + 0.0018),
    ],
)
def test_published_sizes(embed_dim, depths, num_heads, millions):
    with torch.device("meta"):
        model = SwinTransformer(embed_dim=embed_dim, depths=depths, num_heads=num_heads)
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, abs=2e-3)


def test_state_dict_names():
    names = {name: tuple(p.shape) for name, p in tiny(ape=True).state_dict().items()}
    assert names["patch_embed.proj.weight"] == (4, 3, 4, 4) and names["patch_embed.norm.bias"] == (4,)
    assert names["absolute_pos_embed"] == (1, 4, 56, 56)
    assert names["layers.0.blocks.0.attn.relative_position_bias_table"] == (25, 1)
    assert names["layers.0.blocks.0.attn.relative_position_index"] == (9, 9)
    assert names["layers.1.blocks.1.attn.qkv.weight"] == (24, 8) and names["layers.1.blocks.1.mlp.fc1.bias"] == (32,)
    assert names["layers.0.downsample.reduction.weight"] == (8, 16)
    assert names["layers.0.downsample.norm.weight"] == (16,)
    assert names["norm0.weight"] == (4,) and names["norm1.weight"] == (8,)
    assert not any(name.startswith("layers.1.downsample") or "drop_path" in name for name in names)


def from_torchvision(model):
    """Its weights under our names."""
    renamed = {}
    for name, value in model.state_dict().items():
        parts = name.split(".")
        if parts[0] == "head":
            continue
        if parts[0] == "norm":
            new = f"norm1.{parts[-1]}"
        elif parts[1] == "0":
            new = f"patch_embed.{'proj' if parts[2] == '0' else 'norm'}.{parts[-1]}"
        else:
            stage, is_merging = divmod(int(parts[1]) - 1, 2)
            kind = "downsample" if is_merging else "blocks"
            new = f"layers.{stage}.{kind}.{'.'.join(parts[2:])}".replace("mlp.0", "mlp.fc1").replace("mlp.3", "mlp.fc2")
        renamed[new] = value.view(9, 9) if new.endswith("relative_position_index") else value
    return renamed


@pytest.mark.parametrize("size", [(64, 64), (52, 72), (60, 64)])  # whole windows; padded ones; an odd side to merge
def test_numbers_are_torchvisions(size):
    torch.manual_seed(0)
    reference = torchvision.models.SwinTransformer(
        patch_size=[4, 4], embed_dim=4, depths=[2, 2], num_heads=[1, 2], window_size=[3, 3], stochastic_depth_prob=0.0
    ).eval()
    for parameter in reference.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    model = tiny().eval()
    model.load_state_dict(from_torchvision(reference), strict=False)
    # torchvision's norms have another eps
    for module in model.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.eps = 1e-5
    x = torch.randn(2, 3, *size)
    with torch.no_grad():
        expected = reference.norm(reference.features(x)).permute(0, 3, 1, 2)
        torch.testing.assert_close(model(x)["p1"], expected, rtol=1e-4, atol=1e-4)


def test_shift_mask_by_hand():
    mask = make_shift_mask(2, 4, 2, 1)  # two windows beside each other, and only one row of them
    assert mask.shape == (2, 4, 4)
    # left window: rows are of opposite borders, columns are neighbours
    assert (mask[0] == 0).long().tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]]
    # right window: columns are apart too
    assert (mask[1] == 0).tolist() == torch.eye(4).bool().tolist()
    assert set(mask.unique().tolist()) == {-100.0, 0.0}
    assert make_shift_mask(1, 1, 2, 1).shape == (1, 4, 4)  # padded to a window


@pytest.mark.parametrize("size", [(64, 48), (33, 50), (1, 1)])
def test_output(size):
    model = tiny(ape=True)
    out = model(torch.randn(2, 3, *size))
    shapes = model.output_shape()
    assert list(out) == list(shapes) == ["p0", "p1"] and model.size_divisibility == 8
    height, width = -(-size[0] // 4), -(-size[1] // 4)
    assert out["p0"].shape == (2, 4, height, width)
    assert out["p1"].shape == (2, 8, -(-height // 2), -(-width // 2))
    assert [shapes[name].stride for name in out] == [4, 8]
    sum(o.square().sum() for o in out.values()).backward()
    unused = {name for name, p in model.named_parameters() if p.grad is None}
    assert not unused
    assert model(torch.zeros(0, 3, 32, 32))["p1"].shape == (0, 8, 4, 4)


def test_a_window_of_the_whole_image_is_global_attention():
    model = tiny(window_size=4, depths=(1, 1), out_indices=(0,)).eval()
    attention = model.layers[0].blocks[0].attn
    torch.nn.init.normal_(attention.relative_position_bias_table)
    x = torch.randn(1, 4, 4, 4)
    windows = model.layers[0].blocks[0]._attend(x, None)
    q, k, v = attention.qkv(x.flatten(1, 2)).chunk(3, dim=-1)
    logits = (q @ k.transpose(1, 2) / 2)[0]
    for i in range(16):
        for j in range(16):
            offset = (i // 4 - j // 4 + 3) * 7 + i % 4 - j % 4 + 3
            logits[i, j] = logits[i, j] + attention.relative_position_bias_table[offset, 0]
    expected = attention.proj(logits.softmax(-1) @ v)
    torch.testing.assert_close(windows.flatten(1, 2), expected)


def test_checkpointing_changes_nothing():
    x, results = torch.randn(2, 3, 24, 24), []
    for model in (tiny(), tiny(use_checkpoint=True)):
        out = model(x)["p1"]
        out.square().sum().backward()
        results.append([out.detach()] + [p.grad for p in model.parameters() if p.grad is not None])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b)


def test_drop_path_only_in_training():
    x = torch.randn(2, 3, 24, 24)
    model = tiny(drop_path_rate=0.9, drop_rate=0.5, attn_drop_rate=0.5)
    assert torch.equal(model.eval()(x)["p1"], tiny().eval()(x)["p1"])
    rates = [block.drop_path.p for layer in model.layers for block in layer.blocks]
    assert rates == pytest.approx([0, 0.3, 0.6, 0.9])


def test_freezing():
    model = tiny(frozen_stages=2, ape=True, drop_rate=0.5).train()
    frozen = [name for name, p in model.named_parameters() if not p.requires_grad]
    assert any(name.startswith("layers.1") for name, p in model.named_parameters() if p.requires_grad)
    assert {name.split(".")[0] for name in frozen} == {"patch_embed", "absolute_pos_embed", "layers"}
    assert not any(name.startswith("layers.1") for name in frozen)
    assert not model.layers[0].training and not model.pos_drop.training and model.layers[1].training
    assert all(p.requires_grad for p in tiny().parameters())


def test_under_a_pyramid_and_low_precision():
    model = FPN(tiny(), ["p0", "p1"], 4)
    assert model(torch.randn(1, 3, 64, 64))["p3"].shape == (1, 4, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        assert tiny()(torch.randn(1, 3, 32, 32))["p1"].isfinite().all()
    assert tiny().bfloat16()(torch.randn(1, 3, 32, 32).bfloat16())["p1"].dtype == torch.bfloat16


def test_wrong_settings():
    with pytest.raises(BadValue, match="2 depths but 3 num_heads"):
        tiny(num_heads=(1, 2, 4))
    with pytest.raises(BadValue, match="stages 0 to 1"):
        tiny(out_indices=(3,))
