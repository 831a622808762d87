"""Logging: to the terminal with colours, to a file per process, and with limits on how often a line is said."""

import functools
import logging
import os
import sys
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

from det2lite.utils.durations import format_duration

__all__ = [
    "create_small_table",
    "format_duration",
    "log_every_n",
    "log_every_n_seconds",
    "log_first_n",
    "setup_logger",
]

_DATE = "%m/%d %H:%M:%S"
_LEVEL_STYLES = {logging.WARNING: {"attrs": ["bold"]}, logging.ERROR: {"attrs": ["bold", "underline"]}}


class _TerminalFormatter(logging.Formatter):
    """A green head, then the message, with the level where it is a warning or worse."""

    def __init__(self, root_name: str, abbrev_name: str, color: bool):
        super().__init__(datefmt=_DATE)
        self._root_name, self._abbrev_name, self._color = root_name, abbrev_name, color

    def format(self, record: logging.LogRecord) -> str:
        record.message = record.getMessage()
        name = record.name
        if self._abbrev_name and (name == self._root_name or name.startswith(self._root_name + ".")):
            name = self._abbrev_name + name[len(self._root_name) :]
        stamp = self.formatTime(record, self.datefmt)
        if not self._color:
            return self._with_trace(f"[{stamp}] {name} {record.levelname}: {record.message}", record)
        from termcolor import colored

        text = colored(f"[{stamp} {name}]: ", "green")
        if record.levelno >= logging.WARNING:
            style = _LEVEL_STYLES[logging.ERROR if record.levelno >= logging.ERROR else logging.WARNING]
            text += colored(record.levelname, "red", **style) + " "
        return self._with_trace(text + record.message, record)

    def _with_trace(self, text: str, record: logging.LogRecord) -> str:
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        if record.stack_info:
            text += "\n" + self.formatStack(record.stack_info)
        return text


class _StdoutHandler(logging.StreamHandler):
    """Writes to whatever `sys.stdout` is at that moment, because notebooks and tests exchange it."""

    def __init__(self):
        logging.Handler.__init__(self, logging.DEBUG)

    @property
    def stream(self):
        return sys.stdout


@functools.cache
def _open_log(path: str):
    """One stream per file, because the loggers of several packages write to the same one."""
    from det2lite.utils.file_io import PathManager

    if "://" not in path:
        os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    return PathManager.open(path, "a")


def _log_path(output: str | os.PathLike, rank: int) -> str:
    output = os.fspath(output)
    path = output if output.endswith((".txt", ".log")) else os.path.join(output, "log.txt")
    path = path if "://" in path else os.path.abspath(path)
    return f"{path}.rank{rank}" if rank > 0 else path


def _add_handler(logger: logging.Logger, key: str, handler: logging.Handler, formatter: logging.Formatter) -> None:
    handler.setLevel(logging.DEBUG)
    handler.setFormatter(formatter)
    handler.set_name(key)
    logger.addHandler(handler)


def setup_logger(
    output: str | os.PathLike | None = None,
    distributed_rank: int = 0,
    *,
    color: bool = True,
    name: str = "det2lite",
    abbrev_name: str | None = None,
    enable_propagation: bool = False,
    configure_stdout: bool = True,
) -> logging.Logger:
    """Makes the logger `name` say everything to the terminal (rank 0 alone) and to a file; again, nothing is doubled.

    output: a file (.txt, .log) or a folder for log.txt; other ranks append `.rankN`. color: coloured where the terminal
    can. abbrev_name: what the terminal shows for `name`. enable_propagation: hand records on to parent loggers.
    """
    logger = logging.getLogger(name)
    logger.setLevel(logging.DEBUG)
    logger.propagate = enable_propagation
    if abbrev_name is None:
        abbrev_name = "d2l" if name == "det2lite" else name
    present = {handler.get_name() for handler in logger.handlers}
    if configure_stdout and distributed_rank == 0 and "det2lite-stdout" not in present:
        _add_handler(logger, "det2lite-stdout", _StdoutHandler(), _TerminalFormatter(name, abbrev_name, color))
    if output is not None:
        path = _log_path(output, distributed_rank)
        key = f"det2lite-file:{path}"
        if key not in present:
            formatter = logging.Formatter("[%(asctime)s] %(name)s %(levelname)s: %(message)s", datefmt=_DATE)
            _add_handler(logger, key, logging.StreamHandler(_open_log(path)), formatter)
    return logger


def _log_api_usage(identifier: str) -> None:
    """Tells PyTorch's usage log, which is off unless somebody listens, that a part is used; copies of builders call it.

    identifier: such as "modeling.meta_arch.MyModel".
    """
    import torch

    torch._C._log_api_usage_once(f"det2lite.{identifier}")


def create_small_table(small_dict: Mapping[str, Any]) -> str:
    """A table of one row, with the keys as header: for a few numbers, shown with 3 decimals."""
    from tabulate import tabulate

    return tabulate(
        [list(small_dict.values())],
        headers=list(small_dict),
        tablefmt="pipe",
        floatfmt=".3f",
        stralign="center",
        numalign="center",
    )


_SAID: Counter = Counter()
_LAST_SAID: dict[Any, float] = {}


def _caller() -> tuple[str, tuple[str, int, str]]:
    """(module, (file, line, function)) of the code outside this file that is logging."""
    frame = sys._getframe(1)
    while frame.f_code.co_filename == __file__ and frame.f_back is not None:
        frame = frame.f_back
    module = frame.f_globals.get("__name__", "__main__")
    code = frame.f_code
    return ("det2lite" if module == "__main__" else module), (code.co_filename, frame.f_lineno, code.co_name)


def log_first_n(
    lvl: int, msg: str, n: int = 1, *, name: str | None = None, key: str | tuple[str, ...] = "caller"
) -> None:
    """Logs the first `n` times only.

    key: what counts as the same: "caller" (the line of code), "message" (the text), or both. name: logger; else that of
    the caller's module. Raises ValueError for another key.
    """
    keys = (key,) if isinstance(key, str) else tuple(key)
    if not keys or set(keys) - {"caller", "message"}:
        raise ValueError(f"key {key!r}: give 'caller', 'message' or both")
    module, place = _caller()
    identity = (place if "caller" in keys else None, msg if "message" in keys else None)
    _SAID[identity] += 1
    if _SAID[identity] <= n:
        logging.getLogger(name or module).log(lvl, msg)


def log_every_n(lvl: int, msg: str, n: int = 1, *, name: str | None = None) -> None:
    """Logs the first time, and then once in `n` calls from the same line."""
    module, place = _caller()
    _SAID["every", place] += 1
    if n == 1 or _SAID["every", place] % n == 1:
        logging.getLogger(name or module).log(lvl, msg)


def log_every_n_seconds(lvl: int, msg: str, n: float = 1, *, name: str | None = None) -> None:
    """Logs the first time, and then when the last time from the same line is `n` seconds ago or more."""
    module, place = _caller()
    now, last = time.monotonic(), _LAST_SAID.get(place)
    if last is None or now - last >= n:
        logging.getLogger(name or module).log(lvl, msg)
        _LAST_SAID[place] = now
