"""Which libraries cannot be imported though they are installed, and why."""

import importlib
import json
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterable

__all__ = ["ImportCheck", "import_failure", "reason_of"]

LONGEST_REASON = 160  # characters
TIMEOUT = 60.0  # seconds that all imports may take


def import_failure(module: str) -> str:
    """One line that says why `module` cannot be imported; empty where it can."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # libraries' advice to each other
            importlib.import_module(module)
    except Exception as error:
        return reason_of(error)
    except SystemExit as error:
        return f"it ends the process: {error}"
    return ""


def reason_of(error: BaseException) -> str:
    """An error in one line: what it was raised from says more than the advice that libraries wrap it in."""
    while error.__cause__ is not None:
        error = error.__cause__
    line = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    line = line if len(line) <= LONGEST_REASON else f"{line[:LONGEST_REASON]} ..."
    return f"{type(error).__name__}: {line}" if line else type(error).__name__


class ImportCheck:
    """Imports in a process of its own, beside this one: a library that crashes while it is loaded is named too.

    The process starts at once; `failures` waits for it.
    """

    def __init__(self, modules: Iterable[str], timeout: float = TIMEOUT):
        self._left, self._timeout = list(modules), timeout
        self._failures: dict[str, str] = {}
        self._start()

    def _start(self) -> None:
        words = [sys.executable, "-c", _CHILD, json.dumps(sys.path), *self._left]
        self._process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    def failures(self) -> dict[str, str]:
        """By name of each module that cannot be imported, why; one line each."""
        while self._left:
            timer = threading.Timer(self._timeout, self._process.kill)
            timer.start()
            for line in self._process.stdout:
                module, reason = json.loads(line)
                self._left.remove(module)
                if reason:
                    self._failures[module] = reason
            status = self._process.wait()
            hung = not timer.is_alive()
            timer.cancel()
            if self._left:  # the first of them ended the process
                how = f"takes more than {self._timeout:.0f} s" if hung else f"ends the process, exit status {status}"
                self._failures[self._left.pop(0)] = f"it {how}"
                if self._left:
                    self._start()
        self._process.stdout.close()
        self._process.wait()
        return self._failures


def _report(modules: Iterable[str]) -> None:
    """Imports each module and prints its name with what went wrong, as a line of JSON that nothing else mixes with."""
    with os.fdopen(os.dup(1), "w") as out:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        for module in modules:
            out.write(json.dumps([module, import_failure(module)]) + "\n")
            out.flush()


_CHILD = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]);"
    "from det2lite.utils.import_check import _report; _report(sys.argv[2:])"
)
