import pytest
import torch
from torch import nn

from det2lite.export.torchscript import dump_torchscript_IR, freeze_training_mode, scripting_with_instances
from det2lite.export.torchscript_patch import patch_instances
from det2lite.structures import Boxes, Instances
from det2lite.utils.testing import assert_instances_allclose, convert_scripted_instances, reload_script_model

FIELDS = {"pred_boxes": Boxes, "scores": torch.Tensor}


class Best(nn.Module):
    """Makes, indexes, reads and writes instances."""

    def forward(self, x: Instances, threshold: float) -> Instances:
        if self.training:
            return self.no_such_method(x)
        chosen = x[x.scores > threshold]
        result = Instances(x.image_size, pred_boxes=chosen.pred_boxes)
        result.scores = chosen.scores * 2
        assert result.has("scores") and not result.has("nothing")
        return result


def objects():
    boxes = torch.tensor([[0.0, 0, 1, 1], [2, 2, 5, 6], [1, 1, 2, 3]])
    return Instances((8, 9), pred_boxes=Boxes(boxes), scores=torch.tensor([0.1, 0.9, 0.5]))


def test_scripted_model_returns_instances_also_when_loaded():
    model = Best().eval()
    scripted = scripting_with_instances(model, FIELDS)
    assert not hasattr(Instances, "_jit_override_qualname") and "__constants__" not in vars(model)
    expected = Instances((8, 9), pred_boxes=objects().pred_boxes[1:], scores=torch.tensor([1.8, 1.0]))
    with patch_instances(FIELDS) as typed:
        with freeze_training_mode(model):
            again = torch.jit.script(model)
        scripted_result = again(typed.from_instances(objects()), 0.3)
        assert_instances_allclose(scripted_result, expected)
        assert_instances_allclose(expected, scripted_result)
        found = convert_scripted_instances(scripted_result)
        assert isinstance(found.pred_boxes, Boxes)
        assert_instances_allclose(found, expected)
    assert scripted.training is False and "prim::RaiseException" in str(scripted.graph)


class Make(nn.Module):
    def forward(self, boxes):
        return [Instances((8, 9), pred_boxes=Boxes(boxes)).to(torch.device("cpu"))]


def test_loaded_model(tmp_path):
    scripted = scripting_with_instances(Make().eval(), FIELDS)
    boxes = objects().pred_boxes.tensor
    for model in (scripted, reload_script_model(scripted)):
        found = convert_scripted_instances(model(boxes)[0])
        assert_instances_allclose(found, Instances((8, 9), pred_boxes=Boxes(boxes)))
        found = convert_scripted_instances(model(boxes[:0])[0])
        assert len(found) == 0
    dump_torchscript_IR(scripted, str(tmp_path / "dump"))
    texts = {path.name: path.read_text() for path in (tmp_path / "dump").iterdir()}
    assert set(texts) == {"model_ts_code.txt", "model_ts_IR.txt", "model_ts_IR_inlined.txt", "model.txt"}
    assert "def forward" in texts["model_ts_code.txt"] and "graph(" in texts["model_ts_IR.txt"]
    assert "prim::CreateObject" in texts["model_ts_IR_inlined.txt"]


def test_a_traced_or_scripted_function_is_dumped_too(tmp_path):
    @torch.jit.script
    def add(x, y):
        return x + y

    traced = torch.jit.trace(lambda x, y: 2 * add(x, y), (torch.rand(3), torch.rand(3)))
    for number, function in enumerate((add, traced)):
        folder = tmp_path / str(number)
        dump_torchscript_IR(function, str(folder))
        assert len([path for path in folder.iterdir() if path.stat().st_size > 0]) == 4
        assert "graph(" in (folder / "model_ts_IR_inlined.txt").read_text()
    assert "aten::mul" in (folder / "model_ts_IR.txt").read_text()


def test_length_and_missing_fields():
    def length(x: Instances):
        return len(x)

    for fields, value in (({"a": torch.Tensor}, torch.zeros(2, 3)), ({"b": Boxes}, Boxes(torch.zeros(4, 4)))):
        with patch_instances(fields) as typed:  # each time another class
            scripted = torch.jit.script(length)
            x = typed((15, 15))
            with pytest.raises(Exception, match="Empty Instances"):
                scripted(x)
            setattr(x, next(iter(fields)), value)
            assert scripted(x) == len(value)

    def read(x: Instances):
        return x.scores

    with patch_instances(FIELDS) as typed:
        with pytest.raises(Exception, match="Cannot find field 'scores'"):
            torch.jit.script(read)(typed((1, 1)))
    with patch_instances({"boxes": Boxes}), pytest.raises(Exception, match="scores"):
        torch.jit.script(read)


def test_cat_and_fields():
    def join(x: Instances, y: Instances):
        both = x.cat([x, y, y[y.scores > 0.5]])
        return both, both.get_fields()

    with patch_instances(FIELDS) as typed:
        both, fields = torch.jit.script(join)(*[typed.from_instances(objects()) for _ in range(2)])
        found = convert_scripted_instances(both)
    want = Instances.cat([objects(), objects(), objects()[1:2]])
    assert_instances_allclose(found, want, rtol=0.0)
    assert sorted(fields) == ["pred_boxes", "scores"] and torch.equal(fields["scores"], want.scores)


def test_mistakes():
    with pytest.raises(ValueError, match="evaluation mode"):
        scripting_with_instances(Best(), FIELDS)
    for fields, words in (({}, "no fields"), ({"_x": Boxes}, "'_x'"), ({"a b": Boxes}, "'a b'")):
        with pytest.raises(ValueError, match=words), patch_instances(fields):
            pass
