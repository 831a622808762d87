import pytest
import torch
from torch import nn

from det2lite.layers import ASPP, CNNBlockBase, Conv2d, DepthwiseSeparableConv2d, FrozenBatchNorm2d, get_norm


def test_freeze():
    class Block(CNNBlockBase):
        def __init__(self):
            super().__init__(3, 8, 2)
            self.conv = Conv2d(3, 8, 3, norm=get_norm("BN", 8))

    block = Block().freeze()
    assert isinstance(block, Block) and (block.in_channels, block.out_channels, block.stride) == (3, 8, 2)
    assert not any(parameter.requires_grad for parameter in block.parameters())
    assert type(block.conv.norm) is FrozenBatchNorm2d


def test_depthwise_separable():
    block = DepthwiseSeparableConv2d(3, 10, norm1="BN", activation1=nn.PReLU(), norm2="", activation2=None)
    assert block(torch.rand(2, 3, 5, 6)).shape == (2, 10, 5, 6)
    assert block.depthwise.weight.shape == (3, 1, 3, 3) and block.depthwise.bias is None
    assert block.pointwise.weight.shape == (10, 3, 1, 1) and block.pointwise.bias is not None


@pytest.mark.parametrize("separable", [True, False])
@pytest.mark.parametrize("pool", [None, (4, 4)])
def test_aspp(separable, pool):
    aspp = ASPP(
        3,
        10,
        [2, 3, 4],
        norm="BN",
        activation=nn.ReLU(),
        pool_kernel_size=pool,
        dropout=0.1,
        use_depthwise_separable_conv=separable,
    )
    assert aspp(torch.rand(2, 3, 8, 8)).shape == (2, 10, 8, 8)
    assert aspp.eval()(torch.rand(1, 3, 9, 9)).shape == (1, 10, 9, 9)
    assert aspp.project.in_channels == 50 and aspp.convs[4][1].bias is not None


def test_aspp_refuses():
    with pytest.raises(AssertionError, match="3 dilations"):
        ASPP(3, 10, [2], norm="", activation=None)
    aspp = ASPP(3, 10, [2, 3, 4], norm="", activation=None, pool_kernel_size=(4, 4))
    with pytest.raises(ValueError, match="does not divide"):
        aspp(torch.rand(2, 3, 9, 8))
