import pytest
import torch

from det2lite.utils.tracing import assert_fx_safe, is_fx_tracing, is_fx_tracing_legacy


class Model(torch.nn.Module):
    def forward(self, x):
        self.seen = is_fx_tracing(), is_fx_tracing_legacy()
        assert_fx_safe(type(x) is torch.Tensor, "a tensor is needed")  # a stand-in is none
        return x + 1


def test_tracing_is_noticed_and_checks_are_left_out_meanwhile():
    model = Model()
    graph = torch.fx.symbolic_trace(model)
    assert model.seen == (True, True) and graph(torch.zeros(1)).item() == 1
    assert model(torch.zeros(1)).item() == 1 and model.seen == (False, False)


def test_assertion_holds_otherwise():
    assert assert_fx_safe(True, "fine").tolist() == [0]
    with pytest.raises(AssertionError, match="too long"):
        assert_fx_safe(False, "too long")

    def scripted(x: torch.Tensor):
        return assert_fx_safe(x.numel() < 2, "too long")

    scripted = torch.jit.script(scripted)
    assert scripted(torch.zeros(1)).tolist() == [0]
    with pytest.raises(Exception, match="too long"):
        scripted(torch.zeros(2))
