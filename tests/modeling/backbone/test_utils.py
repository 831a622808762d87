import pytest
import torch

from det2lite.modeling.backbone.utils import (
    PatchEmbed,
    add_decomposed_rel_pos,
    attention_with_rel_pos,
    get_abs_pos,
    get_rel_pos,
    window_partition,
    window_unpartition,
)


@pytest.mark.parametrize("height, width, windows", [(4, 6, 6), (3, 5, 6), (1, 1, 1), (2, 2, 1)])
def test_windows_there_and_back(height, width, windows):
    x = torch.randn(2, height, width, 3)
    parts, padded = window_partition(x, 2)
    assert parts.shape == (2 * windows, 2, 2, 3) and padded == (-(-height // 2) * 2, -(-width // 2) * 2)
    assert torch.equal(window_unpartition(parts, 2, padded, (height, width)), x)


def test_windows_by_hand():
    x = torch.arange(1.0, 10).view(1, 3, 3, 1)
    parts, padded = window_partition(x, 2)
    assert padded == (4, 4)
    assert parts.flatten(1).tolist() == [[1, 2, 4, 5], [3, 0, 6, 0], [7, 8, 0, 0], [9, 0, 0, 0]]
    assert window_partition(torch.zeros(0, 3, 3, 1), 2)[0].shape == (0, 2, 2, 1)


def test_relative_positions_by_hand():
    rel_pos = torch.arange(5.0)[:, None]  # offsets -2 ... 2
    assert get_rel_pos(3, 3, rel_pos)[..., 0].tolist() == [[2, 1, 0], [3, 2, 1], [4, 3, 2]]
    # two pooled keys lie at 0 and 2 of four queries: offsets count steps of the queries
    rel_pos = torch.arange(7.0)[:, None]
    assert get_rel_pos(4, 2, rel_pos)[..., 0].tolist() == [[2, 0], [3, 1], [4, 2], [5, 3]]
    assert get_rel_pos(2, 4, rel_pos)[..., 0].tolist() == [[3, 2, 1, 0], [5, 4, 3, 2]]
    stretched = get_rel_pos(2, 2, torch.tensor([[0.0], [9.0]]))  # to three offsets
    assert stretched[..., 0].tolist() == [[4.5, 0], [9, 4.5]]


def explicit_attention(q, k, v, rel_pos_h, rel_pos_w, q_size, k_size):
    """One head, one query and one key at a time."""
    out = torch.zeros(len(q), v.shape[1])
    for i in range(len(q)):
        logits = []
        for j in range(len(k)):
            row = get_rel_pos(q_size[0], k_size[0], rel_pos_h)[i // q_size[1], j // k_size[1]]
            column = get_rel_pos(q_size[1], k_size[1], rel_pos_w)[i % q_size[1], j % k_size[1]]
            logits.append(q[i] @ k[j] / len(q[i]) ** 0.5 + q[i] @ row + q[i] @ column)
        out[i] = torch.stack(logits).softmax(0) @ v
    return out


@pytest.mark.parametrize("q_size, k_size", [((2, 3), (2, 3)), ((4, 2), (2, 1)), ((1, 1), (1, 1)), ((2, 2), (4, 4))])
def test_attention_is_the_explicit_one(q_size, k_size):
    torch.manual_seed(0)
    q = torch.randn(2, 3, q_size[0] * q_size[1], 4)
    k, v = torch.randn(2, 2, 3, k_size[0] * k_size[1], 4)
    rel_pos = [torch.randn(2 * max(sides) - 1, 4) for sides in zip(q_size, k_size, strict=True)]
    out = attention_with_rel_pos(q, k, v, rel_pos, q_size, k_size)
    for b in range(2):
        for head in range(3):
            expected = explicit_attention(q[b, head], k[b, head], v[b, head], *rel_pos, q_size, k_size)
            torch.testing.assert_close(out[b, head], expected)
    logits = q.flatten(0, 1) / 2 @ k.flatten(0, 1).transpose(1, 2)
    logits = add_decomposed_rel_pos(logits, q.flatten(0, 1), *rel_pos, q_size, k_size)
    torch.testing.assert_close((logits.softmax(-1) @ v.flatten(0, 1)).view_as(out), out)


def test_absolute_positions():
    positions = torch.arange(5.0).view(1, 5, 1)
    assert get_abs_pos(positions, True, (2, 2)).flatten().tolist() == [1, 2, 3, 4]
    assert get_abs_pos(positions[:, 1:], False, (2, 2)).flatten().tolist() == [1, 2, 3, 4]
    resized = get_abs_pos(positions, True, (3, 5))
    assert resized.shape == (1, 3, 5, 1) and resized.mean() == pytest.approx(2.5)
    with pytest.raises(ValueError, match="do not fill a square"):
        get_abs_pos(positions, False, (2, 2))


def test_patches():
    embed = PatchEmbed((2, 2), (2, 2), in_chans=1, embed_dim=3)
    assert embed(torch.zeros(2, 1, 4, 6)).shape == (2, 2, 3, 3)
    assert set(embed.state_dict()) == {"proj.weight", "proj.bias"}
