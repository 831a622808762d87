"""Names that are imported when they are asked for."""

import sys
import types

import pytest

from det2lite.utils.lazy_names import lazy_names


@pytest.fixture
def package(monkeypatch):
    """A package whose `sums` is to come from a module that is not imported yet."""
    package, module = types.ModuleType("shelf"), types.ModuleType("shelf.maths")
    module.sums = sum
    monkeypatch.setitem(sys.modules, "shelf", package)
    monkeypatch.setitem(sys.modules, "shelf.maths", module)
    package.__getattr__, package.__dir__, package.__all__ = lazy_names("shelf", {"maths": ("sums",)}, ["maths"])
    return package


def test_names_come_from_their_module(package):
    assert "sums" not in vars(package) and package.__all__ == ["sums"]
    assert package.sums is sum
    assert vars(package)["sums"] is sum  # found without a call from now on
    assert package.maths is sys.modules["shelf.maths"]
    assert {"sums", "maths"} <= set(dir(package))


def test_other_names_are_not_there(package):
    with pytest.raises(AttributeError, match="module 'shelf' has no attribute 'products'"):
        package.__getattr__("products")
