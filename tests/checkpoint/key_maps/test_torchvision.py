import pytest
import torch
import torchvision

from det2lite.checkpoint.key_maps import torchvision as key_map

DEPTHS = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3)}


def our_names(depth):
    """Names of a ResNet's tensors in det2lite, batch norm's counters left out."""
    convolutions = ["stem.conv1"]
    per_block = 2 if depth < 50 else 3
    for stage, blocks in enumerate(DEPTHS[depth], start=2):
        for block in range(blocks):
            convolutions += [f"res{stage}.{block}.conv{i + 1}" for i in range(per_block)]
            if block == 0 and (depth >= 50 or stage > 2):
                convolutions.append(f"res{stage}.0.shortcut")
    norm = ("norm.weight", "norm.bias", "norm.running_mean", "norm.running_var")
    return {f"{c}.{part}" for c in convolutions for part in ("weight", *norm)}


@pytest.mark.parametrize("depth", DEPTHS)
def test_every_tensor_of_a_resnet_lands(depth):
    with torch.device("meta"):
        state = getattr(torchvision.models, f"resnet{depth}")().state_dict()
    assert key_map.is_torchvision_resnet(state)
    names = {key_map.convert_name(name) for name in state if not name.endswith("num_batches_tracked")}
    assert names == our_names(depth) | {"linear.weight", "linear.bias"}


def test_other_names_stay():
    assert key_map.convert_name("backbone.conv1.weight") == "backbone.conv1.weight"
    assert not key_map.is_torchvision_resnet(["conv1.weight", "bn1.weight"])
    assert not key_map.is_torchvision_resnet([])
