"""A convolutional head whose loss looks at few positions, trained at the cost of these.

The RPN's loss samples 256 anchors of an image; everywhere else the gradient of its predictions is zero. A dense
backward pass of its 3x3 convolution multiplies these zeros: on the finest level of a feature pyramid alone it is a
tenth of the work of a training step. Here the backward pass gathers what the positions with a gradient have seen.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

__all__ = ["head_with_sparse_gradient", "hooked"]

MAX_SHARE = 0.5  # of a level's positions with a gradient: above, the dense convolution is as fast


def head_with_sparse_gradient(
    maps: Sequence[torch.Tensor],
    conv: tuple[torch.Tensor, torch.Tensor],
    predictors: Sequence[tuple[torch.Tensor, torch.Tensor]],
) -> tuple[list[torch.Tensor], ...]:
    """What `predictor(relu(conv(x)))` is for each map x, with gradients up to rounding.

    maps: `(N, C, H_l, W_l)`. conv: weight `(D, C, 3, 3)` and bias `(D,)` of a convolution with padding 1. predictors:
    weight `(K, D, 1, 1)` and bias `(K,)`, which autocast leaves in their precision. Returns for each predictor a list
    of `(N, K, H_l, W_l)`. Nothing between maps and predictions is kept for the backward pass. There is no second
    derivative.
    """
    device = maps[0].device.type
    if torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
        maps, conv = [x.to(dtype) for x in maps], [x.to(dtype) for x in conv]
    with torch.autocast(device, enabled=False):
        flat = _SparseGradientHead.apply(len(maps), *maps, *conv, *(t for pair in predictors for t in pair))
    return tuple(list(flat[i : i + len(maps)]) for i in range(0, len(flat), len(maps)))


def hooked(layer: torch.nn.Module) -> bool:
    """Whether somebody looks at the calls of a layer, which therefore has to be called."""
    kinds = (layer._forward_hooks, layer._forward_pre_hooks, layer._backward_hooks, layer._backward_pre_hooks)
    return any(kinds) or "forward" in vars(layer)


def _head(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, *predictors: torch.Tensor) -> list[torch.Tensor]:
    hidden = F.conv2d(x, weight, bias, padding=1).relu_().to(predictors[0].dtype)
    return [F.conv2d(hidden, *predictors[i : i + 2]) for i in range(0, len(predictors), 2)]


class _SparseGradientHead(torch.autograd.Function):
    @staticmethod
    def forward(ctx, num_maps, *tensors):
        ctx.num_maps = num_maps
        ctx.save_for_backward(*tensors)
        parameters = tensors[num_maps:]
        per_map = [_head(x, *parameters) for x in tensors[:num_maps]]
        return tuple(out for outs in zip(*per_map, strict=True) for out in outs)

    @staticmethod
    @once_differentiable
    def backward(ctx, *gradients):
        maps, parameters = ctx.saved_tensors[: ctx.num_maps], ctx.saved_tensors[ctx.num_maps :]
        of_maps, totals = [], [torch.zeros_like(p, dtype=_wide(p)) for p in parameters]
        for level, x in enumerate(maps):
            own = gradients[level :: ctx.num_maps]
            needed = ctx.needs_input_grad[1 + level]
            positions = torch.stack([g.ne(0).any(1) for g in own]).any(0).flatten().nonzero().squeeze(1)  # (P,)
            sparse = len(positions) <= MAX_SHARE * x.shape[0] * x.shape[2] * x.shape[3]
            of_map, of_parameters = (
                _sparse_backward(x, parameters, own, positions, needed)
                if sparse
                else _dense_backward(x, parameters, own, needed)
            )
            of_maps.append(of_map)
            for total, part in zip(totals, of_parameters, strict=True):
                total += part
        return None, *of_maps, *(t.to(p.dtype) for t, p in zip(totals, parameters, strict=True))


def _wide(tensor: torch.Tensor) -> torch.dtype:
    return torch.float32 if tensor.dtype in (torch.float16, torch.bfloat16) else tensor.dtype


def _dense_backward(x, parameters, gradients, needed):
    with torch.enable_grad():
        leaves = [t.detach().requires_grad_() for t in (x, *parameters)]
        outs = _head(*leaves)
        found = torch.autograd.grad(outs, leaves if needed else leaves[1:], gradients)
    return (found[0], found[1:]) if needed else (None, found)


def _sparse_backward(x, parameters, gradients, positions, needed):
    """Gradients of `x` (None unless needed) and of the parameters, from the gradients at `positions (P,)` of N*H*W."""
    wide = _wide(x)
    weight, bias, *predictors = (p.to(wide) for p in parameters)
    channels, (height, width) = x.shape[1], x.shape[2:]
    rows = x.permute(0, 2, 3, 1).reshape(-1, channels)  # (N*H*W, C), a view where channels are last
    neighbours, inside = _neighbours(positions, height, width)  # (P, 9), (P, 9)
    inside = inside.to(wide)[..., None]
    patches = (rows[neighbours].to(wide) * inside).flatten(1)  # (P, 9*C)
    kernel = weight.permute(0, 2, 3, 1).flatten(1)  # (D, 9*C)
    hidden = torch.addmm(bias, patches, kernel.t()).relu_()  # (P, D)
    of_hidden, of_parameters = torch.zeros_like(hidden), []
    for predictor, gradient in zip(predictors[::2], gradients, strict=True):
        at = gradient.permute(0, 2, 3, 1).reshape(-1, gradient.shape[1])[positions].to(wide)  # (P, K)
        of_hidden.addmm_(at, predictor.flatten(1))
        of_parameters += [(at.t() @ hidden).view_as(predictor), at.sum(0)]
    of_hidden.masked_fill_(hidden == 0, 0)
    of_kernel = (of_hidden.t() @ patches).view(-1, 3, 3, channels).permute(0, 3, 1, 2)
    of_parameters = [of_kernel, of_hidden.sum(0), *of_parameters]
    if not needed:
        return None, of_parameters
    of_patches = (of_hidden @ kernel).view(-1, 9, channels) * inside
    total = rows.new_zeros(rows.shape)
    total.index_add_(0, neighbours.flatten(), of_patches.flatten(0, 1).to(total.dtype))
    return total.view(len(x), height, width, channels).permute(0, 3, 1, 2), of_parameters


def _neighbours(positions: torch.Tensor, height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The 3x3 positions round each, `(P, 9)`, and whether they are inside of the map; outside ones are moved in."""
    image, y, x = positions // (height * width), positions // width % height, positions % width
    offsets = torch.arange(-1, 2, device=positions.device)
    ys, xs = y[:, None] + offsets.repeat_interleave(3), x[:, None] + offsets.repeat(3)  # (P, 9)
    inside = (ys >= 0) & (ys < height) & (xs >= 0) & (xs < width)
    index = (image[:, None] * height + ys.clamp(0, height - 1)) * width + xs.clamp(0, width - 1)
    return index, inside
