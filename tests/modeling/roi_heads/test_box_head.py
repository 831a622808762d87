import pytest
import torch
from torch import nn

from det2lite.layers import ShapeSpec
from det2lite.modeling.roi_heads import FastRCNNConvFCHead, build_box_head

SHAPE = ShapeSpec(channels=3, height=5, width=4)


def test_layers_names_and_shapes():
    head = FastRCNNConvFCHead(SHAPE, conv_dims=[6, 7], fc_dims=[8, 9])
    assert [name for name, _ in head.named_children()] == [
        *("conv1", "conv2", "flatten", "fc1", "fc_relu1", "fc2", "fc_relu2")
    ]
    assert head.fc1.in_features == 7 * 5 * 4
    assert head.output_shape == ShapeSpec(channels=9)
    assert head(torch.zeros(2, 3, 5, 4)).shape == (2, 9)
    assert head(torch.zeros(0, 3, 5, 4)).shape == (0, 9)


def test_convolutions_alone_keep_the_map():
    head = FastRCNNConvFCHead(SHAPE, conv_dims=[6], fc_dims=[], conv_norm="BN")
    assert head.output_shape == ShapeSpec(channels=6, height=5, width=4)
    assert head(torch.zeros(2, 3, 5, 4)).shape == (2, 6, 5, 4)
    assert head.conv1.bias is None
    with pytest.raises(ValueError, match="needs a layer"):
        FastRCNNConvFCHead(SHAPE, conv_dims=[], fc_dims=[])


def test_negative_outputs_are_cut():
    head = FastRCNNConvFCHead(SHAPE, conv_dims=[], fc_dims=[2])
    nn.init.constant_(head.fc1.weight, 1.0)
    assert head(torch.stack([torch.ones(3, 5, 4), -torch.ones(3, 5, 4)])).tolist() == [[60, 60], [0, 0]]


def test_weights_are_drawn_once_the_head_is_complete():
    torch.manual_seed(3)
    head = FastRCNNConvFCHead(SHAPE, conv_dims=[2], fc_dims=[2, 2])
    torch.manual_seed(3)
    layers = [nn.Conv2d(3, 2, 3), nn.Linear(40, 2), nn.Linear(2, 2)]
    nn.init.kaiming_normal_(layers[0].weight, mode="fan_out", nonlinearity="relu")
    for layer in layers[1:]:
        nn.init.kaiming_uniform_(layer.weight, a=1)
    for name, layer in zip(("conv1", "fc1", "fc2"), layers, strict=True):
        torch.testing.assert_close(getattr(head, name).weight, layer.weight)
        assert getattr(head, name).bias.count_nonzero() == 0


def test_from_config_and_torchscript(tiny_config):
    cfg = tiny_config("MODEL.ROI_BOX_HEAD.NUM_CONV", 1, "MODEL.ROI_BOX_HEAD.CONV_DIM", 6)
    head = build_box_head(cfg, SHAPE).eval()
    assert [name for name, _ in head.named_children()] == ["conv1", "flatten", "fc1", "fc_relu1", "fc2", "fc_relu2"]
    x = torch.randn(2, 3, 5, 4)
    torch.testing.assert_close(torch.jit.script(head)(x), head(x))
