"""Normalisations: the frozen and the synchronised batch norm, and a name for each kind."""

from collections.abc import Callable
from functools import partial

import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional as F

from det2lite.utils.errors import UnknownName, close_names
from det2lite.utils.fvcore_nn import differentiable_all_reduce

__all__ = [
    "BatchNorm2d",
    "CycleBatchNormList",
    "FrozenBatchNorm2d",
    "LayerNorm",
    "NaiveSyncBatchNorm",
    "get_norm",
]

BatchNorm2d = nn.BatchNorm2d


class FrozenBatchNorm2d(nn.Module):
    """Batch norm whose statistics and affine parameters are constants: y = x * scale + shift per channel.

    The four are buffers named as in `torch.nn.BatchNorm2d`, so that state dicts are exchangeable. As
    created, it changes nothing. Behind a `layers.Conv2d` it is folded into the convolution.
    """

    _version = 3

    def __init__(self, num_features, eps=1e-5):
        super().__init__()
        self.num_features = num_features
        self.eps = eps
        self.register_buffer("weight", torch.ones(num_features))
        self.register_buffer("bias", torch.zeros(num_features))
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features) - eps)

    def scale_and_shift(self) -> tuple[torch.Tensor, torch.Tensor]:
        """(C,) and (C,): what the input is multiplied by, and what is then added; float64 where the device has it.

        Rounding the two early would cost each layer of a deep network the last bit of its output.
        """
        wide = torch.float32 if self.weight.device.type == "mps" else torch.float64
        scale = self.weight.to(wide) * (self.running_var.to(wide) + self.eps).rsqrt()
        return scale, self.bias.to(wide) - self.running_mean.to(wide) * scale

    def forward(self, x):
        """(N, C, H, W) to the same shape and dtype."""
        if x.requires_grad:
            # F.batch_norm would compute gradients of weight and bias that nobody wants, and keep x for them
            scale, shift = self.scale_and_shift()
            return x * scale.view(1, -1, 1, 1).to(x.dtype) + shift.view(1, -1, 1, 1).to(x.dtype)
        return F.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, training=False, eps=self.eps
        )

    def _load_from_state_dict(self, state_dict, prefix, local_metadata, strict, missing_keys, unexpected, errors):
        version = local_metadata.get("version", None)
        if version is None or version < 2:  # statistics folded into the affine parameters by whoever wrote it
            if prefix + "running_mean" not in state_dict:
                state_dict[prefix + "running_mean"] = torch.zeros_like(self.running_mean)
            if prefix + "running_var" not in state_dict:
                state_dict[prefix + "running_var"] = torch.ones_like(self.running_var) - self.eps
        counted = state_dict.pop(prefix + "num_batches_tracked", None)  # of a BatchNorm2d, whose version is 2 too
        if version == 2 and counted is None:  # the variance was kept with eps added
            state_dict[prefix + "running_var"] = state_dict[prefix + "running_var"] - self.eps
        super()._load_from_state_dict(state_dict, prefix, local_metadata, strict, missing_keys, unexpected, errors)

    def __repr__(self):
        return f"FrozenBatchNorm2d(num_features={self.num_features}, eps={self.eps})"

    @classmethod
    def convert_frozen_batchnorm(cls, module):
        """`module` with every BatchNorm2d and SyncBatchNorm in it frozen; itself, or a new one if it is a norm."""
        kinds = (nn.BatchNorm2d, nn.SyncBatchNorm)
        return _replace(module, kinds, lambda norm: _copy_statistics(norm, cls(norm.num_features, norm.eps)))

    @classmethod
    def convert_frozenbatchnorm2d_to_batchnorm2d(cls, module: nn.Module) -> nn.Module:
        """`module` with every frozen batch norm in it made trainable; itself, or a new one if it is a norm."""
        return _replace(
            module, (cls,), lambda norm: _copy_statistics(norm, nn.BatchNorm2d(norm.num_features, norm.eps))
        )


def _replace(module: nn.Module, kinds: tuple, convert: Callable) -> nn.Module:
    if isinstance(module, kinds):
        return convert(module)
    for name, child in module.named_children():
        new = _replace(child, kinds, convert)
        if new is not child:
            setattr(module, name, new)
    return module


@torch.no_grad()
def _copy_statistics(source: nn.Module, target: nn.Module) -> nn.Module:
    for name in ("weight", "bias", "running_mean", "running_var"):
        value = getattr(source, name)
        if value is not None:  # a norm without affine parameters or statistics
            kept = getattr(target, name)
            kept.data = value.detach().clone()
    target.train(source.training)
    return target


class LayerNorm(nn.Module):
    """Layer norm over the channels of (N, C, H, W), each position for itself. arXiv 1607.06450."""

    def __init__(self, normalized_shape, eps=1e-6):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(normalized_shape))
        self.bias = nn.Parameter(torch.zeros(normalized_shape))
        self.eps = eps
        self.normalized_shape = (normalized_shape,)

    def forward(self, x):
        mean = x.mean(1, keepdim=True)
        variance = (x - mean).pow(2).mean(1, keepdim=True)
        x = (x - mean) / torch.sqrt(variance + self.eps)
        return self.weight[:, None, None] * x + self.bias[:, None, None]


class NaiveSyncBatchNorm(BatchNorm2d):
    """Batch norm over the batches of all processes, also where some of them are empty or differ in size.

    stats_mode: "" gives each process the same weight, whatever its batch, which must not be empty; "N"
    weighs each by its number of images. In evaluation, or alone, it is BatchNorm2d.
    """

    def __init__(self, *args, stats_mode="", **kwargs):
        super().__init__(*args, **kwargs)
        assert stats_mode in ("", "N"), f"stats_mode is '' or 'N', not {stats_mode!r}"
        self._stats_mode = stats_mode

    def forward(self, input):
        world_size = dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1
        if world_size == 1 or not self.training:
            return super().forward(input)
        dtype = input.dtype
        x = input.float()
        if len(x) == 0:
            # no statistics of its own, but the graph still has to reach the input and the other processes
            local = torch.zeros(2 * x.shape[1], device=x.device) + x.sum()
        else:
            local = torch.cat([x.mean(dim=[0, 2, 3]), (x * x).mean(dim=[0, 2, 3])])  # (2C,)

        if self._stats_mode == "":
            assert len(x) > 0, 'SyncBatchNorm(stats_mode="") does not support zero batch size.'
            moments = differentiable_all_reduce(local) * (1.0 / world_size)
            momentum = self.momentum
        else:
            summed = differentiable_all_reduce(torch.cat([local, local.new_ones(1)]) * len(x))  # (2C + 1,)
            images = summed[-1].detach()
            moments = summed[:-1] / images.clamp(min=1)
            momentum = images.clamp(max=1) * self.momentum  # nothing is learnt where all were empty

        mean, mean_of_squares = moments.chunk(2)
        variance = mean_of_squares - mean * mean
        scale = self.weight * torch.rsqrt(variance + self.eps)
        shift = self.bias - mean * scale
        self.running_mean += momentum * (mean.detach() - self.running_mean)
        self.running_var += momentum * (variance.detach() - self.running_var)
        return (x * scale.view(1, -1, 1, 1) + shift.view(1, -1, 1, 1)).to(dtype)


class CycleBatchNormList(nn.ModuleList):
    """Batch norms used in turn, one more at each call, with common affine parameters.

    For a head applied to several feature levels in a fixed order, whose statistics differ. The number of
    calls must be a multiple of `length`.
    """

    def __init__(self, length: int, bn_class=nn.BatchNorm2d, **kwargs):
        """kwargs: of `bn_class`, `num_features` among them."""
        self._affine = kwargs.pop("affine", True)
        super().__init__([bn_class(**kwargs, affine=False) for _ in range(length)])
        if self._affine:
            channels = self[0].num_features
            self.weight = nn.Parameter(torch.ones(channels))
            self.bias = nn.Parameter(torch.zeros(channels))
        self._pos = 0

    def forward(self, x):
        y = self[self._pos](x)
        self._pos = (self._pos + 1) % len(self)
        if self._affine:
            y = y * self.weight.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)
        return y

    def extra_repr(self):
        return f"affine={self._affine}"


NORMS: dict[str, Callable[[int], nn.Module]] = {
    "BN": BatchNorm2d,
    "SyncBN": nn.SyncBatchNorm,
    "FrozenBN": FrozenBatchNorm2d,
    "GN": partial(nn.GroupNorm, 32),
    "nnSyncBN": nn.SyncBatchNorm,
    "naiveSyncBN": NaiveSyncBatchNorm,
    "naiveSyncBN_N": partial(NaiveSyncBatchNorm, stats_mode="N"),
    "LN": LayerNorm,
}


def get_norm(norm: str | Callable[[int], nn.Module] | None, out_channels: int) -> nn.Module | None:
    """The normalisation of a name in `NORMS`, or what a callable makes of the channels; None for "" and None."""
    if norm is None or norm == "":
        return None
    if isinstance(norm, str):
        if norm not in NORMS:
            raise UnknownName(f"no norm {norm!r}; known: '', {', '.join(NORMS)}{close_names(norm, NORMS)}")
        norm = NORMS[norm]
    return norm(out_channels)
