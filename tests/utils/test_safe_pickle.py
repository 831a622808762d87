import io
import os
import pickle
from collections import OrderedDict, defaultdict

import numpy as np
import pytest

from det2lite.structures import BoxMode
from det2lite.utils.errors import BadValue, MissingFile, UserError
from det2lite.utils.safe_pickle import RefusedGlobal, load_pickle


def reload(value, protocol=pickle.HIGHEST_PROTOCOL):
    return load_pickle(io.BytesIO(pickle.dumps(value, protocol=protocol)))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_and_containers_survive(protocol):
    data = OrderedDict(
        weight=np.arange(6, dtype=np.float32).reshape(2, 3),
        fortran=np.asfortranarray(np.arange(6).reshape(2, 3)),
        strided=np.arange(10)[::3],
        big_endian=np.array([1, 2], dtype=">i2"),
        names=np.array(["a", "bcd"]),
        empty=np.zeros((0, 4), dtype=np.float16),
        zero_d=np.array(3.5),
        scalar=np.float64(0.25),
        flag=np.bool_(True),
        dtype=np.dtype("uint8"),
        nested={"list": [1, (2.5, None, np.int64(7))], "bytes": b"\x00\xff", 3: {1, 2}, "f": frozenset([1])},
        buffer=bytearray(b"xy"),
        number=2 + 3j,
    )
    got = reload(data, protocol)
    assert type(got) is OrderedDict and list(got) == list(data)
    for key in ("weight", "fortran", "strided", "big_endian", "names", "empty", "zero_d"):
        assert type(got[key]) is np.ndarray
        assert got[key].dtype == data[key].dtype and got[key].shape == data[key].shape
        assert np.array_equal(got[key], data[key])
        assert got[key].flags.writeable
    assert got["scalar"] == 0.25 and type(got["scalar"]) is np.float64
    assert got["flag"] is np.True_ or got["flag"] == np.bool_(True)
    for key in ("dtype", "nested", "buffer", "number"):
        assert got[key] == data[key]


def test_shared_and_cyclic_containers_stay_so():
    inner = [np.ones(2)]
    outer = {"a": inner, "b": inner}
    outer["self"] = outer
    got = reload(outer)
    assert got["a"] is got["b"] and got["self"] is got


def test_bytes_of_python_2_are_latin1_text():
    assert load_pickle(io.BytesIO(b"\x80\x02U\x02a\xe9.")) == "a\xe9"


class Runs:
    def __reduce__(self):
        return os.system, ("true",)


@pytest.mark.parametrize("value", [Runs(), defaultdict(list), print, np.array([Runs()], dtype=object), np.load])
def test_other_globals_are_refused(value):
    with pytest.raises(UserError):
        reload(value)


def test_refusal_names_file_and_global(tmp_path):
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps({"x": Runs()}))
    with pytest.raises(RefusedGlobal, match=r"model\.pkl.*system"):
        load_pickle(path)


def test_state_cannot_rebind_what_is_called():
    # GLOBAL builtins.set, then BUILD with slot state: would set attributes of the callable itself
    with pytest.raises(UserError):
        load_pickle(io.BytesIO(b"\x80\x02cbuiltins\nset\nN}X\x06\x00\x00\x00_buildK\x01s\x86b."))


def test_object_and_structured_arrays_are_refused():
    for value in (np.array([None, {}], dtype=object), np.zeros(2, dtype=[("a", "i4"), ("b", "f8")])):
        with pytest.raises(BadValue):
            reload(value)


def test_array_that_claims_more_than_it_holds():
    raw = pickle.dumps(np.arange(4, dtype=np.uint8), protocol=2)
    forged = raw.replace(b"K\x04\x85", b"K\x7f\x85")
    assert forged != raw
    with pytest.raises(BadValue):
        load_pickle(io.BytesIO(forged))


def test_bytearray_of_a_size_is_refused():
    with pytest.raises(BadValue):
        load_pickle(io.BytesIO(b"\x80\x02cbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85R."))


@pytest.mark.parametrize("cut", [0, 1, 20])
def test_broken_pickle_names_the_file(tmp_path, cut):
    path = tmp_path / "broken.pkl"
    path.write_bytes(pickle.dumps(np.arange(50))[:cut])
    with pytest.raises(BadValue, match=r"broken\.pkl"):
        load_pickle(str(path))


def test_missing_file(tmp_path):
    with pytest.raises(MissingFile, match="none.pkl"):
        load_pickle(tmp_path / "none.pkl")


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("package", [b"detectron2", b"det2lite"])
def test_box_mode_is_its_number(protocol, package):
    raw = pickle.dumps({"bbox_mode": BoxMode.XYWH_ABS, "ids": [1]}, protocol=protocol)
    old, new = b"det2lite.structures.boxes", package + b".structures.boxes"
    if protocol == 4:  # names come with their length, and everything in a frame with its own
        raw = b"\x80\x04" + raw[11:].replace(b"\x8c" + bytes([len(old)]) + old, b"\x8c" + bytes([len(new)]) + new)
    loaded = load_pickle(io.BytesIO(raw.replace(old, new)))
    assert loaded == {"bbox_mode": 1, "ids": [1]} and type(loaded["bbox_mode"]) is int


def test_box_mode_that_is_no_number_is_refused():
    with pytest.raises(BadValue, match="not a number"):
        load_pickle(io.BytesIO(b"cdetectron2.structures.boxes\nBoxMode\n(S'0'\ntR."))
