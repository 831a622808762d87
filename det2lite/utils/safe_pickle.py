"""Reading pickles that others wrote, without giving them the right to run code.

A pickle names callables and the unpickler calls them. Here every admitted name is answered by a function of ours that
only builds plain data; arrays and dtypes are described by placeholders whose state is checked before numpy sees it,
because numpy itself trusts a pickled dtype to describe its memory correctly.
"""

import os
import pickle
from collections import OrderedDict
from collections.abc import Callable
from typing import IO, Any

import numpy as np

from det2lite.utils.errors import BadValue, MissingFile, UserError

_ARRAY_KINDS = "biufcSU"  # numbers, booleans and strings; object and structured arrays can point anywhere


class RefusedGlobal(UserError, pickle.UnpicklingError):
    """A pickle asks for a name that is not plain data."""


class _Admitted:
    """A callable that the pickle can call and cannot change."""

    __slots__ = ("_build",)

    def __init__(self, build: Callable):
        object.__setattr__(self, "_build", build)

    def __call__(self, *args):
        return self._build(*args)

    def __setattr__(self, name, value):
        raise pickle.UnpicklingError("a pickle may not change what it calls")

    __setstate__ = None


class _Dtype:
    """A dtype to be: (kind and size) from the call, the byte order from the state."""

    __slots__ = ("dtype",)
    __hash__ = None

    def __init__(self, spec: str | bytes, align: Any = False, copy: Any = False):
        spec = spec.decode("latin1") if isinstance(spec, bytes) else spec
        dtype = np.dtype(spec) if isinstance(spec, str) else None
        if dtype is None or dtype.kind not in _ARRAY_KINDS or dtype.subdtype is not None:
            raise pickle.UnpicklingError(f"arrays of type {spec!r} are not read")
        self.dtype = dtype

    def __setstate__(self, state: tuple) -> None:
        order = state[1].decode("latin1") if isinstance(state[1], bytes) else state[1]
        if order not in ("<", ">", "|", "=") or any(part is not None for part in state[2:5]):
            raise pickle.UnpicklingError("structured arrays are not read")
        self.dtype = self.dtype.newbyteorder(order)

    def resolve(self) -> np.dtype:
        return self.dtype


class _Array:
    """An array to be, filled by its state (version, shape, dtype, is_fortran, bytes)."""

    __slots__ = ("array",)
    __hash__ = None

    def __setstate__(self, state: tuple) -> None:
        shape, dtype, is_fortran, data = state[-4:]
        self.array = _array_of(data, dtype, shape, "F" if is_fortran else "C").copy(order="K")

    def resolve(self) -> np.ndarray:
        return self.array


def _as_bytes(data: Any) -> Any:
    # Python 2 wrote bytes as `str`, which arrives as text when decoded as latin1
    return data.encode("latin1") if isinstance(data, str) else data


def _array_of(data: Any, dtype: _Dtype, shape: tuple, order: str = "C") -> np.ndarray:
    if not isinstance(dtype, _Dtype):
        raise pickle.UnpicklingError("an array without a dtype")
    dtype, data = dtype.dtype, _as_bytes(data)
    if dtype.itemsize == 0 or 0 in shape:
        if dtype.itemsize == 0 and 0 not in shape:
            raise pickle.UnpicklingError("an array of items without size")
        return np.empty(shape, dtype)
    return np.frombuffer(data, dtype).reshape(shape, order=order)


def _reconstruct(cls: Any, shape: Any, code: Any) -> _Array:
    return _Array()


def _frombuffer(data: Any, dtype: _Dtype, shape: tuple, order: str, axis_order: tuple | None = None) -> np.ndarray:
    if axis_order is not None:
        raise pickle.UnpicklingError("arrays with permuted axes are not read")
    return _array_of(data, dtype, shape, order).copy(order="K")


def _scalar(dtype: _Dtype, data: Any) -> np.generic:
    return _array_of(data, dtype, (1,))[0]


def _encode(text: str, encoding: str = "latin1") -> bytes:
    return text.encode({"latin1": "latin1", "latin-1": "latin1"}[encoding])


def _bytearray(data: bytes | str = b"", encoding: str = "latin1") -> bytearray:
    # an int here would reserve that many bytes
    return bytearray(_encode(data, encoding) if isinstance(data, str) else bytes(iter(data)))


def _box_mode(value: Any) -> int:
    if type(value) is not int:
        raise pickle.UnpicklingError("a box mode that is not a number")
    return value


_PLAIN = {
    ("collections", "OrderedDict"): OrderedDict,
    ("_codecs", "encode"): _encode,
    ("builtins", "set"): set,
    ("builtins", "frozenset"): frozenset,
    ("builtins", "complex"): complex,
    ("builtins", "bytearray"): _bytearray,
    ("builtins", "bytes"): lambda: b"",  # how protocols 0 to 2 write empty bytes
    ("numpy", "dtype"): _Dtype,
    ("numpy", "ndarray"): _Array,
    # files of proposals may hold one
    ("detectron2.structures.boxes", "BoxMode"): _box_mode,
    ("det2lite.structures.boxes", "BoxMode"): _box_mode,
}
_NUMPY = {
    ("multiarray", "_reconstruct"): _reconstruct,
    ("multiarray", "scalar"): _scalar,
    ("numeric", "_frombuffer"): _frombuffer,
}
_ADMITTED = {name: _Admitted(build) for name, build in _PLAIN.items()}
for (_module, _name), _build in _NUMPY.items():
    for _package in ("numpy.core", "numpy._core"):  # numpy 2 moved it
        _ADMITTED[f"{_package}.{_module}", _name] = _Admitted(_build)


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: IO[bytes], name: str):
        super().__init__(file, encoding="latin1")
        self._name = name

    def find_class(self, module: str, name: str) -> Any:
        admitted = _ADMITTED.get(("builtins" if module == "__builtin__" else module, name))
        if admitted is None:
            raise RefusedGlobal(
                f"{self._name}: the pickle asks for {module}.{name}; only numpy arrays and plain containers are read "
                "from pickles, because anything else could run code"
            )
        return admitted


def _resolved(value: Any, seen: dict[int, Any]) -> Any:
    """`value` with placeholders replaced; dicts and lists are changed in place, so that shared ones stay shared."""
    if isinstance(value, (_Dtype, _Array)):
        return value.resolve()
    if isinstance(value, _Admitted):
        raise pickle.UnpicklingError("a callable as data")
    if not isinstance(value, (dict, list, tuple)) or id(value) in seen:
        return seen.get(id(value), value)
    seen[id(value)] = value
    if isinstance(value, tuple):
        resolved = tuple(_resolved(v, seen) for v in value)
        if any(new is not old for new, old in zip(resolved, value, strict=True)):  # else it stays a torch.Size, say
            seen[id(value)] = resolved
    else:
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            value[key] = _resolved(value[key], seen)
    return seen[id(value)]


def torch_globals() -> list[tuple[Callable, str]]:
    """What `torch.serialization.safe_globals` takes so that `torch.load` reads numpy arrays and scalars as safely.

    Its result has placeholders for them; `without_placeholders` replaces these.
    """
    admitted = [(build, f"{module}.{name}") for (module, name), build in _ADMITTED.items() if module != "builtins"]
    return [*admitted, *((kind, f"{__name__}.{kind.__name__}") for kind in (_Dtype, _Array))]


def without_placeholders(loaded: Any) -> Any:
    """What was loaded with `torch_globals`, its arrays and scalars made numpy's."""
    return _resolved(loaded, {id(None): None})


def load_pickle(file: str | os.PathLike | IO[bytes]) -> Any:
    """The plain data in a pickle: numpy arrays, scalars and dtypes, numbers, strings, and containers of them.

    A pickled `BoxMode`, of Detectron2 or of det2lite, is read as its number. file: a path or a binary file. Bytes
    written by Python 2 are read as latin1 text, as Detectron2 does. Raises `RefusedGlobal` for a pickle that asks for
    any other name, `MissingFile`, and `BadValue` for one that is broken.
    """
    if isinstance(file, (str, os.PathLike)):
        try:
            with open(file, "rb") as opened:
                return load_pickle(opened)
        except (FileNotFoundError, IsADirectoryError) as error:
            if isinstance(error, UserError):
                raise
            raise MissingFile(f"{os.fspath(file)}: there is no such pickle file; check the path") from None
    name = str(getattr(file, "name", "pickle"))
    try:
        loaded = _Unpickler(file, name).load()
        return without_placeholders(loaded)
    except UserError:
        raise
    except Exception as error:  # a broken pickle raises nearly anything
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise BadValue(f"{name}: not a readable pickle of plain data ({reason}); is it whole?") from None
