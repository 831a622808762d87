import pytest
import torch
import torch.nn.functional as F

from det2lite.modeling.backbone import FPN, MViT
from det2lite.modeling.backbone.mvit import MultiScaleAttention, MultiScaleBlock
from det2lite.utils.errors import BadValue


def tiny(**kwargs):
    torch.manual_seed(0)
    settings = {"img_size": 64, "embed_dim": 4, "depth": 4, "last_block_indexes": (0, 1, 2, 3)}
    settings |= {"adaptive_window_size": 16, "rel_pos_zero_init": False}
    return MViT(**settings | kwargs)


@pytest.mark.parametrize(
    "depth, last_block_indexes, millions",
    [(10, (0, 2, 7, 9), 24.2), (16, (0, 2, 13, 15), 34.9), (24, (1, 4, 20, 23), 51.5)],
)
def test_published_sizes(depth, last_block_indexes, millions):
    """MViTv2-T, -S and -B of table 1; the classifier has 0.77 million."""
    with torch.device("meta"):
        model = MViT(depth=depth, last_block_indexes=last_block_indexes)
    total = sum(p.numel() for p in model.parameters()) / 1e6 + 768 * 1000 / 1e6
    assert total == pytest.approx(millions, abs=0.15)


def test_plan_of_mvitv2_t():
    """Resolutions, strides and widths as in the paper for an image of 224 pixels."""
    with torch.device("meta"):
        model = MViT(depth=10, last_block_indexes=(0, 2, 7, 9))
    pools = [(b.attn.pool_q.stride[0], b.attn.pool_k.stride[0]) for b in model.blocks]
    assert pools == [(1, 4), (2, 2), (1, 4), (2, 1), (1, 1), (1, 1), (1, 1), (1, 2), (2, 1), (1, 1)]
    windows = [(b.attn.window_size_q, b.attn.window_size_kv) for b in model.blocks]
    assert windows == [(56, 14), (28, 28), (0, 0), (14, 28), (14, 14), (14, 14), (14, 14), (0, 0), (7, 14), (0, 0)]
    assert [b.attn.num_heads for b in model.blocks] == [1, 2, 2, 4, 4, 4, 4, 4, 8, 8]
    assert [b.attn.rel_pos_h.shape[0] for b in model.blocks] == [111, 55, 55, 55, 27, 27, 27, 27, 27, 13]
    widths = [(b.norm1.normalized_shape[0], b.norm2.normalized_shape[0]) for b in model.blocks]
    assert widths == [(96, 96), (96, 192), (192, 192), (192, 384)] + [(384, 384)] * 4 + [(384, 768), (768, 768)]


def test_state_dict_names():
    names = {name: tuple(p.shape) for name, p in tiny(use_abs_pos=True).state_dict().items()}
    block = {name.removeprefix("blocks.1.") for name in names if name.startswith("blocks.1.")}
    assert block == {
        *(f"{part}.{kind}" for kind in ("weight", "bias") for part in
          ("norm1", "norm2", "attn.qkv", "attn.proj", "attn.norm_q", "attn.norm_k", "attn.norm_v", "mlp.fc1", "mlp.fc2",
           "proj")),
        "attn.pool_q.weight", "attn.pool_k.weight", "attn.pool_v.weight", "attn.rel_pos_h", "attn.rel_pos_w",
    }  # fmt: skip
    assert names["blocks.1.attn.pool_q.weight"] == (4, 1, 3, 3) and names["blocks.1.proj.weight"] == (8, 4)
    assert names["blocks.1.attn.qkv.weight"] == (24, 4) and "blocks.0.proj.weight" not in names
    assert names["pos_embed"] == (1, 56 * 56 + 1, 4) and names["patch_embed.proj.weight"] == (4, 3, 7, 7)
    assert names["scale5_norm.weight"] == (32,)


@pytest.mark.parametrize("size", [(64, 64), (96, 64), (72, 44), (1, 1)])
@pytest.mark.parametrize("use_abs_pos", [True, False])
def test_output(size, use_abs_pos):
    model = tiny(use_abs_pos=use_abs_pos)
    out = model(torch.randn(2, 3, *size))
    shapes = model.output_shape()
    assert list(out) == list(shapes) == ["scale2", "scale3", "scale4", "scale5"]
    for name, stride, channels in zip(out, (4, 8, 16, 32), (4, 8, 16, 32), strict=True):
        assert (shapes[name].stride, shapes[name].channels) == (stride, channels)
        assert out[name].shape == (2, channels, -(-size[0] // stride), -(-size[1] // stride))
    sum(o.square().sum() for o in out.values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_some_features():
    model = tiny(out_features=("scale5", "scale3"))
    assert list(model(torch.randn(1, 3, 32, 32))) == list(model.output_shape()) == ["scale3", "scale5"]
    assert not any(name.startswith(("scale2", "scale4")) for name in model.state_dict())
    with pytest.raises(BadValue, match="scale6"):
        tiny(out_features=("scale6",))


def test_a_window_of_the_whole_image_is_global_attention():
    torch.manual_seed(0)
    settings = {"use_rel_pos": True, "rel_pos_zero_init": False, "input_size": (8, 8), "stride_kv": 2}
    for stride_q in (1, 2):
        whole = MultiScaleAttention(4, 8, 2, stride_q=stride_q, **settings)
        windows = MultiScaleAttention(4, 8, 2, stride_q=stride_q, window_size=8, **settings)
        windows.load_state_dict(whole.state_dict())
        x = torch.randn(2, 8, 8, 4)
        torch.testing.assert_close(whole(x), windows(x))
        assert whole(x).shape == (2, 8 // stride_q, 8 // stride_q, 8)


def test_windows_do_not_see_each_other():
    torch.manual_seed(0)
    # pooling with a 1x1 kernel does not look over the border either
    attention = MultiScaleAttention(4, 4, 1, pool_kernel=(1, 1), window_size=4)
    x = torch.randn(1, 8, 8, 4)
    y = x.clone()
    y[:, :, 4:] = 0
    assert torch.equal(attention(x)[:, :, :4], attention(y)[:, :, :4])


def test_attention_by_hand():
    """Without pooling and positions it is plain attention of normed queries, keys and values, plus the queries."""
    torch.manual_seed(0)
    attention = MultiScaleAttention(4, 4, 2, pool_kernel=(1, 1))
    for part in "qkv":
        torch.nn.init.ones_(getattr(attention, f"pool_{part}").weight)
    x = torch.randn(1, 2, 3, 4)
    qkv = attention.qkv(x).view(6, 3, 2, 2)
    q, k, v = (F.layer_norm(qkv[:, i], (2,)) for i in range(3))  # (6, heads, 2)
    heads = [(q[:, h] @ k[:, h].T / 2**0.5).softmax(-1) @ v[:, h] + q[:, h] for h in (0, 1)]
    expected = attention.proj(torch.cat(heads, dim=-1)).view(1, 2, 3, 4)
    torch.testing.assert_close(attention(x), expected)


def test_shortcut_is_pooled_and_projected():
    torch.manual_seed(0)
    block = MultiScaleBlock(4, 8, 2, stride_q=2).eval()
    for parameter in (*block.attn.proj.parameters(), *block.mlp.fc2.parameters()):
        torch.nn.init.zeros_(parameter)
    x = torch.randn(1, 4, 4, 4)
    projected = block.proj(block.norm1(x)).permute(0, 3, 1, 2)
    torch.testing.assert_close(block(x).permute(0, 3, 1, 2), F.max_pool2d(projected, 3, 2, 1))


def test_checkpointing_changes_nothing():
    x, results = torch.randn(2, 3, 40, 40), []
    for model in (tiny(), tiny(use_act_checkpoint=True)):
        out = model(x)["scale5"]
        out.square().sum().backward()
        results.append([out.detach()] + [p.grad for p in model.parameters() if p.grad is not None])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b)


def test_drop_path_only_in_training():
    x = torch.randn(2, 3, 32, 32)
    model = tiny(drop_path_rate=0.9)
    assert torch.equal(model.eval()(x)["scale5"], tiny().eval()(x)["scale5"])
    assert [block.drop_path.p for block in model.blocks] == pytest.approx([0, 0.3, 0.6, 0.9])


def test_under_a_pyramid_and_low_precision():
    model = FPN(tiny(), ["scale2", "scale3"], 4)
    assert model(torch.randn(1, 3, 64, 64))["p3"].shape == (1, 4, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        assert tiny()(torch.randn(1, 3, 32, 32))["scale5"].isfinite().all()
