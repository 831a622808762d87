"""Work that processes share, with a progress bar; an interruption ends it without a trace."""

import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any

from det2lite.utils.child_processes import begin_work, ignore_interrupts
from det2lite.utils.errors import BadValue


def map_in_processes(function: Callable[[Any], Any], todo: list, nproc: int) -> Iterator[Any]:
    """`function` of each entry in turn. nproc: processes; below 2 this one does it. Raises what `function` raises."""
    from tqdm import tqdm

    bar = {"total": len(todo), "desc": "reading", "unit": "file", "disable": None}
    if nproc < 2:
        yield from tqdm(map(function, todo), **bar)
        return
    nproc = min(nproc, max(len(todo), 1))
    pool = ProcessPoolExecutor(nproc, _context(function.__module__), initializer=begin_work)
    try:
        with _interrupts_held_back():
            wait([pool.submit(ignore_interrupts) for _ in range(nproc)])
        yield from tqdm(pool.map(function, todo, chunksize=max(1, min(64, len(todo) // (4 * nproc)))), **bar)
    except BrokenProcessPool:
        raise BadValue("a process that reads was ended from outside (out of memory?); give a smaller --nproc") from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _context(module: str) -> multiprocessing.context.BaseContext:
    """Plain forks would copy the locks of this process' threads; a server imports once what all processes need."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([module])
    if threading.current_thread() is threading.main_thread():
        from multiprocessing import forkserver

        before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # which the server inherits
        try:
            forkserver.ensure_running()
        finally:
            signal.signal(signal.SIGINT, before)
    return context


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Ctrl-C is heard at the end of the block: half of a pool cannot be taken down cleanly."""
    if threading.current_thread() is not threading.main_thread():  # others may not change what a signal does
        yield
        return
    came: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if came:
        raise KeyboardInterrupt
