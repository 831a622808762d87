import os
import pickle
from collections import OrderedDict
from enum import IntEnum
from pathlib import Path

import numpy as np
import pytest
import torch

from det2lite.checkpoint.files import read_checkpoint, to_plain
from det2lite.utils.errors import UserError


class Hostile:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (self.path, "w"))


def save_pickle(value, path):
    with open(path, "wb") as file:
        pickle.dump(value, file)
    return str(path)


def save_torch(value, path, **options):
    torch.save(value, path, **options)
    return str(path)


WEIGHTS = {"a.weight": torch.ones(2), "a.bias": torch.zeros(1)}


def same(found, wanted=WEIGHTS):
    return found.keys() == wanted.keys() and all(torch.equal(found[k], torch.as_tensor(wanted[k])) for k in wanted)


@pytest.mark.parametrize(
    "content",
    [
        {"model": WEIGHTS, "iteration": 3},
        {"state_dict": WEIGHTS, "iteration": 3},
        {"model": {f"module.{k}": v for k, v in WEIGHTS.items()}, "iteration": 3},
        {"model": {f"module._orig_mod.{k}": v for k, v in WEIGHTS.items()}, "iteration": 3},
    ],
)
def test_wrapped_state_dicts(content, tmp_path):
    got = read_checkpoint(save_torch(content, tmp_path / "x.pth"))
    assert same(got["model"]) and got["iteration"] == 3 and not got.get("matching_heuristics")


@pytest.mark.parametrize("options", [{}, {"_use_new_zipfile_serialization": False}])
def test_plain_state_dict_keeps_versions(options, tmp_path):
    state = torch.nn.BatchNorm2d(2).state_dict()
    got = read_checkpoint(save_torch(state, tmp_path / "x.pth", **options))["model"]
    assert same(got, state) and got._metadata[""] == {"version": 2}


def test_versions_lose_the_prefix_too(tmp_path):
    state = torch.nn.DataParallel(torch.nn.Sequential(torch.nn.BatchNorm2d(2))).state_dict()
    got = read_checkpoint(save_torch({"model": state}, tmp_path / "x.pth"))["model"]
    assert list(got)[0] == "0.weight" and got._metadata["0"] == {"version": 2} and "" in got._metadata


def test_detectron2_pickle(tmp_path):
    arrays = {k: v.numpy() for k, v in WEIGHTS.items()}
    got = read_checkpoint(save_pickle({"model": arrays, "__author__": "Zoo"}, tmp_path / "x.pkl"))
    assert same(got["model"]) and got["__author__"] == "Zoo"
    content = {"model": arrays, "__author__": "torchvision", "matching_heuristics": True}
    assert read_checkpoint(save_pickle(content, tmp_path / "x.pkl"))["matching_heuristics"]


@pytest.mark.parametrize("wrap", [lambda blobs: blobs, lambda blobs: {"blobs": blobs, "cfg": "X: 1"}])
def test_caffe2_pickle(wrap, tmp_path):
    blobs = {"conv1_w": np.ones(2, dtype=">f4"), "conv1_w_momentum": np.ones(2), "lr": np.float32(3)}
    got = read_checkpoint(save_pickle(wrap(blobs), tmp_path / "x.pkl"))
    assert same(got["model"], {"conv1_w": np.ones(2, dtype="f4"), "lr": np.float32(3)})
    assert got["__author__"] == "Caffe2" and got["matching_heuristics"]


def test_torch_file_named_pkl_and_pycls(tmp_path):
    assert same(read_checkpoint(save_torch({"model": WEIGHTS}, tmp_path / "x.pkl"))["model"])
    got = read_checkpoint(save_torch({"model_state": WEIGHTS, "epoch": 1}, tmp_path / "x.pyth"))
    assert same(got["model"]) and got["matching_heuristics"]


@pytest.mark.parametrize("options", [{}, {"_use_new_zipfile_serialization": False}])
def test_numpy_in_torch_files(options, tmp_path):
    """As other trainers leave in theirs: a best metric, a list of indices, weights as arrays."""
    content = {
        "model": {**WEIGHTS, "b": np.ones((2, 3), "float32")},
        "best": np.float64(41.5),
        "meta": {"seen": [np.int64(7), (np.bool_(True), "x")], "size": torch.Size([1, 2]), "order": np.arange(3)},
        "cls": {"a", "b"},
    }
    got = read_checkpoint(save_torch(content, tmp_path / "x.pth", **options))
    assert same(got["model"], {**WEIGHTS, "b": np.ones((2, 3), "float32")})
    assert got["best"] == 41.5 and isinstance(got["best"], np.float64) and got["cls"] == {"a", "b"}
    assert got["meta"]["seen"] == [7, (True, "x")] and got["meta"]["order"].tolist() == [0, 1, 2]
    assert type(got["meta"]["size"]) is torch.Size
    assert not any("numpy" in str(entry) for entry in torch.serialization.get_safe_globals())


@pytest.mark.parametrize("value", [np.array([object], dtype=object), np.zeros(1, [("a", "f4")])])
def test_arrays_that_could_point_anywhere(value, tmp_path):
    path = save_torch({"model": WEIGHTS, "x": value}, tmp_path / "x.pth")
    with pytest.raises(UserError) as error:
        read_checkpoint(path)
    assert "x.pth: arrays of type" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("save", [save_pickle, save_torch])
@pytest.mark.parametrize("name", ["x.pkl", "x.pth"])
def test_hostile_content_is_not_executed(save, name, tmp_path):
    path = save({"model": Hostile(str(tmp_path / "executed"))}, tmp_path / name)
    with pytest.raises(UserError) as error:
        read_checkpoint(path)
    assert path in str(error.value) and "\n" not in str(error.value)
    assert not os.path.exists(tmp_path / "executed")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
@pytest.mark.parametrize("name", ["x.pkl", "x.pth"])
def test_truncated(name, share, tmp_path):
    whole = (save_pickle if name == "x.pkl" else save_torch)({"a": np.ones(99)}, tmp_path / name)
    data = Path(whole).read_bytes()
    Path(whole).write_bytes(data[: int(share * len(data))])
    with pytest.raises(UserError) as error:
        read_checkpoint(whole)
    assert whole in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["x.pkl", "x.pth"])
@pytest.mark.parametrize("content", [b'{"a": 1}', b"\x89PNG\r\n\x1a\n", b"PK\x03\x04", b"\x80\x02."])
def test_other_content(name, content, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=name):
        read_checkpoint(str(tmp_path / name))


@pytest.mark.parametrize("content", [[WEIGHTS], {"a": "text"}, {3: torch.ones(1)}, {"model": {"a": None}}])
def test_no_state_dict(content, tmp_path):
    with pytest.raises(UserError, match=r"x\.pth is no checkpoint"):
        read_checkpoint(save_torch(content, tmp_path / "x.pth"))


def test_empty_state_dict(tmp_path):
    assert read_checkpoint(save_torch({}, tmp_path / "x.pth")) == {"model": {}}


def test_to_plain(tmp_path):
    class Kind(IntEnum):
        A = 4

    content = {
        "scalar": np.float64(0.5),
        "array": np.arange(3),
        "enum": Kind.A,
        "path": tmp_path,
        np.str_("key"): (np.int64(1), [None, True, {np.float32(2.0)}]),
        "state": OrderedDict(a=torch.ones(1)),
        "size": torch.Size([1, 2]),
    }
    torch.save(to_plain(content, "x"), tmp_path / "x.pth")
    got = torch.load(tmp_path / "x.pth", weights_only=True)
    assert got["scalar"] == 0.5 and got["array"].tolist() == [0, 1, 2] and got["enum"] == 4
    assert got["path"] == str(tmp_path) and got["key"] == (1, [None, True, {2.0}]) and got["size"] == (1, 2)


def test_to_plain_names_what_it_cannot_turn(caplog):
    to_plain({"a": [object()]}, "extra")
    assert "extra['a'][0] is a object" in caplog.text
