import pytest
import torch
from torch import nn

from det2lite.config import get_cfg
from det2lite.export import TracingAdapter, add_export_config, flatten_to_tuple
from det2lite.export.flatten import patch_builtin_len
from det2lite.structures import Boxes, Instances, ROIMasks, RotatedBoxes
from det2lite.utils.testing import assert_instances_allclose


def test_nested_containers_there_and_back():
    for value, flat in (
        ([3, ([5, 6], {"name": [7, 9], "name2": 3})], (3, 5, 6, 7, 9, 3)),
        ({"b": 1, "a": ()}, (1,)),
        ([], ()),
        ("text", ("text",)),
        (b"x", (b"x",)),
    ):
        values, schema = flatten_to_tuple(value)
        assert values == flat and schema.count() == len(flat)
        assert schema(values) == value and type(schema(values)) is type(value)
        assert flatten_to_tuple(schema(values))[1] == schema
    with pytest.raises(ValueError, match="2 values for a structure of 1"):
        flatten_to_tuple([1])[1]((1, 2))
    with pytest.raises(KeyError, match="strings"):
        flatten_to_tuple({3: 1})


def test_structures_there_and_back():
    instances = Instances(
        torch.tensor([5, 8]), pred_masks=ROIMasks(torch.zeros(1, 2, 2)), pred_boxes=Boxes(torch.ones(1, 4))
    )
    rotated = RotatedBoxes(torch.zeros(2, 5))
    values, schema = flatten_to_tuple([rotated, (instances,)])
    expected = (rotated.tensor, instances.pred_boxes.tensor, instances.pred_masks.tensor, instances.image_size)
    assert len(values) == 4 and all(a is b for a, b in zip(values, expected, strict=True))
    assert schema.names() == ["output", "pred_boxes", "pred_masks", "image_size"]
    back = schema(values)
    assert type(back[0]) is RotatedBoxes
    assert_instances_allclose(back[1][0], instances, rtol=0.0, size_as_tensor=True)
    (size,), _ = flatten_to_tuple(Instances((3, 4)))
    assert size.tolist() == [3, 4]


class Sum(nn.Module):
    def forward(self, inputs, factor=2):
        return {"sum": [x["image"] * factor + len(x["image"]) for x in inputs]}


def test_adapter_traces_nested_inputs_and_outputs():
    adapter = TracingAdapter(Sum(), [{"image": torch.zeros(3)}, {"image": torch.ones(3)}])
    assert adapter.training and adapter.outputs_schema is None
    with pytest.warns(torch.jit.TracerWarning):
        traced = torch.jit.trace(adapter, adapter.flattened_inputs)
    images = torch.arange(4.0), torch.ones(2)
    outputs = adapter.outputs_schema(traced(*images))
    assert outputs["sum"][0].tolist() == [3, 5, 7, 9] and outputs["sum"][1].tolist() == [5, 5]
    adapter = TracingAdapter(Sum().eval(), (torch.ones(2),), lambda model, x: model([{"image": x}], factor=3)["sum"][0])
    assert not adapter.training
    assert [out.tolist() for out in adapter(torch.ones(1))] == [[4]]
    with pytest.raises(ValueError, match="another structure"):
        adapter.inference_func = lambda model, x: (x, x)
        adapter(torch.ones(1))
    with pytest.raises(ValueError, match="outputs .* got also float"):
        TracingAdapter(Sum(), torch.ones(1), lambda model, x: 1.0)(torch.ones(1))


def test_inputs_that_are_no_tensors():
    data = (torch.tensor([5, 8]), 3)
    with pytest.raises(ValueError, match="got also int"):
        TracingAdapter(Sum(), data)
    adapter = TracingAdapter(Sum(), data, lambda model, x, factor: x * factor, allow_non_tensor=True)
    assert adapter.inputs_schema is None and adapter.flattened_inputs == (data[0],)
    assert adapter(*adapter.flattened_inputs)[0].tolist() == [15, 24]
    for wrong in ((data[0].clone(),), ()):
        with pytest.raises(ValueError, match="flattened_inputs"):
            adapter(*wrong)


def test_len_is_itself_again():
    from det2lite.structures import boxes

    with pytest.raises(RuntimeError), patch_builtin_len((boxes, "det2lite.export.flatten")):
        assert boxes.len([1, 2]) == 2 and boxes.len(torch.zeros(3)) == 3
        raise RuntimeError
    assert "len" not in vars(boxes)


def test_keys_of_exporters():
    cfg = get_cfg()
    cfg.freeze()
    assert add_export_config(cfg) is cfg and cfg.is_frozen()
    assert cfg.EXPORT_CAFFE2.USE_HEATMAP_MAX_KEYPOINT is False
