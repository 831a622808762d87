"""What the processes of a pool do first, so that they end when they should."""

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading


def begin_work() -> None:
    """Leaves Ctrl-C to the parent, and ends this process when that is killed.

    Without, it would wait for ever for work from a queue whose other end it holds itself.
    """
    ignore_interrupts()
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=[parent.sentinel], daemon=True).start()


def ignore_interrupts() -> None:
    """Ctrl-C is heard by the parent, which ends the others."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _end_with(sentinel: int) -> None:
    multiprocessing.connection.wait([sentinel])
    os._exit(1)
