import logging

import pytest
import torch

from det2lite.checkpoint.c2_model_loading import align_and_update_state_dicts
from det2lite.checkpoint.matching import match_by_suffix
from det2lite.utils.errors import BadValue


def match(model, checkpoint):
    return match_by_suffix(dict.fromkeys(model, (1,)), dict.fromkeys(checkpoint, (1,)))


def test_whole_parts_at_the_end_and_the_longest_wins():
    model = ["backbone.conv.weight", "backbone.res.conv.weight", "head.myconv.weight", "head.bias"]
    got = match(model, ["conv.weight", "res.conv.weight", "other.bias"])
    assert got == {"backbone.conv.weight": "conv.weight", "backbone.res.conv.weight": "res.conv.weight"}


def test_nothing_to_match():
    assert match([], ["a"]) == match(["a"], []) == {}


def test_exact_name_wins_over_other_ends():
    assert match(["layer2.weight", "res.layer2.weight"], ["layer2.weight"]) == {"layer2.weight": "layer2.weight"}


def test_shape_decides_between_two_places():
    model = {"a.conv.weight": (3,), "b.conv.weight": (4,), "c.fc.weight": (1,), "d.fc.weight": (1,)}
    assert match_by_suffix(model, {"conv.weight": (4,)}) == {"b.conv.weight": "conv.weight"}
    assert match_by_suffix(model, {"fc.weight": (1000,)}) == {}
    with pytest.raises(BadValue, match="'fc.weight' .* fits 'c.fc.weight' and 'd.fc.weight'"):
        match_by_suffix(model, {"fc.weight": (1,)})


def test_align_leaves_out_other_shapes_and_keeps_unknown_names(caplog):
    model = {"net.a.weight": torch.zeros(2), "net.b.weight": torch.zeros(3)}
    found = {"a.weight": torch.ones(2), "b.weight": torch.ones(4), "c.weight": torch.ones(1)}
    with caplog.at_level(logging.WARNING):
        got = align_and_update_state_dicts(model, found, c2_conversion=False)
    assert set(got) == {"net.a.weight", "c.weight"}
    assert got["net.a.weight"] is found["a.weight"]
    assert "net.b.weight: [4] in the checkpoint, [3] in the model" in caplog.text


def test_align_converts_blob_names():
    model = {"backbone.stem.conv1.weight": torch.zeros(2)}
    got = align_and_update_state_dicts(model, {"conv1_w": torch.ones(2), "fc1000_b": torch.ones(1)})
    assert set(got) == {"backbone.stem.conv1.weight", "fc1000_b"}
