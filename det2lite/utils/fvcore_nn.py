"""What is used of `fvcore.nn`, imported without the deprecation warning that it causes on current PyTorch."""

import warnings

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message=".*torch.jit.script.*", category=FutureWarning)
    warnings.filterwarnings("ignore", message=".*torch.jit.script.*", category=DeprecationWarning)
    import fvcore.nn
    from fvcore.nn import sigmoid_focal_loss, weight_init
    from fvcore.nn.distributed import differentiable_all_reduce
    from fvcore.nn.precise_bn import get_bn_modules, update_bn_stats

__all__ = [
    "differentiable_all_reduce",
    "fvcore",
    "get_bn_modules",
    "sigmoid_focal_loss",
    "update_bn_stats",
    "weight_init",
]
