import pytest
import torch
from torch import nn

from det2lite.structures import Boxes, Instances
from det2lite.utils.analysis import (
    FlopCountAnalysis,
    activation_count_operators,
    find_unused_parameters,
    flop_count_operators,
    parameter_count,
    parameter_count_table,
)
from det2lite.utils.tensor_inputs import TensorInputs, find_tensors


class Detector(nn.Module):
    """Takes list[dict] and gives list[dict] with Instances, as detectors do."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.fc = nn.Linear(4, 5)

    def forward(self, batch):
        assert not self.training
        outputs = []
        for item in batch:
            x = self.conv(item["image"][None]).relu().mean((2, 3))  # (1, 4)
            scores = self.fc(x)[0]
            boxes = scores.new_zeros(5, 4)
            outputs.append({"instances": Instances((10, 8), scores=scores, pred_boxes=Boxes(boxes))})
        return outputs


@pytest.fixture
def inputs():
    return [{"image": torch.rand(3, 10, 8), "file_name": "a.jpg", "height": 20}]


def test_counts_of_a_model_with_dicts(inputs):
    model = Detector().train()
    flops = flop_count_operators(model, inputs)
    assert flops["conv"] == pytest.approx(10 * 8 * 4 * 27 / 1e9)
    assert flops["linear"] == pytest.approx(20 / 1e9) and flops["nothing"] == 0
    activations = activation_count_operators(model, inputs)
    assert activations["conv"] == pytest.approx(320 / 1e6) and activations["linear"] == pytest.approx(5 / 1e6)
    assert model.training


def test_analysis_names_modules(inputs):
    analysis = FlopCountAnalysis(Detector().eval(), inputs)
    assert analysis.by_module()["model.conv"] == 8640 and analysis.total() == 8660
    assert not analysis.unsupported_ops()


def test_parameters_are_counted():
    counts = parameter_count(Detector())
    assert counts["conv"] == 112 and counts["fc"] == 25 and counts[""] == 137
    assert "conv" in parameter_count_table(Detector())


def test_tensors_are_found_in_structures(inputs):
    adapter = TensorInputs(Detector().eval(), (inputs,))
    assert len(adapter.tensors) == 1
    outputs = adapter(torch.zeros(3, 10, 8))
    assert sorted(tuple(t.shape) for t in outputs) == [(5,), (5, 4)]
    assert find_tensors({"a": [], "b": "text", "c": (None, 3)}) == []


def test_unused_parameters_are_those_without_influence():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.unused, self.frozen = (nn.Linear(2, 2) for _ in range(3))
            self.frozen.requires_grad_(False)

        def forward(self, batch):
            return {"loss": self.used(batch[0]["x"]).sum(), "count": torch.tensor(3)}

    model = Model()
    batch = [{"x": torch.ones(1, 2)}]
    assert find_unused_parameters(model, batch) == ["unused.weight", "unused.bias"]
    assert model.used.weight.grad is None
    with torch.no_grad():
        assert find_unused_parameters(model, batch) == ["unused.weight", "unused.bias"]
    model.forward = lambda batch: {"loss": torch.tensor(0.0)}
    assert len(find_unused_parameters(model, batch)) == 4
