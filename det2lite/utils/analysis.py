"""Counting what a detector computes and holds, by `fvcore`."""

import logging
from collections import defaultdict
from typing import Any

import torch
from fvcore.nn import parameter_count, parameter_count_table
from torch import nn

from det2lite.utils.fvcore_nn import fvcore
from det2lite.utils.tensor_inputs import TensorInputs, find_tensors

__all__ = [
    "FlopCountAnalysis",
    "activation_count_operators",
    "find_unused_parameters",
    "flop_count_operators",
    "parameter_count",
    "parameter_count_table",
]

FLOPS_MODE = "flops"
ACTIVATIONS_MODE = "activations"

# cheap beside convolutions, and not worth a warning that nobody counts them
_NOT_COUNTED = """
add add_ sub sub_ rsub mul mul_ div div_ neg abs exp exp_ log log2 sqrt rsqrt pow reciprocal sigmoid sigmoid_ softmax
log_softmax tanh relu relu_ silu clamp clamp_ clip min max minimum maximum sum mean prod cumsum floor floor_ ceil round
floor_divide remainder eq ne lt le gt ge logical_and logical_or logical_not __and__ __or__ __invert__ bitwise_not any
all where masked_fill masked_fill_ nonzero nonzero_numpy index index_put index_put_ index_select gather scatter scatter_
take sort argsort topk argmax argmin unique_dim _unique2 flip roll arange linspace meshgrid full full_like zeros
zeros_like ones ones_like empty empty_like new_zeros new_ones new_full new_empty fill_ zero_ copy_ clone one_hot
bincount constant_pad_nd pad repeat repeat_interleave expand expand_as tile max_pool2d avg_pool2d adaptive_avg_pool2d
unflatten isfinite isnan type_as lift_fresh
""".split()
_NOT_COUNTED_ELSEWHERE = ("torchvision::nms", "torchvision::roi_align", "torchvision::roi_pool", "prim::CallFunction")


class FlopCountAnalysis(fvcore.nn.FlopCountAnalysis):
    """`fvcore`'s analysis for models whose inputs are `list[dict]`, as detectors have. One multiply-add is one flop.

    inputs: what the model is called with, as one argument; a tuple is its arguments. `by_module()` and the like name
    modules below `model`.
    """

    def __init__(self, model: nn.Module, inputs: Any):
        adapter = TensorInputs(model, inputs if isinstance(inputs, tuple) else (inputs,))
        super().__init__(adapter, adapter.tensors)
        _leave_out(self)


def _leave_out(analysis: fvcore.nn.jit_analysis.JitModelAnalysis) -> None:
    names = [f"aten::{name}" for name in _NOT_COUNTED] + list(_NOT_COUNTED_ELSEWHERE)
    names = [name for name in names if name not in analysis._op_handles]  # those that fvcore counts stay counted
    analysis.set_op_handle(**{name: None for name in names})
    analysis.uncalled_modules_warnings(False)  # norms that are folded into convolutions are never called


def _count(model: nn.Module, inputs: list, analysis_type: type, unit: float, **handles: Any) -> defaultdict[str, float]:
    was_training = model.training
    model.eval()
    adapter = TensorInputs(model, (inputs,))
    try:
        with torch.no_grad():
            analysis = analysis_type(adapter, adapter.tensors)
            _leave_out(analysis)
            if handles:
                analysis.set_op_handle(**handles)
            analysis.tracer_warnings("none").unsupported_ops_warnings(False)  # they are logged below
            counts = analysis.by_operator()
            unsupported = dict(analysis.unsupported_ops())
    finally:
        model.train(was_training)
    if unsupported:
        logging.getLogger(__name__).info("Operators that are not counted: %s", unsupported)
    return defaultdict(float, {name: count / unit for name, count in counts.items()})


def flop_count_operators(model: nn.Module, inputs: list) -> defaultdict[str, float]:
    """10^9 multiply-adds of an evaluation pass, by operator ("conv", "linear", ...). inputs: `list[dict]`.

    For a two-stage detector they depend on the number of proposals, so that random images give too few.
    """
    return _count(model, inputs, fvcore.nn.FlopCountAnalysis, 1e9)


def activation_count_operators(model: nn.Module, inputs: list, **kwargs: Any) -> defaultdict[str, float]:
    """10^6 output elements of convolutions and matrix products in an evaluation pass, by operator.

    inputs: `list[dict]`. kwargs: further handles of `fvcore`, by operator.
    """
    return _count(model, inputs, fvcore.nn.ActivationCountAnalysis, 1e6, **kwargs)


def find_unused_parameters(model: nn.Module, inputs: Any) -> list[str]:
    """Names of the parameters that have no influence on what the model returns, such as its losses in training.

    inputs: what the model is called with, as one argument. Gradients that are there are kept; frozen parameters have
    none, and count as used.
    """
    parameters = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    with torch.enable_grad():
        sums = [tensor.sum() for tensor in find_tensors(model(inputs)) if tensor.requires_grad]
        total = torch.stack(sums).sum() if sums else None
    if total is None or not parameters:
        return list(parameters)
    gradients = torch.autograd.grad(total, list(parameters.values()), allow_unused=True)
    return [name for name, gradient in zip(parameters, gradients, strict=True) if gradient is None]
