import pytest

from det2lite.utils.develop import create_dummy_class, create_dummy_func


def test_missing_class():
    dummy = create_dummy_class("Tracker", "motmetrics", "See the docs.")
    assert isinstance(dummy, type) and dummy.__name__ == "Tracker"
    for use in (lambda: dummy(3), lambda: dummy.from_config):
        with pytest.raises(ImportError, match="^'Tracker' needs motmetrics, which cannot be imported.* See the docs.$"):
            use()


def test_missing_function():
    dummy = create_dummy_func("track", ("a", "b"))
    assert dummy.__name__ == "track"
    with pytest.raises(ImportError, match="'track' needs a, b, which cannot be imported; install it.$"):
        dummy(1, key=2)
