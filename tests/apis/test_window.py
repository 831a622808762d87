import glob
import os
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


def test_windows_have_the_shape_of_the_picture_and_fit_the_screen():
    assert window.window_size(300, 400) == (400, 300)
    assert window.window_size(1000, 4000) == (1280, 320)
    assert window.window_size(8000, 1000) == (100, 800)
    assert window.window_size(1, 10000) == (1280, 1)


def test_qt_gets_fonts_that_are_there(monkeypatch, tmp_path):
    monkeypatch.setenv("QT_QPA_FONTDIR", str(tmp_path / "none"))
    window._give_fonts_to_qt()
    assert glob.glob(os.path.join(os.environ["QT_QPA_FONTDIR"], "*.ttf"))
    monkeypatch.setenv("QT_QPA_FONTDIR", str(tmp_path))
    window._give_fonts_to_qt()
    assert os.environ["QT_QPA_FONTDIR"] == str(tmp_path)
