"""Context at several scales."""

from copy import deepcopy
from functools import partial

import torch
from torch import nn
from torch.nn import functional as F

from det2lite.layers.batch_norm import get_norm
from det2lite.layers.blocks import DepthwiseSeparableConv2d
from det2lite.layers.wrappers import Conv2d
from det2lite.utils.errors import BadValue
from det2lite.utils.fvcore_nn import weight_init

__all__ = ["ASPP"]


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling: a 1x1 convolution, dilated 3x3 ones and a pooled branch, side by side.

    (N, in_channels, H, W) to (N, out_channels, H, W). DeepLabv3, arXiv 1706.05587.
    """

    def __init__(
        self,
        in_channels,
        out_channels,
        dilations,
        *,
        norm,
        activation,
        pool_kernel_size=None,
        dropout: float = 0.0,
        use_depthwise_separable_conv=False,
    ):
        """dilations: of the 3 dilated branches. norm: see `get_norm`. activation: a module or function.

        pool_kernel_size: (height, width) of the pooling, which must divide the feature map in training; None
            pools the whole map to one position.
        """
        super().__init__()
        assert len(dilations) == 3, f"ASPP expects 3 dilations, got {len(dilations)}"
        self.pool_kernel_size = pool_kernel_size
        self.dropout = dropout
        conv = partial(_conv, norm=norm, activation=activation)

        def dilated(dilation):
            if not use_depthwise_separable_conv:
                return conv(in_channels, out_channels, 3, dilation=dilation)
            return DepthwiseSeparableConv2d(
                in_channels,
                out_channels,
                kernel_size=3,
                padding=dilation,
                dilation=dilation,
                norm1=norm,
                activation1=deepcopy(activation),
                norm2=norm,
                activation2=deepcopy(activation),
            )

        # no norm in the pooled branch: a batch of one image, pooled to one position, would have no variance
        pooling = nn.AdaptiveAvgPool2d(1) if pool_kernel_size is None else nn.AvgPool2d(pool_kernel_size, stride=1)
        pooled = nn.Sequential(pooling, conv(in_channels, out_channels, 1, norm=""))
        self.convs = nn.ModuleList([conv(in_channels, out_channels, 1), *map(dilated, dilations), pooled])
        self.project = conv(5 * out_channels, out_channels, 1)

    def forward(self, x):
        size = x.shape[-2:]
        kernel = self.pool_kernel_size
        if self.training and kernel is not None and (size[0] % kernel[0] or size[1] % kernel[1]):
            raise BadValue(
                f"ASPP pools by {tuple(kernel)}, which does not divide the feature map of {tuple(size)}; "
                "adjust the training crop or the pooling size"
            )
        branches = [conv(x) for conv in self.convs]
        branches[-1] = F.interpolate(branches[-1], size=size, mode="bilinear", align_corners=False)
        x = self.project(torch.cat(branches, dim=1))
        return F.dropout(x, self.dropout, training=self.training) if self.dropout > 0 else x


def _conv(in_channels, out_channels, kernel_size, *, dilation=1, norm, activation) -> Conv2d:
    conv = Conv2d(
        in_channels,
        out_channels,
        kernel_size=kernel_size,
        padding=dilation * (kernel_size // 2),
        dilation=dilation,
        bias=norm == "",
        norm=get_norm(norm, out_channels),
        activation=deepcopy(activation),
    )
    weight_init.c2_xavier_fill(conv)
    return conv
