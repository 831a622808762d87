import copy

import pytest
import torch

from det2lite.solver.sgd import SGD


def three_steps(optimizer_type, *, grad_format, momentum_format, **settings):
    torch.manual_seed(0)
    parameter = torch.nn.Parameter(torch.randn(4, 3, 2, 2))
    parameter.grad = torch.randn(4, 3, 2, 2).contiguous(memory_format=grad_format)
    optimizer = optimizer_type([parameter], lr=0.1, momentum=0.9, weight_decay=0.01, **settings)
    momentum = torch.randn(4, 3, 2, 2).contiguous(memory_format=momentum_format)
    optimizer.state[parameter]["momentum_buffer"] = momentum
    for _ in range(3):
        optimizer.step()
    return parameter.detach()


@pytest.mark.parametrize("grad_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("momentum_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("nesterov", [False, True])
def test_equals_the_plain_loop_in_every_memory_layout(grad_format, momentum_format, nesterov):
    formats = {"grad_format": grad_format, "momentum_format": momentum_format}
    plain = three_steps(torch.optim.SGD, **formats, nesterov=nesterov, foreach=False)
    assert torch.allclose(three_steps(SGD, **formats, nesterov=nesterov), plain, rtol=1e-6, atol=1e-7)


def test_hand_computed_step():
    parameter = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
    unused = torch.nn.Parameter(torch.tensor([3.0]))
    optimizer = SGD([{"params": [parameter, unused], "weight_decay": 0.5}], lr=0.1, momentum=0.5)
    for _ in range(2):
        parameter.grad = torch.tensor([1.0, 0.0])
        optimizer.step()
    # momentum: 1 + 0.5 = 1.5, then 0.5 * 1.5 + 1 + 0.5 * 0.85; without a gradient 1.0, then 0.5 + 0.5 * 1.9
    assert parameter.tolist() == pytest.approx([1 - 0.15 - 0.2175, 2 - 0.1 - 0.145])
    assert unused.tolist() == [3.0]


def test_closure_and_state_of_another_implementation():
    parameter = torch.nn.Parameter(torch.ones(1))
    optimizer = SGD([parameter], lr=0.5, momentum=0.9)

    def closure():
        optimizer.zero_grad()
        loss = (2 * parameter).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure) == 2.0 and parameter.item() == 0.0
    other = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.25, momentum=0.9, foreach=True)
    own_kernels = optimizer.param_groups[0]["fused"], optimizer.param_groups[0]["foreach"]
    optimizer.load_state_dict(other.state_dict())
    group = optimizer.param_groups[0]
    assert group["lr"] == 0.25 and (group["fused"], group["foreach"]) == own_kernels


def test_a_copy_steps_alike():
    parameter = torch.nn.Parameter(torch.ones(1))
    parameter.grad = torch.ones(1)
    model, optimizer = copy.deepcopy(([parameter], SGD([parameter], lr=0.5)))
    model[0].grad = torch.ones(1)
    optimizer.step()
    assert model[0].item() == 0.5 and parameter.item() == 1.0


def test_a_step_counts_as_a_change_of_what_it_changes():
    trained, other = torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(2))
    trained.grad = torch.ones(2)
    before = trained._version, other._version
    SGD([trained, other], lr=0.1).step()
    assert trained._version > before[0] and other._version == before[1]
