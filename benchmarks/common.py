"""What the benchmarks share: candidates measured by turns, in this process or in fresh ones, and compared as a table.

Machines are noisy. So candidates take turns within one run, the median of the rounds counts, and what is to be compared
is the ratio. A candidate whose memory matters runs in a fresh process, whose highest resident memory is its own.
"""

import argparse
import gc
import importlib
import json
import multiprocessing
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class Measurement:
    """Figures of each round: seconds by the clock and of the processor, and highest resident memory in MiB."""

    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    peaks: list[float] = field(default_factory=list)
    value: Any = None

    def add(self, seconds: float, cpu_seconds: float, value: Any) -> None:
        self.seconds.append(seconds)
        self.cpu_seconds.append(cpu_seconds)
        self.value = value


def make_parser(description: str, vs: Sequence[str] = (), rounds: int = 5) -> argparse.ArgumentParser:
    """A parser with the options of all benchmarks. vs: what can be measured beside the package."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--package", default="det2lite", metavar="NAME",
                        help="package with Detectron2's interface that is measured (default: %(default)s)")  # fmt: skip
    if vs:
        parser.add_argument("--vs", action="append", choices=list(vs), default=[], help="measure this too; repeatable")
    parser.add_argument("--rounds", type=int, default=rounds, metavar="N", help="of each (default: %(default)s)")
    parser.add_argument("--output", metavar="FILE", help="write the figures as JSON")
    return parser


def part(package: str, path: str) -> Any:
    """A module of a package: part("det2lite", "data.build")."""
    return importlib.import_module(f"{package}.{path}")


def timed(job: Callable[[], Any], collect: bool = True) -> tuple[float, float, Any]:
    """Seconds by the clock, seconds of this process's processors, and the result of `job`. collect: garbage, before."""
    if collect:
        gc.collect()
    start, cpu_start = time.perf_counter(), time.process_time()
    value = job()
    return time.perf_counter() - start, time.process_time() - cpu_start, value


def by_turns(jobs: dict[str, Callable[[], Any]], rounds: int, warmup: int = 1) -> dict[str, Measurement]:
    """Times the jobs in this process, one after the other, `rounds` times after `warmup` rounds that do not count."""
    measured = {name: Measurement() for name in jobs}
    for count in range(-warmup, rounds):
        for name, job in jobs.items():
            figures = timed(job)
            if count >= 0:
                measured[name].add(*figures)
    return measured


def by_turns_apart(prepared_by: dict[str, tuple], rounds: int) -> dict[str, Measurement]:
    """Times jobs by turns, each in a process of its own that keeps it ready: none profits from another's settings.

    prepared_by: name -> (function, argument, ...); the function prepares, and returns the job that is timed.
    """
    context = multiprocessing.get_context("spawn")
    measured, workers = {name: Measurement() for name in prepared_by}, {}
    try:
        for name, (function, *arguments) in prepared_by.items():
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, function, arguments), daemon=True)
            process.start()
            theirs.close()
            workers[name] = process, ours
            ours.recv()  # ready: nobody prepares while another is timed
        for _ in range(rounds):
            for name, (_process, pipe) in workers.items():
                pipe.send(True)
                *figures, peak = pipe.recv()
                measured[name].add(*figures, None)
                measured[name].peaks.append(peak)
    except (EOFError, BrokenPipeError):
        raise RuntimeError(f"{name} ended; see above") from None
    finally:
        for process, pipe in workers.values():
            pipe.close()
            process.join()
    return measured


def _serve(pipe: Any, function: Callable, arguments: tuple) -> None:
    job = function(*arguments)
    pipe.send("ready")
    while True:
        try:
            pipe.recv()
        except EOFError:
            return
        reset_peak_memory()
        seconds, cpu_seconds, _ = timed(job)
        pipe.send((seconds, cpu_seconds, peak_memory()))


def by_turns_fresh(prepared_by: dict[str, tuple], rounds: int) -> dict[str, Measurement]:
    """Times jobs in processes of their own, by turns.

    prepared_by: name -> (function, argument, ...); the function prepares, and returns the job that is timed.
    """
    measured = {name: Measurement() for name in prepared_by}
    for _ in range(rounds):
        for name, (function, *arguments) in prepared_by.items():
            *figures, peak = fresh(function, *arguments)
            measured[name].add(*figures)
            measured[name].peaks.append(peak)
    return measured


def fresh(function: Callable, *arguments: Any) -> tuple[float, float, Any, float]:
    """Times the job `function(*arguments)` in a process of its own: as `timed`, and its peak memory in MiB."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_send, args=(theirs, function, arguments))
    process.start()
    theirs.close()
    try:
        return ours.recv()
    except EOFError:
        process.join()
        raise RuntimeError(f"{function.__name__} ended with exit code {process.exitcode}; see above") from None
    finally:
        process.join()


def _send(pipe: Any, function: Callable, arguments: tuple) -> None:
    job = function(*arguments)
    reset_peak_memory()
    pipe.send((*timed(job), peak_memory()))


def peak_memory() -> float:
    """Highest memory of this process in MiB: on the GPU where it uses one, else resident."""
    cuda = _used_cuda()
    return cuda.max_memory_allocated() / 2**20 if cuda else _of_status("VmHWM")


def _used_cuda() -> Any:
    torch = sys.modules.get("torch")
    return torch.cuda if torch is not None and torch.cuda.is_initialized() else None


def reset_peak_memory() -> None:
    """Lets `peak_memory` begin anew, where the system can (Linux, CUDA)."""
    if cuda := _used_cuda():
        cuda.reset_peak_memory_stats()
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    except OSError:
        pass


def proportional_memory(process_ids: Sequence[int]) -> float:
    """Resident memory of processes in MiB, a page that n processes share counted as 1/n in each."""
    import psutil

    return sum(psutil.Process(process_id).memory_full_info().pss for process_id in process_ids) / 2**20


def _of_status(key: str) -> float:
    try:
        with open("/proc/self/status") as file:
            return next(int(line.split()[1]) for line in file if line.startswith(key)) / 1024
    except OSError:
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def machine() -> str:
    """Processor, cores, load and versions in one line."""
    import torch

    name = platform.processor()
    try:
        with open("/proc/cpuinfo") as file:
            name = next(line.split(":")[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    load = "/".join(f"{value:.1f}" for value in os.getloadavg())
    versions = f"Python {platform.python_version()}, torch {torch.__version__}"
    return f"{name}, {cores} cores, {torch.get_num_threads()} torch threads, load {load}, {versions}"


def report(title: str, measured: dict[str, Measurement], output: str | None = None, items: int = 1) -> None:
    """Prints medians and their ratios to the last of `measured`. items: how many a round works on, for a rate."""
    from tabulate import tabulate

    *_, last = measured.values()
    rows = []
    for name, m in measured.items():
        clock, cpu = statistics.median(m.seconds), statistics.median(m.cpu_seconds)
        spread = f"{min(m.seconds):.4g} .. {max(m.seconds):.4g}"
        ratios = (clock / statistics.median(last.seconds), cpu / statistics.median(last.cpu_seconds))
        peak = f"{max(m.peaks):.0f}" if m.peaks else "-"
        rate = [f"{items / clock:.4g}"] if items > 1 else []
        rows.append([name, f"{clock:.4g}", spread, f"{cpu:.4g}", *(f"{ratio:.3f}" for ratio in ratios), peak, *rate])
    headers = ["", "median s", "range", "CPU s", "ratio", "CPU ratio", "peak MiB", *(["a second"] if items > 1 else [])]
    print(f"\n{title}\n{machine()}\n")
    print(tabulate(rows, headers=headers, tablefmt="pipe", disable_numparse=True))
    if output:
        with open(output, "w", encoding="utf-8") as file:
            figures = {name: asdict(m) for name, m in measured.items()}
            json.dump({"title": title, "machine": machine(), "figures": figures}, file, indent=1, default=str)
