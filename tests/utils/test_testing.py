import unittest
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from det2lite.structures import Boxes, Instances
from det2lite.utils import testing


def test_random_boxes_have_area_and_stay_inside():
    boxes = testing.random_boxes(200, max_coord=10)
    assert boxes.shape == (200, 4) and (boxes >= 0).all() and (boxes <= 10).all()
    assert (boxes[:, 2:] - boxes[:, :2] >= 0.1 - 1e-5).all() and boxes.std() > 1
    assert testing.random_boxes(0).shape == (0, 4)


def test_names_of_other_rooms():
    assert testing.Boxes is Boxes and testing.Instances is Instances
    assert testing.CfgNode.__name__ == "CfgNode" and callable(testing.build_model)
    with pytest.raises(AttributeError, match="nothing"):
        _ = testing.nothing


def test_sample_image(tmp_path, monkeypatch):
    path = tmp_path / "one.png"
    Image.fromarray(np.full((3, 4, 3), (10, 20, 30), np.uint8)).save(path)
    samples = {
        "coco_2017_val": [{"file_name": str(tmp_path / "missing.jpg")}],
        "shapes_val": [{"file_name": str(path)}],
    }

    def get(name):
        if name not in samples:
            raise FileNotFoundError(name)
        return samples[name]

    monkeypatch.setattr("det2lite.data.DatasetCatalog", SimpleNamespace(get=get))
    image = testing.get_sample_coco_image()
    assert image.shape == (3, 3, 4) and image.dtype == torch.uint8 and image[:, 0, 0].tolist() == [30, 20, 10]
    assert testing.get_sample_coco_image(tensor=False).shape == (3, 4, 3)
    Path(path).unlink()
    with pytest.raises(FileNotFoundError, match="DETECTRON2_DATASETS"):
        testing.get_sample_coco_image()


def instances(box=(0.0, 0, 10, 10), size=(4, 5), **fields):
    return Instances(size, pred_boxes=Boxes(torch.tensor([box])), **fields)


def test_comparison_of_instances():
    same = testing.assert_instances_allclose
    same(instances(a=torch.tensor([1])), instances(a=torch.tensor([1])), rtol=0)
    same(instances(), instances((0.0009, 0, 10, 10)), rtol=1e-4)  # relative to the largest coordinate
    same(instances(), instances(size=torch.tensor([4, 5])), size_as_tensor=True)
    same(Instances((1, 1), a=torch.zeros(0)), Instances((1, 1), a=torch.zeros(0)))
    for other, words in (
        (instances((0.0011, 0, 10, 10)), "here: field 'pred_boxes'"),
        (instances(size=(5, 4)), "image sizes"),
        (instances(a=[3]), "fields"),
        (Instances((4, 5), pred_boxes=torch.tensor([[0.0, 0, 10, 10]])), "pred_boxes: Boxes and Tensor"),
        (Instances((4, 5), pred_boxes=Boxes(torch.zeros(0, 4))), "'pred_boxes'"),
    ):
        with pytest.raises(AssertionError, match=words):
            same(instances(), other, rtol=1e-4, msg="here")
    with pytest.raises(AssertionError, match="'a'"):
        same(instances(a=[3]), instances(a=[4]))


def test_versions():
    assert testing.min_torch_version("1.8") and not testing.min_torch_version("99.0")

    @testing.skipIfUnsupportedMinOpsetVersion(99)
    def needs_99():
        return "run"

    with pytest.raises(unittest.SkipTest, match="99"):
        needs_99()
    assert testing.skipIfUnsupportedMinOpsetVersion(9, 9)(lambda: "run")() == "run"
    with pytest.raises(unittest.SkipTest):
        testing.skipIfUnsupportedMinTorchVersion("99.0")(lambda: None)()
    assert testing.skipIfUnsupportedMinTorchVersion("1.8")(lambda: "run")() == "run"


def test_operators_are_registered_only_for_older_versions(monkeypatch):
    calls = []
    monkeypatch.setattr(torch.onnx, "register_custom_op_symbolic", lambda *args: calls.append(args), raising=False)
    monkeypatch.setattr(torch.onnx, "unregister_custom_op_symbolic", lambda *args: calls.append(args), raising=False)
    testing.register_custom_op_onnx_export("a::b", len, 11, "1.8")
    testing.unregister_custom_op_onnx_export("a::b", 11, "1.8")
    assert not calls
    testing.register_custom_op_onnx_export("a::b", len, 11, "99.0")
    testing.unregister_custom_op_onnx_export("a::b", 11, "99.0")
    assert calls == [("a::b", len, 11), ("a::b", 11)]
