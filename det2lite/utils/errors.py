"""Errors that a user can cause: each message names the thing and the remedy in one line.

Tools print such a message without a traceback and exit with status 1; every other exception is a
defect of ours and keeps its traceback. The subclasses are also the built-in errors that callers expect.
"""

import difflib
import functools
import re
import sys
from collections.abc import Callable, Iterable

_ENDLESS = re.compile(r"[^\s/\\]{256,}|\[[^\[\]]{512,}\]")  # longer than the name of a file can be; a long list
_SHOWN = 40  # characters of its beginning


class UserError(Exception):
    """Something the user gave cannot be used. The message is one line: what it is, and what to do."""

    def __str__(self) -> str:  # KeyError would print the repr
        return shortened(_without_worker_trace(str(self.args[0]))) if self.args else ""


def _without_worker_trace(message: str) -> str:
    """The message alone, where torch has put the traceback of a DataLoader's worker process before it."""
    if not message.startswith("Caught ") or "Original Traceback" not in message:
        return message
    last = message.rstrip().splitlines()[-1]  # module.ClassName: the message
    return last.partition(": ")[2] or last


class UnknownName(UserError, KeyError):
    """A name that nothing is registered under."""


class BadValue(UserError, ValueError, AssertionError):
    """A value of the wrong type, range or content. Callers of Detectron2 catch some of these as failed assertions."""


class BadCall(ValueError, AssertionError):
    """Arguments that do not fit: the calling code's mistake, so no `UserError`. Detectron2 asserts most of these."""


class WrongKind(TypeError, AssertionError):
    """An argument of another kind than is taken: the calling code's mistake, as `BadCall`."""


class WrongMode(RuntimeError, AssertionError):
    """A module that is training and should not be, or the other way round: `model.eval()`, `model.train()`."""


class MissingFile(UserError, FileNotFoundError):
    """A file or folder that is not there."""


def shortened(text: str) -> str:
    """A message in which numbers, names and lists that are too long to be read are cut; paths stay whole."""

    def cut(word: re.Match) -> str:
        return f"{word[0][:_SHOWN]}...[{len(word[0])} characters]...{word[0][-10:]}"

    return _ENDLESS.sub(cut, text)


def close_names(name: str, known: Iterable[str], count: int = 3) -> str:
    """`; did you mean 'A' or 'B'?` for the known names closest to `name`, else an empty string."""
    known = [str(k) for k in known]
    lowered = {k.lower(): k for k in known}
    close = [lowered[k] for k in difflib.get_close_matches(str(name).lower(), lowered, n=count, cutoff=0.6)]
    return f"; did you mean {' or '.join(map(repr, close))}?" if close else ""


def exit_on_user_error(main: Callable) -> Callable:
    """Decorator for the entry point of a tool: a `UserError` becomes one line on stderr and exit status 1."""

    @functools.wraps(main)
    def wrapped(*args, **kwargs):
        try:
            return main(*args, **kwargs)
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(1)
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            sys.exit(130)

    return wrapped
