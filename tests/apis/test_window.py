import sys

import pytest

from det2lite.apis import window


def test_no_display(monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(window.NoDisplay, match="--output"):
        window.require_display()
    monkeypatch.setenv("DISPLAY", ":4711")  # nobody answers there: Qt would abort the process
    with pytest.raises(window.NoDisplay, match="cannot open a window .*--output"):
        window.require_display()
