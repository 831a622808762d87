import sys
import time

import pytest

from det2lite.utils.import_check import LONGEST_REASON, ImportCheck, import_failure, reason_of

MODULES = {
    "b_whole": "",
    "b_noisy": "print('words')\nimport sys; print('words', file=sys.stderr)",
    "b_library": "raise ImportError('libGL.so.1: cannot open shared object file')",
    "b_wrapped": (
        "try:\n    raise OSError('libfoo.so: undefined symbol')\n"
        "except OSError as error:\n    raise ImportError('\\n\\nIMPORTANT: how to mend it\\n...') from error"
    ),
    "b_crash": "import ctypes; ctypes.string_at(0)",
    "b_end": "import os; os._exit(3)",
    "b_exit": "raise SystemExit('no licence')",
    "b_hang": "import time; time.sleep(60)",
    "b_last": "import json",
}


@pytest.fixture
def broken(tmp_path, monkeypatch):
    for name, text in MODULES.items():
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))


def test_what_fails_in_another_process_is_named_with_its_reason(broken):
    names = [name for name in MODULES if name != "b_hang"]
    failures = ImportCheck([*names, "b_nowhere"]).failures()
    assert failures.pop("b_crash").startswith("it ends the process, exit status")
    assert failures == {
        "b_library": "ImportError: libGL.so.1: cannot open shared object file",
        "b_wrapped": "OSError: libfoo.so: undefined symbol",
        "b_end": "it ends the process, exit status 3",
        "b_exit": "it ends the process: no licence",
        "b_nowhere": "ModuleNotFoundError: No module named 'b_nowhere'",
    }
    assert not any(name in sys.modules for name in names)


def test_a_library_that_hangs_is_given_up(broken):
    start = time.monotonic()
    assert ImportCheck(["b_hang"], timeout=2).failures() == {"b_hang": "it takes more than 2 s"}
    assert time.monotonic() - start < 30


def test_nothing_to_import():
    assert ImportCheck([]).failures() == {}


def test_reasons_are_one_line():
    assert reason_of(ValueError()) == "ValueError"
    assert reason_of(ValueError("\n  first\nsecond")) == "ValueError: first"
    assert len(reason_of(ValueError("x" * 10_000))) < LONGEST_REASON + 20
    assert import_failure("json") == ""
