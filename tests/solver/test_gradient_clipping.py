import pytest
import torch
from torch import nn

from det2lite.config import get_cfg
from det2lite.solver import build_optimizer
from det2lite.solver.build import GradientClipType, maybe_add_gradient_clipping
from det2lite.solver.gradient_clipping import clip_norm_per_parameter
from det2lite.utils.errors import BadValue


def clipping_cfg(clip_type="value", value=1.0, norm_type=2.0, enabled=True):
    cfg = get_cfg()
    clip = cfg.SOLVER.CLIP_GRADIENTS
    clip.ENABLED, clip.CLIP_TYPE, clip.CLIP_VALUE, clip.NORM_TYPE = enabled, clip_type, value, norm_type
    return cfg


def step(make_optimizer, *grads):
    """How far lr 1 moves zero-initialised parameters with these gradients."""
    parameters = [nn.Parameter(torch.zeros(len(grad))) for grad in grads]
    for parameter, grad in zip(parameters, grads, strict=True):
        parameter.grad = torch.tensor(grad)
    make_optimizer(parameters).step()
    return [(-parameter).tolist() for parameter in parameters]


def test_value_bounds_each_element():
    optimizer_type = maybe_add_gradient_clipping(clipping_cfg(value=2.0), torch.optim.SGD)
    assert optimizer_type.__name__ == "SGDWithGradientClip" and issubclass(optimizer_type, torch.optim.SGD)
    assert step(lambda p: optimizer_type(p, lr=1.0), [3.0, -5.0, 1.0], [0.0]) == [[2.0, -2.0, 1.0], [0.0]]


def test_norm_bounds_each_parameter_by_itself():
    cfg = clipping_cfg(GradientClipType.NORM.value, value=1.0)
    moved = step(lambda p: maybe_add_gradient_clipping(cfg, torch.optim.SGD(p, lr=1.0)), [3.0, 4.0], [0.3, 0.4], [0.0])
    assert moved[0] == pytest.approx([0.6, 0.8], rel=1e-5)
    assert moved[1] == pytest.approx([0.3, 0.4]) and moved[2] == [0.0]


@pytest.mark.parametrize("norm_type", [1.0, 2.0, 3.0, float("inf")])
def test_norm_equals_torch(norm_type):
    torch.manual_seed(0)
    ours = [nn.Parameter(torch.randn(3, 2)), nn.Parameter(torch.randn(5)), nn.Parameter(torch.randn(1).double())]
    theirs = [nn.Parameter(p.detach().clone()) for p in ours]
    for a, b in zip(ours, theirs, strict=True):
        a.grad = torch.randn_like(a)
        b.grad = a.grad.clone()
        torch.nn.utils.clip_grad_norm_(b, 0.7, norm_type)
    clip_norm_per_parameter([*ours, nn.Parameter(torch.zeros(2))], 0.7, norm_type)
    for a, b in zip(ours, theirs, strict=True):
        assert torch.allclose(a.grad, b.grad, rtol=1e-6)


def test_no_gradients_at_all():
    clip_norm_per_parameter([], 1.0)
    clip_norm_per_parameter([nn.Parameter(torch.zeros(2))], 1.0)


def test_disabled_changes_nothing():
    cfg = clipping_cfg(enabled=False)
    assert maybe_add_gradient_clipping(cfg, torch.optim.SGD) is torch.optim.SGD


def test_build_optimizer_clips():
    cfg = clipping_cfg(value=0.5)
    cfg.SOLVER.BASE_LR, cfg.SOLVER.WEIGHT_DECAY = 1.0, 0.0
    model = nn.Linear(1, 1, bias=False)
    before = model.weight.item()
    optimizer = build_optimizer(cfg, model)
    assert isinstance(optimizer, torch.optim.SGD) and not optimizer._step_supports_amp_scaling
    model.weight.grad = torch.full((1, 1), 9.0)
    optimizer.step()
    assert model.weight.item() == pytest.approx(before - 0.5)


def test_closure_is_clipped_after_it_ran():
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = maybe_add_gradient_clipping(clipping_cfg(value=1.0), torch.optim.SGD([parameter], lr=1.0))

    def closure():
        parameter.grad = torch.tensor([8.0])
        return 42.0

    assert optimizer.step(closure) == 42.0 and parameter.item() == -1.0


def test_unknown_type():
    with pytest.raises(BadValue, match="CLIP_TYPE 'both'"):
        maybe_add_gradient_clipping(clipping_cfg("both"), torch.optim.SGD)
    with pytest.raises(TypeError):
        maybe_add_gradient_clipping(clipping_cfg(), nn.Linear)
